"""What every quantisation scheme keeps. A new one joins by its entry in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_models import (
    INPUT,
    make_net,
    spiky,
    texture_images,
    uneven,
    write_dense,
    write_onnx,
)
from sample_tflite import write_tflite

from trimtab.planner.specification.sections import TechniqueSpec
from trimtab.search.candidates.candidate import VariantForm
from trimtab.variants import SCHEMES, derive_variant, inspect_model, make_variant
from trimtab_runtime.codec import canonical
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine
from trimtab_runtime.errors import ModelError
from trimtab_runtime.fingerprint import fingerprint
from trimtab_runtime.images.preprocess import Preprocessor

#: Networks that a scheme is for, where any network will not do.
SOURCES = {
    "w8a8-mixed": lambda path: write_onnx(path, net=uneven(make_net())),
    "w8a8-searched": lambda path: write_onnx(
        path, net=spiky(make_net(32), texture_images(24, seed=11)[0][::2])
    ),
    "w8": write_dense,
}


@pytest.fixture(scope="module", params=SCHEMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def source(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SOURCES.get(name, write_onnx)(tmp_path_factory.mktemp("schemes") / "net.onnx")


@pytest.fixture(scope="module")
def variant(source: Path) -> Variant:
    return make_variant(source, inspect_model(source), INPUT, {}, "net")


@pytest.fixture(scope="module")
def images() -> list[Any]:
    return list(texture_images(24, seed=11)[0])


def test_it_makes_a_file_that_answers_much_like_its_source(
    name: str, source: Path, variant: Variant, images: list[Any], tmp_path: Path
) -> None:
    scheme, made = SCHEMES[name], tmp_path / "made.onnx"
    assert scheme.suits(inspect_model(source))
    scheme.make(source, variant, images, made, scheme.recipe)
    quantised = derive_variant(made, variant, f"net {name}")
    assert quantised.sha256 != variant.sha256
    answers = []
    for path, known in ((source, variant), (made, quantised)):
        engine = create_engine(str(path), known, RuntimeOptions("onnxruntime"))
        seen = [engine.run(Preprocessor(image).tensor(known.input)) for image in images]
        answers.append(np.stack(seen).argmax(-1))
    if not scheme.runs_on(fingerprint()["isa"]):
        pytest.skip(f"sums saturate here, for which {name} is not meant")
    assert (answers[0] == answers[1]).mean() >= 0.9


def test_the_same_is_made_again_to_the_byte(
    name: str, source: Path, variant: Variant, images: list[Any], tmp_path: Path
) -> None:
    scheme = SCHEMES[name]
    made = [tmp_path / f"{number}.onnx" for number in range(2)]
    for path in made:
        scheme.make(source, variant, images, path, scheme.recipe)
    assert made[0].read_bytes() == made[1].read_bytes()


def test_what_it_does_not_suit_is_refused_with_a_reason(
    name: str, variant: Variant, images: list[Any], tmp_path: Path
) -> None:
    scheme, lite = SCHEMES[name], write_tflite(tmp_path / "lite.tflite")
    suits = scheme.suits(inspect_model(lite))
    assert not suits and suits.reason
    with pytest.raises(ModelError):
        scheme.make(lite, variant, images, tmp_path / "out.onnx", scheme.recipe)


def test_its_recipe_enters_a_lineage_and_its_name_a_form(name: str) -> None:
    assert canonical(SCHEMES[name].recipe)
    form = VariantForm(scheme=name)
    assert VariantForm.parse(form.text) == form
    assert VariantForm.parse(f"slim1 {name}") == VariantForm("slim", 1, name)
    assert TechniqueSpec(quantisation=(name,)).quantisation == (name,)
