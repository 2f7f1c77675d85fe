"""`trimtab report`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from trimtab.db import JobRecord, Store
from trimtab.planner.cli.commands.show import OnDevice
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.jobs.lookup import find_job, job_on_device


def report(
    context: typer.Context,
    job: Annotated[
        str | None,
        typer.Argument(
            help="Id of a job (or its first letters), or its name; default: the latest."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write: .html, .pdf or .md.")
    ] = Path("report.html"),
    device: OnDevice = None,
    images: Annotated[
        int, typer.Option(min=0, max=1000, help="At most so many photographs are in it.")
    ] = 24,
    mlflow: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Log job, figures, bundle and report as a run of MLflow there as well "
            "(http://... or sqlite:///PATH; the extra `mlflow`).",
        ),
    ] = None,
) -> None:
    """Write one page about a job: verdict, front, where the time goes, what is lost, predicted
    against measured figures, how it was made."""
    from trimtab.planner.reports.page.sections import report_page
    from trimtab.planner.reports.page.writing import FORMATS, write_report

    if output.suffix.lower() not in FORMATS:
        raise typer.BadParameter(f"-o must name a {', '.join(FORMATS)} file, got {output}")
    with surroundings(context).reading() as store:
        found = find_job(store, job)
        found = job_on_device(store, found, device) if device else found
        page = report_page(store, found, images)
        written = write_report(page, output)
        run = _log(store, found, written, mlflow) if mlflow is not None else None
    console().print(f"Wrote {written}", soft_wrap=True)
    if run is not None:
        from trimtab.planner.reports.page.mlflow_run import without_password

        assert mlflow is not None
        where = without_password(mlflow)
        console().print(f"Logged run {run} at {where}", soft_wrap=True)


def _log(store: Store, job: JobRecord, report: Path, uri: str) -> str:
    """Log a job with its report and the bundle of its chosen plan; the id of the run."""
    from trimtab.planner.bundles.export import export_record
    from trimtab.planner.reports.front import front_view
    from trimtab.planner.reports.page.mlflow_run import log_run

    view = front_view(store, job)
    with tempfile.TemporaryDirectory(prefix="trimtab-mlflow-") as folder:
        files = [report]
        if view.chosen is not None:
            plan = store.find_plan(view.chosen, job_id=job.id)
            files.append(export_record(store, plan, Path(folder) / "plan.pyz"))
        return log_run(job, view, files, uri)
