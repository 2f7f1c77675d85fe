"""A job on several devices: one job for each, at the same time, then plans for all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self, TypeVar, Unpack

from trimtab.db import JobRecord, Level, Store
from trimtab.planner.jobs.dataset import load_dataset, stops_early
from trimtab.planner.jobs.journal import Journal, NullListener, ProgressListener, images_step
from trimtab.planner.jobs.lifecycle import closing_job, open_record, opened_job
from trimtab.planner.jobs.scratch import scratch
from trimtab.planner.jobs.steps import one_step
from trimtab.planner.jobs.summary import JobSummary, summary_of
from trimtab.planner.pipeline.earlier import decided_without_turns
from trimtab.planner.pipeline.multi_device.planning import WorstCasePlanning
from trimtab.planner.pipeline.multi_device.plans import DeviceJob
from trimtab.planner.pipeline.single_device import running
from trimtab.planner.setup_check.job import SetupPolicy
from trimtab.planner.specification.job import JobSpec, spec_identity
from trimtab.profilers import Device
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import PlanningError, SpecificationError, TrimtabError
from trimtab_runtime.probe.requests import MeasureSettings

T = TypeVar("T")
S = TypeVar("S")

_GLANCE_S = 1.0


def plan_on_several(
    spec: JobSpec,
    store: Store,
    watcher: ProgressListener | None,
    settings: MeasureSettings | None,
    given: Mapping[str, Device],
    setup: SetupPolicy,
) -> JobRecord:
    """Run the job on all devices that `spec` names; `given` ones, by name, stand in for theirs.

    The job's `summary["devices"]` names the job of each device, which is the one that it would be
    alone. See :func:`trimtab.planner.pipeline.job.plan` for what is raised.
    """
    unknown = sorted(given.keys() - {device.label for device in spec.devices})
    if unknown:
        raise SpecificationError(f"devices: no device is called {unknown[0]!r}")
    workload, splits = load_dataset(spec, images_step(watcher or NullListener()))
    named = {"spec": spec_identity(spec), "workload": workload.key}
    job_id = content_key(named)[:12]
    holder = f"job {job_id} ({spec.name})"
    with scratch(store.artefacts.folder), store.lease(job_id, holder=holder) as lease:
        open_record(store, job_id, spec, workload, splits)
        shared = _Shared(watcher or NullListener())
        journal = Journal(store, job_id, shared, lease)
        several = MultiDeviceJob(job_id, spec, store, journal, shared, settings, given, setup)
        with suppress(_Incomplete), closing_job(store, job_id), several:
            several.execute()
    record = store.get_job(job_id)
    assert record is not None
    return record


class _Incomplete(PlanningError):
    """Some devices were measured, and some were not."""


class _Shared:
    """A watcher for threads; `name` says of which device they speak."""

    def __init__(
        self, watcher: ProgressListener, name: str = "", mutex: threading.RLock | None = None
    ) -> None:
        self._watcher, self._name, self._mutex = watcher, name, mutex or threading.RLock()

    def on(self, name: str) -> _Shared:
        return _Shared(self._watcher, name, self._mutex)

    def step(self, name: str, detail: str, done: float, total: float) -> None:
        with self._mutex:
            step = f"{name} on {self._name}" if self._name else name
            self._watcher.step(step, detail, done, total)

    def note(self, level: Level, subject: str, text: str) -> None:
        with self._mutex:
            subject = ": ".join(part for part in (self._name, subject) if part)
            self._watcher.note(level, subject, text)


class MultiDeviceJob:
    """The devices of a job, each worked on in a thread of its own and leased until the end."""

    def __init__(
        self,
        job_id: str,
        spec: JobSpec,
        store: Store,
        journal: Journal,
        watcher: _Shared,
        settings: MeasureSettings | None,
        given: Mapping[str, Device],
        setup: SetupPolicy,
    ) -> None:
        self._job_id, self._spec, self._store = job_id, spec, store
        self._journal, self._watcher = journal, watcher
        self._settings, self._given, self._setup = settings, given, setup
        self._stop, self._mutex = threading.Event(), threading.Lock()
        self._sites = [DeviceJob(device) for device in spec.devices]
        self._pool = ThreadPoolExecutor(len(self._sites), thread_name_prefix="trimtab-device")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stop.set()
        self._pool.shutdown()
        with ExitStack() as all_held:
            for site in self._sites:
                all_held.push(site.held)

    def execute(self) -> None:
        """The job of each device, then what is good on all. Raises PlanningError where a device
        has no front; the others have theirs then."""
        self._remember()
        self.each(self._execute_one, self._sites)
        lost = [site for site in self._sites if site.problem is not None]
        problems = [f"{site.name}: {site.problem}" for site in lost]
        if len(lost) == len(self._sites):
            raise PlanningError("; ".join(problems))
        if self._spec.across == "worst" and not lost:
            try:
                with one_step():
                    self._decide_across()
            except TrimtabError as error:
                problems.append(f"over all devices: {error}")
        if problems:
            done = ", ".join(site.name for site in self._sites if site not in lost)
            missing = "" if self._spec.across == "each" else "; no front over all devices"
            raise _Incomplete(
                f"{'; '.join(problems)}{missing}. Done: {done}. Run the command again to resume"
            )

    def each(self, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """What `work` makes of every item, in threads; an error, once all are at their end."""
        futures = [self._pool.submit(work, item) for item in items]
        while wait(futures, timeout=_GLANCE_S).not_done:
            self._journal.alive()
        return [future.result() for future in futures]

    def _execute_one(self, site: DeviceJob) -> None:
        try:
            job = opened_job(
                self._spec.on(site.device),
                self._store,
                self._watcher.on(site.name),
                self._settings,
                self._given.get(site.name),
                self._stop,
            )
            site.job = site.held.enter_context(job)
            self._remember()
            with one_step(), running(site.job) as run:
                site.evaluator = run.evaluator
                site.measured = run.execute(self._setup)
        except TrimtabError as error:
            site.problem = str(error)
            site.held.close()
            self._journal.note("error", site.name, f"has no front: {error}")
        self._remember()

    def _remember(self, **found: Unpack[JobSummary]) -> None:
        """Add to the job's summary, with what is known of the devices."""
        with self._mutex:
            job = self._store.get_job(self._job_id)
            assert job is not None
            devices = [site.told() for site in self._sites]
            known: JobSummary = {**summary_of(job), "devices": devices, **found}
            self._store.update_job(self._job_id, summary=dict(known))

    def _decide_across(self) -> None:
        """Compose, choose and verify plans by their worst case."""
        if stops_early(self._spec):
            self._journal.note(
                "info",
                "over all devices",
                "plans with early exits are only on the fronts of single devices",
            )
        job = self._store.get_job(self._job_id)
        assert job is not None
        across = WorstCasePlanning(
            self._job_id,
            self._spec,
            self._store,
            self._journal,
            self._sites,
            self.each,
            self._remember,
        )
        if not decided_without_turns(across, summary_of(job), across.data):
            across.decide()
