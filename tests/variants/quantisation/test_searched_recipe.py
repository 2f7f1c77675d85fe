"""The recipe of w8a8 is searched by the answers, without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sample_models import INPUT, make_net, spiky, texture_images, write_onnx

from trimtab.variants import SCHEMES, NothingToGain, inspect_model, make_variant
from trimtab.variants.quantisation.searched import SearchedRecipe, quantise_searched
from trimtab.variants.quantisation.static import QuantisationRecipe
from trimtab.variants.quantisation.w8a8 import quantise_w8a8
from trimtab_runtime.codec import encode
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import ModelError

PIXELS = texture_images(40, seed=11)[0]
IMAGES = list(PIXELS)


def variant_of(path: Path) -> Variant:
    return make_variant(path, inspect_model(path), INPUT, {}, "net")


def test_ranges_that_clip_rare_spikes_are_chosen(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / "net.onnx", net=spiky(make_net(32), PIXELS[::2]))
    told = quantise_searched(source, variant_of(source), IMAGES, tmp_path / "made.onnx")
    assert told["chosen"] == "percentile 99.9"
    assert told["error"] < 0.1 * told["tried"]["minmax"]
    assert told["agreement"] > told["w8a8_agreement"]


def test_where_w8a8_is_as_good_there_is_nothing_to_gain(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / "net.onnx", width=32)
    with pytest.raises(NothingToGain, match="keeps the answers already"):
        quantise_searched(source, variant_of(source), IMAGES, tmp_path / "made.onnx")


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / "net.onnx", width=4)
    with pytest.raises(ModelError, match="at least 4 images, got 3"):
        quantise_searched(source, variant_of(source), IMAGES[:3], tmp_path / "made.onnx")


def test_recipes_of_before_keep_their_written_form() -> None:
    assert encode(QuantisationRecipe()) == {}
    assert encode(QuantisationRecipe(symmetric=True)) == {"symmetric": True}
    assert encode(SCHEMES["w8a8-mixed"].recipe) == {"base": {}}


def test_symmetric_activations_have_no_zero_point(tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    source, made = write_onnx(tmp_path / "net.onnx"), tmp_path / "made.onnx"
    quantise_w8a8(source, variant_of(source), IMAGES, made, QuantisationRecipe(symmetric=True))
    graph = onnx.load(str(made)).graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    zeros = [values[n.input[2]] for n in graph.node if n.op_type == "QuantizeLinear"]
    assert zeros and all(z.dtype == np.int8 and not z.any() for z in zeros)


@pytest.mark.parametrize("bad", [{"gain": 0.0}, {"ends": 2.0}, {"enough": -1.0}])
def test_a_search_says_what_it_needs(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must hold"):
        SearchedRecipe(**bad)
