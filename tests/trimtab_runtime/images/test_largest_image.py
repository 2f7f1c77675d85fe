"""The largest image that memory is promised for: measured with, told, and kept to."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from trimtab.planner.bundles.archive import write_bundle
from trimtab.profilers import LocalDevice
from trimtab_runtime import Plan
from trimtab_runtime.errors import DeviceError, WorkloadError
from trimtab_runtime.images.decoding import decode_image
from trimtab_runtime.images.largest import largest_image
from trimtab_runtime.probe.requests import VerifyRequest

PIXELS = 4_000_000


@pytest.fixture(scope="module")
def bundle(parts_of: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts = replace(parts_of(["small"]), largest_pixels=PIXELS)
    return write_bundle(parts, tmp_path_factory.mktemp("largest") / "plan.pyz")


def test_it_is_made_elsewhere_and_is_as_large_as_it_may_be() -> None:
    with largest_image(PIXELS) as (path,):
        assert decode_image(path, PIXELS).size == (2000, 2000)
        with pytest.raises(WorkloadError, match="at most 3 million are read"):
            decode_image(path, 3_000_000)
    assert not Path(path).exists()
    with largest_image(None) as none:
        assert none == []


def test_what_cannot_be_made_is_told() -> None:
    with pytest.raises(DeviceError, match=r"workload\.largest_megapixels"), largest_image(-1):
        pass


def test_a_plan_tells_it_and_keeps_to_it(bundle: Path, tmp_path: Path) -> None:
    plan = Plan.load(str(bundle))
    assert plan.info()["largest_pixels"] == PIXELS
    for name, answered in (("small.png", True), ("large.png", False), ("large.jpg", True)):
        side = 2000 if name.startswith("small") else 2001
        Image.new("L", (side, side)).save(tmp_path / name)
        if answered:
            plan.classify(str(tmp_path / name))
            plan.classify((tmp_path / name).read_bytes())
        else:
            with pytest.raises(WorkloadError, match=r"large\.png: it has 2001 x 2001 pixels"):
                plan.classify(str(tmp_path / name))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the most that a process had")
def test_memory_is_measured_with_it(parts_of: Any, photos: list[Path], tmp_path: Path) -> None:
    """The picture, once as it lies in the file and once as it is shown: 4 bytes a pixel each."""
    pixels = 30_000_000
    parts = replace(parts_of(["small"]), largest_pixels=pixels)
    bundle = write_bundle(parts, tmp_path / "plan.pyz")
    images = tuple(map(str, photos[:8]))
    request = VerifyRequest(str(bundle), images, "", largest_pixels=pixels)
    found = LocalDevice().probe(request).values
    assert found["peak_memory_mb"] > 8 * pixels / 2**20
