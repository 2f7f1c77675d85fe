"""Variants split at taps into segments, with heads and class centroids, kept in the store."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.db import Store, VariantRecord
from trimtab.planner.cache.keys import io_of, segment_lineage, variant_key
from trimtab.planner.cache.variants import StoredVariant
from trimtab.variants import Head, TapPlace, cut_in_subprocess
from trimtab_runtime.definitions.exits import Exits, Tap
from trimtab_runtime.memory.semantic import TapArrays


@dataclass(frozen=True)
class SegmentedVariant:
    """A variant cut at taps: what a plan says of it, and its files here."""

    exits: Exits
    segments: tuple[Path, ...]
    arrays: Path

    @property
    def size_mb(self) -> float:
        """Size of all files."""
        return sum(path.stat().st_size for path in (*self.segments, self.arrays)) / 2**20


@dataclass(frozen=True)
class TapEquipment:
    """A tap to cut at, with what it is equipped with; `head` where `kinds` have one. `grid` as
    variants.cut_segments takes it."""

    name: str
    kinds: tuple[str, ...]
    arrays: TapArrays
    head: Head | None = None
    grid: int = 1


def bare_place(tap: TapPlace) -> TapEquipment:
    """A tap where a vector is read, as fine as heads need it, and nothing else."""
    width = tap.channels * tap.grid * tap.grid
    nothing, flat = np.zeros((0, width), np.float32), np.zeros(width, np.float32)
    arrays = TapArrays(flat, flat + 1, nothing, flat[:0], np.ones(2, np.float32))
    return TapEquipment(tap.name, ("centres",), arrays, grid=tap.grid)


def segment_variant(
    store: Store, built: StoredVariant, places: Sequence[TapEquipment], limit_s: float
) -> SegmentedVariant:
    """Cut and keep; a step of cutting has `limit_s` seconds. Raises ModelError or StoreError."""
    heads = {place.name: place.head for place in places if place.head is not None}
    with tempfile.TemporaryDirectory(prefix="trimtab-cut-") as name:
        folder = Path(name)
        source = folder / "source.onnx"
        shutil.copyfile(built.path, source)  # artefacts have no suffix
        names, grids = [place.name for place in places], {p.name: p.grid for p in places}
        made = cut_in_subprocess(
            source, names, folder / "cut", heads, grids, limit_s, built.variant.name
        )
        files = [store.save_file(path, kind="segment", name=path.name) for path in made]
    arrays = store.save_bytes(_packed(places), kind="arrays", name=f"{built.variant.name}.npz")
    shas = [file.sha256 for file in files]
    parts, kinds = [*files, arrays], [(place.name, place.kinds) for place in places]
    for number, file in enumerate(parts):
        lineage = segment_lineage(built.key, kinds, [part.sha256 for part in parts], number)
        _note(
            store,
            built,
            lineage,
            file.sha256,
            file.size_bytes,
            "npz" if file is arrays else "onnx",
        )
    taps = (Tap(p.name, sha, p.kinds) for p, sha in zip(places, shas[:-1], strict=True))
    exits = Exits(tuple(taps), shas[-1], arrays.sha256)
    path = store.artefacts.path
    return SegmentedVariant(exits, tuple(path(sha) for sha in shas), path(arrays.sha256))


def _note(
    store: Store,
    built: StoredVariant,
    lineage: Mapping[str, Any],
    sha256: str,
    size_bytes: int,
    kind: str,
) -> None:
    """What a file was made from, so that nothing else in the store must refer to it."""
    store.put_variant(
        VariantRecord(
            key=variant_key(lineage),
            member=built.member,
            name=f"{built.variant.name} {lineage['step']} {lineage['number']}",
            format=kind,
            artefact_sha256=sha256,
            size_bytes=size_bytes,
            recipe=dict(lineage),
            io=io_of(built.variant),
        )
    )


def _packed(places: Sequence[TapEquipment]) -> bytes:
    """The arrays of all taps as trimtab_runtime.definitions.exits.Exits describes them."""
    arrays = {
        f"{name}_{number}": value
        for number, place in enumerate(places)
        for name, value in place.arrays._asdict().items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
