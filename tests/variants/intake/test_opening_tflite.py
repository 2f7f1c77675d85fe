"""TFLite files with several signatures, outputs or inputs become ones with one of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sample_tflite import tflite_model, two_inputs, with_outputs, with_signatures

from trimtab.variants import View, Wishes, inspect_model, open_view
from trimtab.variants.files.tflite import load_tflite
from trimtab_runtime.errors import ModelError

IMAGE = np.random.default_rng(5).standard_normal((1, 32, 32, 3)).astype(np.float32)


def opened(tmp_path: Path, content: bytes, **wishes: object) -> View:
    source = tmp_path / "net.tflite"
    source.write_bytes(content)
    return open_view(source, tmp_path / "view", Wishes(**wishes))  # type: ignore[arg-type]


def answer(tmp_path: Path, content: bytes) -> bytes:
    (tmp_path / "alone.tflite").write_bytes(content)
    return load_tflite(tmp_path / "alone.tflite").run(IMAGE).tobytes()


def test_a_file_with_one_of_each_is_its_own_view(tmp_path: Path) -> None:
    view = opened(tmp_path, tflite_model())
    assert (view.path, view.notes) == (tmp_path / "net.tflite", ())
    view = opened(tmp_path, with_signatures({"serving_default": tflite_model()}))
    assert (view.path, view.notes) == (tmp_path / "net.tflite", ())


def test_one_of_several_signatures_is_taken(tmp_path: Path) -> None:
    models = {"first": tflite_model(seed=1), "second": tflite_model(seed=2, width=4)}
    view = opened(tmp_path, with_signatures(models), signature="second")
    assert load_tflite(view.path).run(IMAGE).tobytes() == answer(tmp_path, models["second"])
    assert view.notes == ()
    view = opened(tmp_path, with_signatures(models))
    assert load_tflite(view.path).run(IMAGE).tobytes() == answer(tmp_path, models["first"])
    (note,) = view.notes
    assert note == (
        "of its signatures 'first', 'second' 'first' is taken; signature takes another"
    )
    with pytest.raises(ModelError, match=r"'third' is none of its signatures 'first', 'second'"):
        opened(tmp_path, with_signatures(models), signature="third")


def test_a_signature_that_takes_no_image_is_passed_over(tmp_path: Path) -> None:
    models = {"train": two_inputs(), "infer": tflite_model(seed=3)}
    view = opened(tmp_path, with_signatures(models))
    assert load_tflite(view.path).run(IMAGE).tobytes() == answer(tmp_path, models["infer"])
    assert "'infer' is taken" in view.notes[0]


def test_one_of_several_outputs_is_taken(tmp_path: Path) -> None:
    content = with_outputs(tflite_model(), "features", "conv2", "probabilities")
    view = opened(tmp_path, content, classes=4)
    assert inspect_model(view.path).output_width == 4
    assert view.notes == (
        "of its outputs 'probabilities' (1 x 4) is taken, not 'features' (1 x 16), 'conv2' "
        "(1 x 7 x 7 x 16); output.name takes another",
    )
    for wish in ({"output": "features"}, {"output_index": 0}):
        view = opened(tmp_path, content, **wish)
        assert (inspect_model(view.path).output_width, view.notes) == (16, ())
    with pytest.raises(ModelError, match=r"output.name: 'odd' is none of its outputs 0: 'feat"):
        opened(tmp_path, content, output="odd")
    with pytest.raises(ModelError, match=r"output.index: 3 is none of its outputs"):
        opened(tmp_path, content, output_index=3)


def test_what_cannot_be_a_classifier_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError,
        match=r"has one input, the image, but this one takes 'image' \(1 x 32 x 32 x 3\), 'mask'",
    ):
        opened(tmp_path, two_inputs())
    with pytest.raises(ModelError, match=r"none of its outputs looks like .* 'conv2'"):
        opened(tmp_path, with_outputs(tflite_model(), "conv1", "conv2"))
    with pytest.raises(ModelError, match=r"LiteRT cannot load it"):
        opened(tmp_path, b"torn")
