"""Jobs started in the background: each in its own process, which outlives its starter."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

from trimtab.db import JobRecord, Store, utc_now
from trimtab.planner.jobs.store_location import StoreLocation
from trimtab.planner.specification.job import JobSpec, load_spec, spec_key
from trimtab.planner.specification.yaml_file import read_fields
from trimtab_runtime.errors import ModelError, PlanningError, SpecificationError

_FOLDER = ".started"  # beside the artefacts, which collecting garbage leaves alone
_SPEC, _LOG, _STATUS, _TOLD = "job.yaml", "log.txt", "status", "started.json"
_TAIL = 12


@dataclass(frozen=True)
class Start:
    """A job that was started in the background. `born` tells its process from a later one with
    the same pid; `status` is its exit status (None: none yet, or it was killed). `by` is who
    started it (None: nobody had to say)."""

    folder: Path
    name: str
    spec_sha256: str
    pid: int
    born: float
    at: datetime
    status: int | None
    by: str | None = None

    @property
    def runs(self) -> bool:
        """Whether its process lives."""
        return self.status is None and _process(self) is not None

    def log(self) -> str:
        """The end of what it printed."""
        with suppress(OSError):
            text = (self.folder / _LOG).read_text(encoding="utf-8", errors="replace")
            return "\n".join(text.splitlines()[-_TAIL:])
        return ""


def read_uploaded(content: bytes, folder: Path) -> JobSpec:
    """A specification from the bytes of a YAML file, its paths relative to `folder`.

    Raises SpecificationError: a line for each wrong field, beginning with its path.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-upload-") as place:
        path = Path(place) / _SPEC
        path.write_bytes(content)
        try:
            fields = read_fields(path)
        except SpecificationError as error:
            raise SpecificationError(str(error).replace(str(path), "specification")) from None
    return checked_fields(fields, folder)


def checked_fields(fields: Mapping[Any, Any], folder: Path) -> JobSpec:
    """The same of the fields themselves, as of a form."""
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise SpecificationError(f"folder: no such folder on this machine: {folder}")
    return _checked_files(load_spec(fields, folder))


def _checked_files(spec: JobSpec) -> JobSpec:
    """The specification, if what it names is there. Raises SpecificationError."""
    missing = [
        f"models[{number}].path: no such file: {model.path}"
        for number, model in enumerate(spec.models)
        if model.path and not model.path.is_file()
    ]
    if not spec.workload.images.is_dir():
        missing.append(f"workload.images: no such folder: {spec.workload.images}")
    if spec.workload.labels and not spec.workload.labels.is_file():
        missing.append(f"workload.labels: no such file: {spec.workload.labels}")
    missing += list(_wrong_entries(spec))
    if missing:
        raise SpecificationError("\n".join(missing))
    return spec


def _wrong_entries(spec: JobSpec) -> Iterator[str]:
    """Python modules that do not lie where they must. None of them is imported."""
    from trimtab.variants import module_file  # with what reads models, which few pages need

    for number, model in enumerate(spec.models):
        if model.torch is not None:
            try:
                module_file(model.torch.entry, model.torch.folder or Path.cwd())
            except ModelError as error:
                yield f"models[{number}].torch.entry: {error}"


