"""The check itself: both bundles answer the test images, then take turns."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from trimtab.db import Store
from trimtab.planner.gate import judgement
from trimtab.planner.gate.findings import CheckReport, Finding, Limits
from trimtab.planner.gate.rebuilding import Rebuilder
from trimtab.planner.gate.sources import bundle_of
from trimtab.planner.gate.turns import LOOKS, take_turns
from trimtab.planner.jobs.dataset import SplitRows, class_names, load_dataset, used_inputs
from trimtab.planner.jobs.journal import (
    DeviceEvents,
    Journal,
    NullListener,
    ProgressListener,
    images_step,
)
from trimtab.planner.jobs.scratch import scratch
from trimtab.planner.reports.text import device_text, printable
from trimtab.planner.specification.job import JobSpec
from trimtab.profilers import Device, LocalDevice, ProbeResult, connect
from trimtab.profilers.device import machine_key
from trimtab.workloads import Item
from trimtab_runtime.bundles.archive import open_bundle
from trimtab_runtime.bundles.manifest import Manifest
from trimtab_runtime.errors import SpecificationError
from trimtab_runtime.probe.requests import VerifyRequest

_MB = 2**20
#: Answers with fewer test images than this tell little of accuracy.
_FEW = 200
_NAMES = ("shipped", "new")


def check(
    spec: JobSpec,
    against: str,
    store: Store | None = None,
    watcher: ProgressListener | None = None,
    candidate: str | None = None,
    limits: Limits | None = None,
    device: Device | None = None,
    shipped_python: str | None = None,
) -> CheckReport:
    """Compare what was shipped (`against`: a bundle's file, or a plan or job of the store) with
    the same plan made anew of the models that `spec` names, or with the bundle that `candidate`
    names in the same way. Both run on the device, on the test images of `spec`.

    `shipped_python` is the interpreter, on this machine, that runs what was shipped, with the
    engine that it was shipped with: so that a new runtime is compared with the old one.

    What is made anew is kept in the `store` (None: nowhere). `device` stands in for that of the
    specification. Raises SpecificationError, WorkloadError, DeviceError, StoreError, BundleError
    or PlanningError.
    """
    if spec.devices:
        raise SpecificationError("devices: a check runs on one; give the specification `device`")
    if shipped_python is not None and spec.device.address != LocalDevice.address:
        raise SpecificationError("another interpreter can be named on this machine only (local)")
    began = time.monotonic()
    with ExitStack() as held:
        folder = Path(held.enter_context(TemporaryDirectory(prefix="trimtab-gate-")))
        shipped = bundle_of(against, store, folder / "shipped.pyz")
        kept = store or held.enter_context(Store.open(folder / "store" / "trimtab.db"))
        bench = held.enter_context(_bench(spec, kept, watcher, device, folder, shipped_python))
        rebuilt: tuple[str, ...] = ()
        if candidate is not None:
            new = bundle_of(candidate, store, folder / "new.pyz")
        else:
            bench.journal.step("members", "the shipped plan", 0, 1)
            new, rebuilt = bench.rebuilder.rebuild(shipped, folder / "new.pyz")
        findings, notes = _compare(bench, shipped, new, limits or Limits())
        manifests = [open_bundle(str(bundle))[0] for bundle in (shipped, new)]
        notes += bench.engine_notes(manifests[0])
        return CheckReport(
            job=printable(spec.name),
            device=device_text(bench.device.address, dict(bench.rebuilder.fingerprint)),
            shipped=f"{printable(manifests[0].name)} ({Path(against).name})",
            new=f"{printable(manifests[1].name)} ({_what(candidate, rebuilt)})",
            rebuilt=rebuilt,
            findings=findings,
            notes=tuple(notes),
            seconds=time.monotonic() - began,
        )


def _what(candidate: str | None, rebuilt: Sequence[str]) -> str:
    if candidate is not None:
        return Path(candidate).name
    return f"new: {', '.join(map(printable, rebuilt))}" if rebuilt else "the same models"


@dataclass(frozen=True)
class _Bench:
    """A leased device, and the inputs of a job as `rows` of `items` (those of test among them)."""

    device: Device
    journal: Journal
    rebuilder: Rebuilder
    items: Sequence[Item]
    rows: SplitRows
    other: LocalDevice | None

    def engine_notes(self, shipped: Manifest) -> list[str]:
        """What engines both ran with, where that is not what was shipped ran with."""
        own = self.rebuilder.fingerprint
        before = own if self.other is None else self.other.fingerprint()
        notes = []
        for engine, version in shipped.engines.items():
            old, new = (found.get(engine, "none") for found in (before, own))
            if old != new:
                notes.append(f"what was shipped ran with {engine} {old}, what is new with {new}")
            elif new != version:
                text = f"both ran with {engine} {new}; what was shipped was made with {version}"
                notes.append(text)
        return notes

    @property
    def pythons(self) -> tuple[str, ...]:
        """The interpreters of both bundles; none where that is the same."""
        return () if self.other is None else (self.other.python, "")

    @property
    def tested(self) -> list[Path]:
        """The images of test."""
        return [self.items[row].path for row in self.rows.test]

    def run(self, bundle: Path, name: str) -> ProbeResult:
        """The answers of the bundle, 'shipped' or 'new', to the images of test, and its memory, in
        a process of its own."""
        device = self.other if name == "shipped" and self.other is not None else self.device
        images, placed = self.tested, device.put(bundle)
        request = VerifyRequest(
            placed, tuple(device.put(path) for path in images), "", deciding=len(images)
        )

        def progress(done: int, total: int) -> None:
            self.journal.step("verify", name, done, total)

        found = device.probe(request, progress=progress, bundle=placed)
        self.journal.step("verify", name, 1, 1)
        return found


@contextmanager
def _bench(
    spec: JobSpec,
    store: Store,
    watcher: ProgressListener | None,
    device: Device | None,
    folder: Path,
    shipped_python: str | None,
) -> Iterator[_Bench]:
    """Nothing else that uses this store measures on the device meanwhile. Raises WorkloadError,
    DeviceError, or StoreError where a job measures there."""
    with scratch(store.artefacts.folder), ExitStack() as ours:
        if device is None:
            found = connect(spec.device.address, spec.budget.stall_seconds, **spec.device.settings)
            device = ours.enter_context(found)
        fingerprint = device.fingerprint()
        workload, splits = load_dataset(spec, images_step(watcher or NullListener()))
        place = machine_key(fingerprint, device.machine())
        lease = ours.enter_context(store.lease(place, holder=f"check ({spec.name})"))
        journal = Journal(store, None, watcher or NullListener(), lease)
        device.listener = DeviceEvents(journal, device.address)
        items, rows = used_inputs(workload, splits, spec, folder / "frames")
        fit = [items[row] for row in rows.fit]
        rebuilder = Rebuilder(spec, store, device, fingerprint, journal, workload, splits, fit)
        other = None
        if shipped_python is not None:
            other = LocalDevice(shipped_python, spec.budget.stall_seconds)
        yield _Bench(device, journal, rebuilder, items, rows, other)


def _compare(
    bench: _Bench, shipped: Path, new: Path, limits: Limits
) -> tuple[tuple[Finding, ...], list[str]]:
    """All findings, and what must be read with them."""
    manifests = [open_bundle(str(bundle))[0] for bundle in (shipped, new)]
    names = class_names(bench.rows.classes, len(manifests[0].labels))
    for manifest in manifests:
        if list(manifest.labels) != names:
            raise SpecificationError(
                f"the bundle {manifest.name} answers other classes than the images have; give the "
                "specification that it was planned with"
            )
    told = [bench.run(*pair) for pair in zip((shipped, new), _NAMES, strict=True)]
    findings = [_accuracy(bench, [found.arrays["index"] for found in told], limits)]
    about_ms = float(np.median(told[0].arrays["latency_ms"]))
    test = judgement.SlowerTest(limits.slower, LOOKS)
    bundles = (shipped, new)
    turns = take_turns(
        bench.device, bundles, bench.tested, about_ms, test, bench.journal, bench.pythons
    )
    findings.append(judgement.latency(turns.logs, turns.shipped_ms, test, bool(turns.warnings)))
    peaks = [[found.values.get("peak_memory_mb")] for found in told]
    memory = judgement.memory(peaks[0], peaks[1], limits)
    if memory.verdict == "worse":  # once more, each in another process
        for peak, bundle, name in zip(peaks, (shipped, new), _NAMES, strict=True):
            peak.append(bench.run(bundle, name).values.get("peak_memory_mb"))
        memory = judgement.memory(peaks[0], peaks[1], limits)
    sizes = [bundle.stat().st_size / _MB for bundle in bundles]
    findings += [memory, judgement.size(sizes[0], sizes[1], limits)]
    notes = [f"The device was disturbed: {text}" for text in turns.warnings]
    if len(bench.tested) < _FEW:
        notes.append(
            f"{len(bench.tested)} test images tell only large losses of accuracy apart from chance"
        )
    return tuple(findings), notes


def _accuracy(bench: _Bench, answers: Sequence[NDArray[np.int64]], limits: Limits) -> Finding:
    rows = bench.rows
    if rows.labels is None:
        changed = int((answers[0] != answers[1]).sum())
        text = f"no labels; {changed} of {len(answers[0])} answers changed"
        return Finding("accuracy", "%", None, None, text, "unknown")
    labels = rows.labels[rows.test]
    blocks = rows.blocks if rows.blocks is not None else rows.objects
    own = rows.test if blocks is None else blocks[rows.test]
    shipped, new = (found == labels for found in answers)
    return judgement.accuracy(shipped, new, own.astype(np.int64), limits)
