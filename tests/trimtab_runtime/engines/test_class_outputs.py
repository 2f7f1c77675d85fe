"""From a network's own classes to those of a plan."""

import json

import numpy as np
import pytest

from trimtab_runtime.codec import DecodeError, decode, encode
from trimtab_runtime.engines.outputs import class_outputs
from trimtab_runtime.errors import InferenceError
from trimtab_runtime.formats import OutputFormat, Quantisation
from trimtab_runtime.plans.routing import calibrated


def softmax(values):
    powers = np.exp(np.asarray(values, np.float64))
    return powers / powers.sum()


def test_without_groups_outputs_are_as_they_came():
    raw = np.arange(4, dtype=np.float32)[None]
    assert class_outputs(raw, OutputFormat(offset=1)).tolist() == [1, 2, 3]


def test_logits_are_put_in_order_and_the_rest_is_left_out():
    raw = np.array([[9.0, 1.0, 2.0, 50.0, 3.0]], np.float32)
    found = class_outputs(raw, OutputFormat(offset=1, groups=((3,), (0,), (1,))))
    assert found.dtype == np.float32
    assert found.tolist() == [3.0, 1.0, 2.0]


def test_several_outputs_of_one_class_add_up():
    raw = np.array([[1.0, 2.0, 0.5, 3.0]], np.float32)
    groups = ((3, 0), (1,), (2,))
    own = softmax(raw[0])
    expected = np.array([own[3] + own[0], own[1], own[2]])
    logits = class_outputs(raw, OutputFormat(groups=groups))
    np.testing.assert_allclose(calibrated(logits, OutputFormat(), 1.0), expected, rtol=1e-5)
    told = class_outputs(own.astype(np.float32), OutputFormat("probabilities", groups=groups))
    np.testing.assert_allclose(told, expected, rtol=1e-5)


def test_probabilities_of_a_part_are_renormalised():
    raw = np.array([[0.1, 0.2, 0.6, 0.1]], np.float32)
    found = class_outputs(raw, OutputFormat("probabilities", groups=((1,), (0,))))
    np.testing.assert_allclose(found, [2 / 3, 1 / 3], rtol=1e-6)
    nothing = class_outputs(
        np.zeros((1, 3), np.float32), OutputFormat("probabilities", groups=((1,), (0,)))
    )
    assert nothing.tolist() == [0.0, 0.0]


def test_quantised_outputs_are_dequantised_first():
    raw = np.array([[0, 128, 64]], np.uint8)
    fmt = OutputFormat("probabilities", 0, Quantisation(1 / 256, 0), ((2,), (1,)))
    np.testing.assert_allclose(class_outputs(raw, fmt), [1 / 3, 2 / 3], rtol=1e-6)


def test_a_class_that_the_network_lacks():
    with pytest.raises(InferenceError, match="class 5 of the network, which has 3"):
        class_outputs(np.zeros((1, 3), np.float32), OutputFormat(groups=((0,), (5,))))


def test_groups_are_stored_and_their_absence_is_not():
    fmt = OutputFormat(groups=((2, 3), (0,)))
    assert decode(OutputFormat, json.loads(json.dumps(encode(fmt)))) == fmt
    assert encode(OutputFormat()) == {}


@pytest.mark.parametrize("groups", [[[0]], [[0], []], [[0], [0]], [[-1], [0]]])
def test_groups_that_make_no_sense(groups):
    with pytest.raises(DecodeError, match=r"groups must|one group"):
        decode(OutputFormat, {"groups": groups})
