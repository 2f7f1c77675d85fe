"""Traces: outputs of variants for the inputs, computed once, then read from the store.

Everything is named by the content it depends on, so a second job, or the same one after it was
killed, finds it. A failure is evidence too: it is stored with its reason, and tried again only
by a later job.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.db import Store, TraceRecord
from trimtab.planner.cache.keys import engine_key, features_content, outputs_content, trace_key
from trimtab.planner.cache.segments import SegmentedVariant
from trimtab.planner.cache.variants import StoredVariant
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.jobs.steps import one_step
from trimtab.profilers import Device, DeviceLost
from trimtab.workloads import Item
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.errors import StoreError, TrimtabError
from trimtab_runtime.probe.requests import FeaturesRequest, StageFile, TraceRequest

_MEASURE_IMAGES = 24


@dataclass(frozen=True)
class TracedImages:
    """The images that evidence is made from: all of the three splits, in a fixed order; and those
    that latency is measured on. `equip` are those of `fit` that taps are equipped from, more than
    whole variants are traced on."""

    workload_key: str
    items: Sequence[Item]
    measured_on: Sequence[Item]
    equip: Sequence[Item] = ()

    @classmethod
    def choose(
        cls,
        workload_key: str,
        items: Sequence[Item],
        tune: Sequence[Item],
        equip: Sequence[Item],
    ) -> TracedImages:
        """Latency is measured on the first images of `tune`."""
        return cls(workload_key, items, tune[:_MEASURE_IMAGES], equip)


class TraceCache:
    """Traces variants or finds their traces. Raises the TrimtabError of a failure."""

    def __init__(
        self,
        store: Store,
        device: Device,
        fingerprint: Mapping[str, str],
        inputs: TracedImages,
        journal: Journal,
    ) -> None:
        self._store, self._device, self._journal = store, device, journal
        self._fingerprint, self._inputs = fingerprint, inputs

    def trace(self, built: StoredVariant, options: RuntimeOptions) -> NDArray[np.float32]:
        """Outputs (images, classes) on `Inputs.items`, computed on the device."""
        file = StageFile(self._device.put(built.path), built.variant, options)
        return self._traced(built, file, self._inputs.items)["outputs"]

    def trace_taps(
        self, built: StoredVariant, options: RuntimeOptions, cut: SegmentedVariant, most: int
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
        """As :meth:`trace`, of the variant in segments: `outputs`, the `thumbnails` (images, size)
        of the inputs, and `vector_0` (images, channels) ... of every tap; on `Inputs.items`, and
        on `Inputs.equip` (the first `most` of them)."""
        on_equip = self._trace_cut(built, options, cut, self._inputs.equip[:most])
        return self.trace_vectors(built, options, cut), on_equip

    def trace_vectors(
        self, built: StoredVariant, options: RuntimeOptions, cut: SegmentedVariant
    ) -> dict[str, NDArray[np.float32]]:
        """The first of what :meth:`trace_taps` gives."""
        return self._trace_cut(built, options, cut, self._inputs.items)

    def _trace_cut(
        self,
        built: StoredVariant,
        options: RuntimeOptions,
        cut: SegmentedVariant,
        items: Sequence[Item],
    ) -> dict[str, NDArray[np.float32]]:
        file = StageFile(
            "",
            built.variant,
            options,
            exits=cut.exits,
            segments=tuple(self._device.put(path) for path in cut.segments),
        )
        return self._traced(built, file, items)

    def features(self, built: StoredVariant, names: Sequence[str]) -> NDArray[np.float32]:
        """Features (images, names) of `Inputs.items` as the device computes them. They are kept
        beside the traces of `built`, though they do not depend on it."""
        items = self._inputs.items
        images = {item.sha256: item.path for item in items}
        request = FeaturesRequest(
            tuple(self._device.put(path) for path in images.values()), tuple(names), ""
        )
        content = features_content(names)
        found = self._kept(built, "image features", content, images, request)["features"]
        place = {sha: number for number, sha in enumerate(images)}
        rows: NDArray[np.float32] = found[[place[item.sha256] for item in items]]
        return rows

    def thumbnails(self, built: StoredVariant, options: RuntimeOptions) -> NDArray[np.float32]:
        """Thumbnails (images, size) of the inputs, where nothing is cut."""
        file = StageFile(self._device.put(built.path), built.variant, options)
        return self._traced(built, file, self._inputs.items, thumbnails=True)["thumbnails"]

    def _traced(
        self,
        built: StoredVariant,
        file: StageFile,
        items: Sequence[Item],
        thumbnails: bool = False,
    ) -> dict[str, NDArray[np.float32]]:
        """The arrays of a trace, a row for each of the `items`. A stream may show an image often:
        it is looked at once."""
        images = {item.sha256: item.path for item in items}
        found = self._traced_once(built, file, images, thumbnails)
        place = {sha: number for number, sha in enumerate(images)}
        rows = [place[item.sha256] for item in items]
        return {name: array[rows] for name, array in found.items()}

    def _traced_once(
        self,
        built: StoredVariant,
        file: StageFile,
        images: Mapping[str, Path],
        thumbnails: bool,
    ) -> dict[str, NDArray[np.float32]]:
        """A row for each of the `images`, files by content: read from the store, or computed."""
        engine = engine_key(file.options, self._fingerprint)
        content = outputs_content(built.variant, engine, file.exits, thumbnails)
        request = TraceRequest(
            file,
            images=tuple(self._device.put(path) for path in images.values()),
            output="",
            thumbnails=file.exits is not None or thumbnails,
        )
        return self._kept(built, built.variant.name, content, images, request)

    def _kept(
        self,
        built: StoredVariant,
        name: str,
        content: Mapping[str, Any],
        images: Mapping[str, Path],
        request: TraceRequest | FeaturesRequest,
    ) -> dict[str, NDArray[np.float32]]:
        """The arrays that answer a request, from the store or asked for. They depend on
        `content`."""
        key = trace_key(self._fingerprint, content, images)
        found = self._store.get_trace(key)
        kept = found and self._file(found.artefact_sha256, f"trace of {name}")
        if kept:
            return _read_arrays(kept)
        engine = str(content.get("engine", ""))
        record = TraceRecord(key, built.key, self._inputs.workload_key, engine, None)

        def progress(done: int, total: int) -> None:
            self._journal.step("trace", name, done, total)

        try:
            with one_step():
                result = self._device.probe(request, progress=progress)
        except DeviceLost:
            raise  # says nothing of the candidate
        except TrimtabError as error:
            self._store.put_trace(replace(record, state="failed", reason=str(error)))
            raise
        arrays = {name: found.astype(np.float32) for name, found in result.arrays.items()}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        artefact = self._store.save_bytes(buffer.getvalue(), kind="trace", name=f"{name}.npz")
        self._store.put_trace(replace(record, artefact_sha256=artefact.sha256))
        return arrays

    def _file(self, sha256: str | None, subject: str) -> Path | None:
        """A file of the store; None if there is none, or it is lost and must be computed again."""
        if sha256 is None:
            return None
        try:
            return self._store.artefacts.path(sha256)
        except StoreError as error:
            self._journal.note("warning", subject, f"computed again: {error}")
            return None


def _read_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
