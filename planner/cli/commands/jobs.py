"""`trimtab jobs`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from trimtab.db import JobRecord, Store
from trimtab.planner.cli import tables
from trimtab.planner.cli.console import console, surroundings
from trimtab.planner.jobs.lookup import job_state
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.reports.places import job_place
from trimtab.planner.reports.text import printable

#: What a table shows in columns; what is told of a job stands below it.
_COLUMNS = ("id", "name", "state", "started", "plans")
_FIELDS = (
    *("id", "name", "tags", "state", "device", "started", "candidates", "plans", "chosen"),
    "message",
)


class ListFormat(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"


def jobs(
    context: typer.Context,
    output: Annotated[
        ListFormat, typer.Option("--format", help="table, json or csv.")
    ] = ListFormat.table,
) -> None:
    """List the jobs in the store, newest first."""
    here = surroundings(context).nearest()
    with here.reading() as store:
        found = [_job_line(store, job) for job in store.list_jobs()]
    if output is ListFormat.json:
        typer.echo(tables.json_text(found))
        return
    if output is ListFormat.csv:
        typer.echo(tables.written(found, _FIELDS), nl=False)
        return
    screen = console()
    screen.print(f"Store: {here.shown}", style="dim", soft_wrap=True)
    if not found:
        screen.print("No jobs yet; start one with `trimtab plan job.yaml`.")
        return
    table = tables.plain_table(*_COLUMNS, "device")
    for number in (0, 2, 3, 4):
        table.columns[number].no_wrap = True
    for line in found:
        cells = [str(line[name] if line[name] is not None else "") for name in _COLUMNS]
        table.add_row(*cells, line["device"])
    screen.print(table)
    for line in found:
        if line["message"]:
            screen.print(f"{line['id']}: {line['message']}", soft_wrap=True)


def _job_line(store: Store, job: JobRecord) -> dict[str, Any]:
    state = job_state(store, job)
    message = job.message
    if state == "running":
        done, total = job.progress.get("done", 0), job.progress.get("total", 0)
        share = f" {done / total:.0%}" if total else ""
        step, detail = job.progress.get("step", ""), job.progress.get("detail", "")
        message = f"{step}{share} {detail}".strip()
    elif state == "killed":
        message = "the process was killed; run the same `trimtab plan` again to resume"
    return {
        "id": job.id,
        "name": printable(job.name),
        "tags": " ".join(map(printable, job.spec.get("tags", ()))) or None,
        "state": state,
        "device": job_place(store, job),
        "started": job.started_at.astimezone().strftime("%Y-%m-%d %H:%M"),
        "candidates": len(store.list_candidates(job.id)) or summary_of(job).get("candidates", 0),
        "plans": summary_of(job).get("plans"),
        "chosen": summary_of(job).get("chosen"),
        "message": printable(message) if message else None,
    }