def start_job(spec: JobSpec, store: str, artefacts: Path | None, by: str | None = None) -> Start:
    """Run `trimtab plan` for a specification in a process of its own session, on the store at
    this address; it resumes the same job if that was stopped. `by`: who asks for it. Raises
    StoreError or PlanningError.
    """
    with StoreLocation(store, artefacts).writing() as opened:  # made, or brought up to date
        files = opened.artefacts.folder
    place = files / _FOLDER
    folder = place / f"{utc_now():%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    data = spec.model_dump(mode="json")
    command = [
        sys.executable,
        "-P",
        "-m",
        "trimtab.planner.cli.background",
        str(folder),
    ]
    try:
        folder.mkdir(parents=True)
        # The order of objectives has a meaning: the first cost decides.
        text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
        (folder / _SPEC).write_text(text, encoding="utf-8")
        with (folder / _LOG).open("wb") as log:
            process = subprocess.Popen(
                [*command, "plan", str(folder / _SPEC)],
                cwd=folder,
                env={**os.environ, **StoreLocation(store, files).environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except OSError as error:
        raise PlanningError(f"the job cannot be started ({error})") from error
    _keep(process)
    with suppress(psutil.NoSuchProcess):
        born = psutil.Process(process.pid).create_time()
    found = Start(folder, spec.name, spec_key(spec), process.pid, born, utc_now(), None, by)
    told = {**asdict(found), "folder": None, "at": found.at.isoformat()}
    (folder / _TOLD).write_text(json.dumps(told), encoding="utf-8")
    return found


def starts(store: Store) -> list[Start]:
    """Jobs that were started in the background on this store, the newest first."""
    found = []
    for folder in (store.artefacts.folder / _FOLDER).glob("*"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found.append(_read(folder))
    return sorted(found, key=lambda start: start.at, reverse=True)


def failure_of(store: Store, start: Start) -> str | None:
    """Why a start came to nothing. None while it runs, and where its job tells how it ended."""
    if start.runs or start.status in (0, 130):
        return None
    job = store.latest_job(start.spec_sha256)
    if job and (job.finished_at is None or job.finished_at >= start.at):
        return None
    errors = [line for line in start.log().splitlines() if line.startswith("error: ")]
    told = "\n".join(line.removeprefix("error: ") for line in errors) or start.log()
    return told or "its process was killed before it wrote anything"


def start_of(store: Store, job: JobRecord) -> Start | None:
    """The start in whose process a running job runs; None where it runs elsewhere."""
    held = [lease for lease in store.list_leases() if lease.holder.startswith(f"job {job.id} ")]
    pids = {lease.pid for lease in held}
    return next((s for s in starts(store) if s.pid in pids and s.runs), None)


def may_stop(start: Start, who: str | None, administrator: bool = False) -> bool:
    """Whether `who` may stop what was started: whoever started it, an administrator, and, where
    nobody logs in (None), the one account that the dashboard belongs to."""
    return who is None or administrator or (who != "" and start.by == who)


def stop_job(
    store: Store, job: JobRecord, who: str | None = None, administrator: bool = False
) -> None:
    """Ask a running job that was started here to stop, as Ctrl-C does. Raises PlanningError where
    that cannot be done from here, or not by `who`."""
    start = start_of(store, job)
    if start is None:
        raise PlanningError(
            f"job {job.id} was not started by this dashboard; stop it in its terminal, with Ctrl-C"
        )
    if not may_stop(start, who, administrator):
        raise PlanningError(
            f"job {job.id} was started by {start.by or 'somebody else'}: they or an administrator "
            "can stop it"
        )
    try:
        os.kill(start.pid, signal.SIGINT)
    except ProcessLookupError:
        return  # it ended by itself
    except PermissionError as error:
        raise PlanningError(f"job {job.id} belongs to another account of this machine") from error


def _read(folder: Path) -> Start:
    told = json.loads((folder / _TOLD).read_text(encoding="utf-8"))
    status = None
    with suppress(OSError, ValueError):
        status = int((folder / _STATUS).read_text(encoding="utf-8"))
    at = datetime.fromisoformat(told["at"])
    return Start(**{**told, "folder": folder, "at": at, "status": status})


def _process(start: Start) -> psutil.Process | None:
    """Its process, if that lives. What is written in a folder that others can write to must not
    name a process that is none of ours."""
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        found = psutil.Process(start.pid)
        same = abs(found.create_time() - start.born) < 1.0
        same = same and str(start.folder) in found.cmdline()
        if same and found.status() != psutil.STATUS_ZOMBIE:
            return found
    return None


_OURS: list[subprocess.Popen[bytes]] = []


def _keep(process: subprocess.Popen[bytes]) -> None:
    """Processes that ended are collected when the next one is started."""
    _OURS[:] = [each for each in _OURS if each.poll() is None]
    _OURS.append(process)
