from __future__ import annotations

import numpy as np
import pytest

from trimtab_runtime.errors import WorkloadError
from workloads import make_stream


def test_independent_shows_every_image_once_in_a_seeded_order() -> None:
    indices = np.arange(100, 200, dtype=np.int64)
    stream = make_stream(indices, seed=1)
    assert stream.kind == "independent"
    assert len(stream) == 100
    assert sorted(stream.items.tolist()) == indices.tolist()
    assert stream.items.tolist() != indices.tolist()
    same = make_stream(indices[::-1], seed=1)  # the order of a split does not matter
    assert same.key == stream.key
    other = make_stream(indices, seed=2)
    assert other.key != stream.key


def test_wrong_streams() -> None:
    with pytest.raises(WorkloadError, match="must be one of independent, got 'dwellling'"):
        make_stream(np.arange(3), kind="dwellling")
    with pytest.raises(WorkloadError, match="at least one image"):
        make_stream(np.array([], dtype=np.int64))
