"""All jobs as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from trimtab.dashboard import addresses, store_cache, tables
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.reports.text import printable

if TYPE_CHECKING:
    import pandas as pd


def _frame(lines: list[tuple[store_cache.JobLine, str]]) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for line, state in lines:
        job = line.job
        ended = job.finished_at
        rows.append(
            {
                "id": job.id,
                "state": state,
                "name": line.name,
                "tags": ", ".join(map(printable, job.spec.get("tags", ()))),
                "workload": line.workload,
                "device": line.device,
                "started": job.started_at,
                "minutes": (ended - job.started_at).total_seconds() / 60 if ended else None,
                "plans": summary_of(job).get("plans"),
                "chosen": line.chosen,
                "speedup": line.speedup.value if line.speedup else None,
                "warnings": line.warnings,
                "failures": line.errors,
            }
        )
    return pd.DataFrame(rows)


def matching(frame: pd.DataFrame, wanted: str) -> pd.DataFrame:
    """The rows in whose texts every word occurs, whatever its case."""
    texts = frame[["name", "tags", "device", "workload", "chosen", "state", "id"]].fillna("")
    told = texts.agg(" ".join, axis=1).str.casefold()
    kept = [all(word in text for word in wanted.casefold().split()) for text in told]
    return frame[kept].reset_index(drop=True)


def jobs_table(lines: list[tuple[store_cache.JobLine, str]], where: str) -> None:
    """All jobs, or those in which every word of a filter occurs; a click shows one. `where` is the
    page: what was clicked on another is no choice here."""
    frame = _frame(lines)
    if len(frame) > 1:
        wanted = st.text_input(
            "Filter",
            placeholder="words of a name, a tag, a device, a plan, a state",
            key=f"{where}-filter",
            bind="query-params",
        )
        frame = matching(frame, wanted)
    tags = ["tags"] if frame["tags"].any() else []
    marks = {"done": "✓", "running": "▶", "failed": "✗", "killed": "✗", "interrupted": "❚❚"}
    shown = frame.assign(state=[f"{marks.get(s, '')} {s}" for s in frame["state"]])
    column = st.column_config
    event = tables.table(
        shown,
        f"{where}-jobs",
        {
            "state": column.TextColumn("State", width="small"),
            "name": column.TextColumn("Job", width="medium"),
            "tags": column.TextColumn("Tags"),
            "chosen": column.TextColumn("Chosen plan", width="medium"),
            "speedup": column.NumberColumn("Speed-up", format="%.2fx"),
            "plans": column.NumberColumn("Plans"),
            "warnings": column.NumberColumn("Warnings"),
            "failures": column.NumberColumn("Failures"),
            "workload": column.TextColumn("Images"),
            "device": column.TextColumn("Device", width="medium"),
            "started": column.DatetimeColumn("Started", format="YYYY-MM-DD HH:mm"),
            "minutes": column.NumberColumn("Took, min", format="%.1f"),
            "id": column.TextColumn("Id"),
        },
        column_order=[
            "state", "name", "speedup", "chosen", *tags, "plans", "warnings", "failures",
            "started", "minutes", "workload", "device", "id",
        ],
        on_select="rerun",
        selection_mode=["single-row", "single-cell"],
        height=min(38 + 35 * len(frame), 520),
    )  # fmt: skip
    row = tables.clicked(event)
    if row is not None and frame["id"].iloc[row] != addresses.parameter("job"):
        addresses.open_page("jobs", job=frame["id"].iloc[row])
    if row is None and addresses.parameter("job") is None:
        st.caption("Select a job to see its details.")
