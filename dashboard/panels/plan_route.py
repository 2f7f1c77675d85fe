"""The structure of a plan as a picture: route, stages, and exits."""

from __future__ import annotations

import streamlit as st

from trimtab.dashboard import markup, tables
from trimtab.planner.reports.notes import exit_notes
from trimtab.planner.reports.plan.report import PlanReport, StageView
from trimtab.planner.reports.text import number, printable, split_name


def show_route(found: PlanReport) -> None:
    """Input, stages with their shares of inputs and of time, answer."""
    parts = [markup.div(markup.tag("b", "image"), "every input", cls="tt-end")]
    for position, stage in enumerate(found.stages):
        parts += [_arrow(stage), _stage(position, stage)]
    parts += [_arrow(None), markup.div(markup.tag("b", "answer"), cls="tt-end")]
    markup.show(markup.div(*parts, cls="tt-route"))


def route_table(found: PlanReport) -> None:
    """The table behind the picture."""
    import pandas as pd

    rows = [
        {
            "stage": position + 1,
            "variant": stage.variant,
            "engine": stage.options.engine,
            "threads": stage.options.threads,
            "threshold": stage.threshold,
            "share_of_inputs": stage.reach,
            "share_of_time": stage.time_share,
            "stage_ms": stage.stage_ms,
            "size_mb": stage.size_mb,
        }
        for position, stage in enumerate(found.stages)
    ]
    tables.behind(pd.DataFrame(rows), f"route-{found.row.key[:8]}")


def _arrow(stage: StageView | None) -> markup.Markup:
    text = "" if stage is None or stage.reach >= 1 else f"{stage.reach:.1%} of inputs"
    return markup.div(markup.tag("i", "→"), text, cls="tt-arrow")


def _stage(position: int, stage: StageView) -> markup.Markup:
    options = stage.options
    threads = "1 thread" if options.threads == 1 else f"{options.threads} threads"
    size, ms = f"{stage.size_mb:.1f} MB", f"{number(stage.stage_ms)} ms per run"
    told = ", ".join([options.engine, threads, size, ms])
    rule = "accepts every input"
    if stage.threshold is not None:
        rule = f"escalates if confidence < {stage.threshold:.3f}"
    return markup.div(
        markup.div(f"stage {position + 1}", cls="tt-label"),
        markup.tag("b", stage.variant),
        markup.div(told, cls="tt-note"),
        markup.div(rule, cls="tt-note"),
        meter("inputs", stage.reach),
        meter("time", stage.time_share, "tt-time"),
        cls="tt-stage",
    )


def meter(name: str, share: float, kind: str = "") -> markup.Markup:
    """A share as a bar."""
    filled = markup.div(style=f"width:{min(1.0, max(0.0, share)):.1%}")
    return markup.div(
        markup.div(name),
        markup.div(filled, cls=f"tt-bar {kind}".strip()),
        markup.div(f"{share:.1%}"),
        cls="tt-meter",
    )


def show_exits(found: PlanReport) -> None:
    """Per exit: the share of inputs leaving there, what answered them, accuracy and time."""
    import pandas as pd

    if not found.exits:
        return
    markup.section(
        "Exits",
        f"shares of the {split_name(found.split)} inputs leaving there, and of the time",
    )
    total = sum(row.share * row.spent_ms for row in found.exits)
    cells = [
        markup.div(
            markup.div(f"{row.where} · {row.by}", cls="tt-note"),
            meter("inputs", row.share),
            meter("time", row.share * row.spent_ms / total if total else 0.0, "tt-time"),
            markup.div(
                f"accuracy {row.right:.1%} (full network {row.full_right:.1%})",
                f", {number(row.spent_ms)} ms to this exit",
                cls="tt-note",
            ),
            cls="tt-stage",
        )
        for row in found.exits
    ]
    markup.show(markup.div(*cells, cls="tt-route"))
    for line in exit_notes(found):
        st.text(printable(line))
    frame = pd.DataFrame([vars(row) for row in found.exits])
    tables.behind(frame, f"exits-{found.row.key[:8]}")
