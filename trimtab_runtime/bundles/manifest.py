"""What a bundle says about itself.

Raising PROTOCOL: when a reader of the old number could misread the new manifest (a field whose
absence would change an answer), add one, keep reading the old numbers in :func:`read_manifest`,
and add a bundle of the old protocol to the tests' fixtures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Optional

from trimtab_runtime.codec import DecodeError, decode
from trimtab_runtime.definitions.exits import Exits
from trimtab_runtime.definitions.plan import OperatingPoint, Structure, Variant
from trimtab_runtime.errors import BundleError

#: 2: plans may stop early and remember; 3: a router picks where an input enters, scorers say
#: whether it stops. A reader of a number before would not notice.
PROTOCOL = 3
_READ = (1, 2, 3)
MANIFEST_NAME = "manifest.json"
GOLDEN_NAME = "golden.npz"
MODELS_FOLDER = "models"
ARRAYS_FOLDER = "arrays"


@dataclass(frozen=True)
class Provenance:
    """Where a bundle comes from: the job and the key of the plan, the content of the images and
    labels that it was decided on (`workload`, a sha256), and the `versions` of what made it."""

    job: str
    plan: str
    workload: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Piece:
    """`length` bytes from `start` on of another `file` of the bundle; of the own entry where that
    is ''."""

    file: str
    start: int
    length: int

    def __post_init__(self) -> None:
        if self.start < 0 or self.length < 1:
            raise ValueError(f"start >= 0, length >= 1 must hold, got {self.start}, {self.length}")


@dataclass(frozen=True)
class Manifest:
    """A plan with everything that is needed to run and to check it.

    `files` maps every other file of the bundle to its sha256. Those that are `shared` are put
    together of pieces when it is unpacked: weights that two of them have lie in the bundle once.
    `tolerance` is the largest difference of a golden output, relative to the largest magnitude of
    that output vector. Bundles of before have no `provenance`. Memory was measured with an image
    of `largest_pixels`, and no larger one is read (None: nothing was said of it).
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
    provenance: Optional[Provenance] = None
    shared: Optional[dict[str, tuple[Piece, ...]]] = None
    largest_pixels: Optional[int] = None

    def __post_init__(self) -> None:
        self._check_shared()
        known = {variant.sha256: variant for variant in self.variants}
        needed = {stage.variant for stage in self.structure.stages}
        if known.keys() != needed:
            raise ValueError(f"variants {sorted(known)} are not what the stages name")
        if not 0 <= self.point < len(self.points):
            raise ValueError(f"point {self.point} of {len(self.points)}")
        for point in self.points:
            self.structure.check_thresholds(point.thresholds, point.exits, point.price)
        if self.structure.stops_early:
            if self.protocol < 2:
                raise ValueError(f"protocol {self.protocol} knows no plans that stop early")
            if not self.labels:
                raise ValueError("a plan that stops early needs labels, one for every class")
        for stage in self.structure.stages:
            self._check_files(known[stage.variant], stage.exits)
        for sha in self.structure.deciders:
            if self.protocol < 3:
                raise ValueError(f"protocol {self.protocol} knows neither routers nor scorers")
            if self.files.get(onnx_name(sha)) != sha:
                raise ValueError(f"no file belongs to the router or scorer {sha[:12]}")

    def _check_shared(self) -> None:
        shared = self.shared or {}
        whole = self.files.keys() - shared.keys()
        for name, pieces in shared.items():
            others = {piece.file for piece in pieces} - {""}
            if name not in self.files or not others <= whole:
                raise ValueError(f"the pieces of {name} lie in no whole file of the bundle")

    def _check_files(self, variant: Variant, exits: Optional[Exits]) -> None:
        if exits is None:
            if self.files.get(f"{MODELS_FOLDER}/{variant.file_name}") != variant.sha256:
                raise ValueError(f"no file belongs to variant {variant.name}")
            return
        if variant.format != "onnx":
            raise ValueError(f"a {variant.format} file cannot be cut at taps ({variant.name})")
        for number, sha in enumerate(exits.segments):
            if self.files.get(onnx_name(sha)) != sha:
                raise ValueError(f"no file belongs to segment {number} of {variant.name}")
        asked = any(tap.kinds for tap in exits.taps)
        if asked and self.files.get(arrays_name(exits.arrays)) != exits.arrays:
            raise ValueError(f"no file holds the arrays of the taps of {variant.name}")


def onnx_name(sha256: str) -> str:
    """Where a segment, a router's or a scorer's model lies in a bundle."""
    return f"{MODELS_FOLDER}/{sha256}.onnx"


def arrays_name(sha256: str) -> str:
    """Where the arrays of a stage's taps lie in a bundle."""
    return f"{ARRAYS_FOLDER}/{sha256}.npz"


def read_manifest(text: bytes) -> Manifest:
    """Parse and check a manifest. Raises BundleError."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{MANIFEST_NAME}: not JSON ({error})") from None
    protocol = data.get("protocol") if isinstance(data, dict) else None
    if type(protocol) is not int or protocol not in _READ:
        raise BundleError(
            f"{MANIFEST_NAME}: protocol {PROTOCOL} expected, got {protocol!r}; run the bundle "
            "with the trimtab_runtime inside it, or export it again"
        )
    try:
        return decode(Manifest, data)
    except DecodeError as error:
        raise BundleError(f"{MANIFEST_NAME}: {error}") from None
