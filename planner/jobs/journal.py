"""The journal of a running job: progress and log, for the store and for listeners.

The events of a device during a job: logged, counted, shown."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from trimtab.db import EventRecord, Lease, Level, Store, utc_now
from trimtab.profilers import Listener


class ProgressListener(Protocol):
    """Receives the progress of a job."""

    def step(self, name: str, detail: str, done: float, total: float) -> None:
        """Step `name` has come to `done` of `total`; `detail` is what it works on."""

    def note(self, level: Level, subject: str, text: str) -> None:
        """Something that the user should know about `subject`."""


def images_step(watcher: ProgressListener) -> Callable[[int, int], None]:
    """What passes the reading of images on to a watcher, which a job's journal cannot yet."""
    return lambda done, total: watcher.step("images", f"{total}", done, total)


class NullListener:
    """A watcher that does not care."""

    def step(self, name: str, detail: str, done: float, total: float) -> None: ...

    def note(self, level: Level, subject: str, text: str) -> None: ...


class Journal:
    """Passes everything to a watcher, and to the store: notes at once, progress once a second.
    Work that belongs to no job (`job_id` None) is not kept in the store.

    Progress also shows other hosts that the holder of the device's `lease` lives. A job that runs
    in a thread ends, as by Ctrl-C, when `stop` is set.
    """

    def __init__(
        self,
        store: Store,
        job_id: str | None,
        watcher: ProgressListener,
        lease: Lease,
        stop: threading.Event | None = None,
    ) -> None:
        self._store, self._job_id, self._watcher = store, job_id, watcher
        self._lease, self._stop = lease, stop
        self._stored_at = 0.0
        self._refreshed_at = time.monotonic()

    def step(self, name: str, detail: str, done: float, total: float) -> None:
        self._watcher.step(name, detail, done, total)
        now = time.monotonic()
        if self._job_id is not None and (now - self._stored_at >= 1.0 or done == 0):
            self._stored_at = now
            progress = {"step": name, "detail": detail, "done": done, "total": total}
            self._store.update_job(self._job_id, progress=progress)
        self.alive()

    def alive(self) -> None:
        """Show that the job is alive, in the middle of a step."""
        if self._stop is not None and self._stop.is_set():
            raise KeyboardInterrupt
        now = time.monotonic()
        if now - self._refreshed_at >= self._lease.lasts_s / 10:
            self._refreshed_at = now
            self._lease.refresh()

    def note(self, level: Level, subject: str, text: str) -> None:
        if self._job_id is not None:
            self._store.add_event(EventRecord(self._job_id, utc_now(), level, subject, text))
        self._watcher.note(level, subject, text)


class DeviceEvents(Listener):
    """Passes on to the journal; `troubles` counts them by kind."""

    def __init__(self, journal: Journal, address: str) -> None:
        self._journal, self._address = journal, address
        self.troubles: Counter[str] = Counter()

    def trouble(self, kind: str, text: str) -> None:
        self.troubles[kind] += 1
        self._journal.note("warning", self._address, text)

    def waiting(self) -> None:
        self._journal.alive()

    def sending(self, done_bytes: int, total_bytes: int) -> None:
        done_mb, total_mb = done_bytes / 2**20, total_bytes / 2**20
        self._journal.step("send", f"{total_mb:.1f} MB to the device", done_mb, total_mb)
