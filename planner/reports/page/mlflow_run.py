"""A job as a run of MLflow: its settings, the figures of its chosen plan, and its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimtab.db import JobRecord
from trimtab.planner.reports.front import FrontView, PlanRow
from trimtab.planner.reports.text import printable
from trimtab_runtime import __version__
from trimtab_runtime.errors import PlanningError

EXPERIMENT = "trimtab"
_LONGEST = 500  # characters of a parameter, as every store of MLflow takes them


def log_run(job: JobRecord, view: FrontView, files: Sequence[Path], uri: str) -> str:
    """Log a job at a tracking server or store (`http://...`, `sqlite:///PATH`) as a run of the
    experiment 'trimtab', with these `files` (its report, its bundle); the id of the run. A job
    that is there already gets its run anew. Raises PlanningError where the extra is not installed,
    or MLflow fails."""
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise PlanningError(
            f"MLflow is not installed ({error}); install the extra: pip install 'trimtab[mlflow]'"
        ) from error
    try:
        client = MlflowClient(tracking_uri=uri)
        return _log(client, job, view, files)
    except MlflowException as error:
        place = without_password(uri)
        raise PlanningError(f"{place}: MLflow: {str(error).replace(uri, place)}") from error


def without_password(uri: str) -> str:
    """A tracking URI as it may be told to anybody."""
    before, at, rest = uri.rpartition("@")
    scheme, mark, who = before.partition("://")
    return f"{scheme}{mark}{who.partition(':')[0]}:***@{rest}" if at and ":" in who else uri


def _log(client: Any, job: JobRecord, view: FrontView, files: Sequence[Path]) -> str:
    held = client.get_experiment_by_name(EXPERIMENT)
    experiment = held.experiment_id if held else client.create_experiment(EXPERIMENT)
    same = f"tags.`trimtab.job` = '{job.id}'"
    earlier = [run.info.run_id for run in client.search_runs([experiment], same)]
    chosen = view.row(view.chosen)
    tags = {"trimtab.job": job.id, "trimtab.state": view.state, "trimtab.version": __version__}
    tags["trimtab.device"] = view.device
    if chosen is not None:
        tags |= {"trimtab.plan": chosen.key, "trimtab.status": chosen.standing}
    run = client.create_run(
        experiment,
        start_time=int(1000 * job.started_at.timestamp()),
        run_name=printable(job.name),
        tags=tags,
    )
    key: str = run.info.run_id
    for name, value in _parameters(job, view).items():
        client.log_param(key, name, value[:_LONGEST])
    for name, number in _figures(chosen).items():
        client.log_metric(key, name, number)
    client.log_dict(key, dict(job.spec), "specification.json")
    client.log_dict(key, view.plain(view.pick()), "front.json")
    for file in files:
        client.log_artifact(key, str(file))
    ended = job.finished_at
    client.set_terminated(key, end_time=int(1000 * ended.timestamp()) if ended else None)
    for run_id in earlier:  # only now that the new one is whole
        client.delete_run(run_id)
    return key


def _parameters(job: JobRecord, view: FrontView) -> dict[str, str]:
    """What was asked for, and what came of it in words."""
    chosen, baseline = view.row(view.chosen), view.row(view.baseline)
    return {
        "models": ", ".join(str(model.get("name") or "") for model in job.spec["models"]),
        "objectives": ", ".join(view.objectives),
        "constraints": "; ".join(job.spec.get("constraints", ())),
        "images": str(job.spec["workload"]["images"]),
        "workload": job.workload_key or "",
        "chosen": chosen.label if chosen else "",
        "baseline": baseline.label if baseline else "",
    }


def _figures(row: PlanRow | None) -> dict[str, float]:
    """Of the chosen plan; what is unknown is left out."""
    if row is None:
        return {}
    found: dict[str, float | None] = {"speedup": row.speedup.value if row.speedup else None}
    if row.speedup is not None:
        found |= {"speedup_low": row.speedup.low, "speedup_high": row.speedup.high}
    for name, figure in row.figures.items():
        found |= {
            f"{name}_test": figure.test,
            f"{name}_test_low": figure.low if figure.test is not None else None,
            f"{name}_test_high": figure.high if figure.test is not None else None,
            f"{name}_predicted": figure.predicted,
            f"{name}_measured": figure.measured,
        }
    return {name: value for name, value in found.items() if value is not None}
