"""A model that gives one score, and inputs in half precision."""

import numpy as np
import pytest

from trimtab_runtime.codec import decode, encode
from trimtab_runtime.engines.base import real_outputs
from trimtab_runtime.errors import InferenceError
from trimtab_runtime.formats import InputFormat, OutputFormat, Quantisation
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.plans.routing import calibrated


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["logits", "probabilities"])
@pytest.mark.parametrize("probability", [1e-3, 0.19, 0.21, 0.5, 0.89, 0.91, 1 - 1e-3])
def test_the_second_class_is_chosen_from_the_threshold_on(
    threshold: float, kind: str, probability: float
) -> None:
    score = probability if kind == "probabilities" else np.log(probability / (1 - probability))
    fmt = OutputFormat(kind, threshold=threshold)
    outputs = real_outputs(np.array([[score]], np.float32), fmt)
    assert outputs.dtype == np.float32
    found = calibrated(outputs, fmt, 1.0)
    assert found.sum() == pytest.approx(1, abs=1e-6)
    if probability != threshold:
        assert (found[1] > 0.5) == (probability > threshold)
    if threshold == 0.5:
        assert found[1] == pytest.approx(probability, abs=1e-6)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_certain_scores_stay_certain(score: float) -> None:
    fmt = OutputFormat("probabilities", threshold=0.3)
    assert np.array_equal(real_outputs(np.array([[score]], np.float32), fmt), [1 - score, score])


def test_a_quantised_score_is_dequantised_first() -> None:
    fmt = OutputFormat("probabilities", quantisation=Quantisation(1 / 256, 0), threshold=0.5)
    assert np.allclose(real_outputs(np.array([[64]], np.uint8), fmt), [0.75, 0.25])


def test_several_scores_have_no_threshold() -> None:
    with pytest.raises(InferenceError, match="one score, this one 3"):
        real_outputs(np.zeros((1, 3), np.float32), OutputFormat(threshold=0.5))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold": 0.0}, "0 < threshold < 1"),
        ({"threshold": 1.0}, "0 < threshold < 1"),
        ({"threshold": 0.5, "offset": 1}, "no background class"),
    ],
)
def test_thresholds_are_checked(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OutputFormat(**fields)  # type: ignore[arg-type]  # of two types


def test_old_content_keeps_its_name() -> None:
    assert encode(OutputFormat()) == {}
    assert encode(OutputFormat(threshold=0.5)) == {"threshold": 0.5}
    assert decode(OutputFormat, {"threshold": 0.4}) == OutputFormat(threshold=0.4)


def test_half_precision_is_rounded_from_float32() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
    half, whole = (
        InputFormat((2, 2), mean=(120.0,), std=(57.0,), dtype=dtype)
        for dtype in ("float16", "float32")
    )
    image = Preprocessor(pixels)
    assert image.tensor(half).dtype == np.float16
    assert np.array_equal(image.tensor(half), image.tensor(whole).astype(np.float16))
