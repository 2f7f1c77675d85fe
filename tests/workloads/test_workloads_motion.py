from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.workloads import Item, Stream, StreamRecipe, Workload, make_stream, render
from trimtab_runtime.errors import WorkloadError

NOISE = np.random.default_rng(7).integers(0, 256, (40, 30, 3), np.uint8)
WORKLOAD = Workload(
    tuple(Item(Path(f"/nowhere/{i}"), f"{i}", i % 10, None, f"{i:064x}", 1) for i in range(300))
)


def stream_of(**recipe: Any) -> Stream:
    return make_stream(WORKLOAD, np.arange(300), StreamRecipe(**recipe))


def test_motion_walks_within_its_limits() -> None:
    stream = stream_of(kind="dwelling", frames=20_000, mean_frames=50, gain=0.05, shift=2)
    starts = np.flatnonzero(np.diff(stream.blocks, prepend=-1))
    assert (stream.shifts[starts] == 0).all()
    assert (stream.gains[starts] == 1).all()
    inside = np.ones(20_000, bool)
    inside[starts] = False
    steps = np.diff(stream.shifts, axis=0, prepend=0)[inside]
    assert set(np.unique(steps)) == {-1, 0, 1}
    assert set(np.unique(stream.shifts)) == set(range(-2, 3))
    gains = stream.gains
    assert (gains.min(), gains.max()) == (0.8, 1.25)
    ratios = (gains[1:] / gains[:-1])[inside[1:] & (gains[1:] > 0.8) & (gains[1:] < 1.25)]
    assert 0.04 < ratios.std() < 0.055
    changes = np.column_stack([np.diff(stream.shifts, axis=0), np.diff(gains)])[inside[1:]]
    related = np.corrcoef(changes.T) - np.eye(3)
    assert np.abs(related).max() < 5 / np.sqrt(len(changes))
    assert len(set(stream.noise_seeds.tolist())) == 20_000
    assert stream.noise_seeds.min() >= 0


def test_motion_does_not_change_what_is_seen() -> None:
    plain = stream_of(kind="dwelling")
    calm = stream_of(kind="dwelling", shift=0, gain=0.3, noise=0)
    assert calm.items.tolist() == plain.items.tolist()
    assert set(calm.noise_seeds.tolist()) == {-1}
    assert not calm.shifts.any()
    louder = stream_of(kind="dwelling", noise=0.1)
    assert louder.shifts.tolist() == plain.shifts.tolist()
    assert louder.gains.tolist() == plain.gains.tolist()
    assert louder.key != plain.key
    still = stream_of(kind="dwelling", shift=0, gain=0, noise=0)
    assert all(still.is_still(t) for t in range(len(still)))
    assert not any(plain.is_still(t) for t in range(len(plain)))


def test_shift_repeats_the_border() -> None:
    row = np.array([[10, 20, 30, 40]], np.uint8)
    assert render(row, (1, 0), 1.0, 0, -1).tolist() == [[10, 10, 20, 30]]
    assert render(row, (-2, 5), 1.0, 0, -1).tolist() == [[30, 40, 40, 40]]
    assert render(row.T, (0, 1), 1.0, 0, -1).tolist() == [[10], [10], [20], [30]]
    assert render(row, (9, 0), 1.0, 0, -1).tolist() == [[10] * 4]


def test_gain_rounds_and_clips() -> None:
    pixels = np.array([[0, 1, 101, 200, 255]], np.uint8)
    assert render(pixels, (0, 0), 1.25, 0, -1).tolist() == [[0, 1, 126, 250, 255]]
    assert render(pixels, (0, 0), 0.8, 0, -1).tolist() == [[0, 1, 81, 160, 204]]


@pytest.mark.parametrize("shape", [(200, 150), (100, 90, 3)])
def test_noise_has_its_deviation(shape: tuple[int, ...]) -> None:
    gray = np.full(shape, 128, np.uint8)
    frame = render(gray, (0, 0), 1.0, 0.02, 5)
    assert frame.shape == shape
    assert frame.dtype == np.uint8
    difference = frame.astype(float) - 128
    assert abs(difference.std() - 5.1) < 0.1
    assert abs(difference.mean()) < 5 * 5.1 / np.sqrt(gray.size)
    flat = difference.ravel()
    assert abs(np.corrcoef(flat[:-1], flat[1:])[0, 1]) < 0.03
    other = render(gray, (0, 0), 1.0, 0.02, 6).astype(float) - 128
    assert abs(np.corrcoef(flat, other.ravel())[0, 1]) < 0.03


@given(
    right=st.integers(-50, 50),
    down=st.integers(-50, 50),
    gain=st.floats(0.8, 1.25),
    noise=st.floats(0, 1),
    seed=st.integers(-1, 2**63 - 1),
)
def test_rendering_repeats_itself_and_leaves_the_image_alone(
    right: int, down: int, gain: float, noise: float, seed: int
) -> None:
    before = NOISE.copy()
    frame = render(NOISE, (right, down), gain, noise, seed)
    assert frame.shape == NOISE.shape
    assert (frame == render(NOISE, (right, down), gain, noise, seed)).all()
    frame[:] = 0
    assert (before == NOISE).all()


def test_the_same_pixels_on_every_machine() -> None:
    pixels = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3) * 4
    frame = render(pixels, (1, -2), 1.03, 0.05, 123)
    assert frame[0].tolist() == [[118, 101, 114], [86, 89, 112], [113, 110, 127], [141, 92, 117]]
    assert hashlib.sha256(frame.tobytes()).hexdigest()[:16] == "6a139b4246142194"


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.float32), np.zeros(4, np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_no_pixels(pixels: Any) -> None:
    with pytest.raises(WorkloadError, match="pixels must be uint8"):
        render(pixels, (0, 0), 1.0, 0, -1)
