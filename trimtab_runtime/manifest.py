"""What a bundle says about itself.

Raising PROTOCOL: when a reader of the old number could misread the new manifest (a field whose
absence would change an answer), add one, keep reading the old numbers in :func:`read_manifest`,
and add a bundle of the old protocol to the tests' fixtures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from trimtab_runtime.codec import DecodeError, decode
from trimtab_runtime.definition import OperatingPoint, Structure, Variant
from trimtab_runtime.errors import BundleError

PROTOCOL = 1
MANIFEST_NAME = "manifest.json"
GOLDEN_NAME = "golden.npz"
MODELS_FOLDER = "models"


@dataclass(frozen=True)
class Manifest:
    """A plan with everything that is needed to run and to check it.

    `files` maps every other file of the bundle to its sha256. `tolerance` is the largest
    difference of a golden output, relative to the largest magnitude of that output vector.
    """

    protocol: int
    name: str
    trimtab_version: str
    structure: Structure
    variants: tuple[Variant, ...]
    points: tuple[OperatingPoint, ...]
    point: int
    labels: tuple[str, ...]
    requires: tuple[str, ...]
    engines: dict[str, str]
    device: dict[str, str]
    tolerance: float
    files: dict[str, str]

    def __post_init__(self) -> None:
        known = {variant.sha256 for variant in self.variants}
        needed = {stage.variant for stage in self.structure.stages}
        if known != needed:
            raise ValueError(f"variants {sorted(known)} are not what the stages name")
        if not 0 <= self.point < len(self.points):
            raise ValueError(f"point {self.point} of {len(self.points)}")
        for point in self.points:
            if len(point.thresholds) != len(self.structure.stages) - 1:
                raise ValueError(f"thresholds {point.thresholds} do not fit the stages")
        for variant in self.variants:
            if self.files.get(f"{MODELS_FOLDER}/{variant.file_name}") != variant.sha256:
                raise ValueError(f"no file belongs to variant {variant.name}")


def read_manifest(text: bytes) -> Manifest:
    """Parse and check a manifest. Raises BundleError."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{MANIFEST_NAME}: not JSON ({error})") from None
    protocol = data.get("protocol") if isinstance(data, dict) else None
    if protocol != PROTOCOL:
        raise BundleError(
            f"{MANIFEST_NAME}: protocol {PROTOCOL} expected, got {protocol!r}; run the bundle "
            "with the trimtab_runtime inside it, or export it again"
        )
    try:
        return decode(Manifest, data)
    except DecodeError as error:
        raise BundleError(f"{MANIFEST_NAME}: {error}") from None
