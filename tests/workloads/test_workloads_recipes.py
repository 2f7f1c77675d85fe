from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from trimtab.workloads import STREAM_KINDS, StreamRecipe
from trimtab_runtime.codec import canonical, content_key, decode


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "dwellling"}, "kind must be one of independent, .*, got 'dwellling'"),
        ({"frames": 0}, "frames must be a whole number of 1 or more, got 0"),
        ({"frames": 10.0}, "frames must be a whole number of 1 or more, got 10.0"),
        ({"frames": True}, "frames must be a whole number"),
        ({"objects": 0}, "objects must be a whole number of 1 or more, got 0"),
        ({"objects": None}, "objects must be a whole number"),
        ({"stretch": 0}, "stretch must be"),
        ({"classes": -3}, "classes must be .* got -3"),
        ({"shift": -1}, "shift must be a whole number of 0 or more, got -1"),
        ({"shift": 2**31}, "shift must be"),
        ({"zipf": -0.1}, "0 <= zipf <= 10 must hold, got -0.1"),
        ({"zipf": float("nan")}, "0 <= zipf <= 10 must hold, got nan"),
        ({"zipf": "1"}, "0 <= zipf <= 10 must hold, got '1'"),
        ({"mean_frames": 0.5}, "1 <= mean_frames <= .* must hold, got 0.5"),
        ({"mean_frames": float("inf")}, "mean_frames"),
        ({"gain": 0.6}, "0 <= gain <= 0.5 must hold, got 0.6"),
        ({"noise": -0.01}, "0 <= noise <= 1 must hold, got -0.01"),
        ({"kind": "interleaved", "mean_frames": 1.5}, "mean_frames must be a whole number .* 1.5"),
    ],
)
def test_wrong_recipes(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StreamRecipe(**fields)


def test_equal_numbers_have_one_key() -> None:
    plain = StreamRecipe(kind="dwelling", mean_frames=10, zipf=2, shift=1)
    other = StreamRecipe(kind="dwelling", mean_frames=10.0, zipf=np.float64(2), shift=np.int64(1))
    assert content_key(plain) == content_key(other)
    assert content_key(plain) != content_key(StreamRecipe(kind="dwelling", mean_frames=11))


@pytest.mark.parametrize("kind", STREAM_KINDS)
def test_a_recipe_survives_json(kind: str) -> None:
    recipe = StreamRecipe(kind=kind, frames=7, mean_frames=9, noise=0)
    assert decode(StreamRecipe, json.loads(canonical(recipe))) == recipe
    assert recipe.moves == (kind in ("dwelling", "interleaved"))
