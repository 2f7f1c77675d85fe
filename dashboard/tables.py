"""Tables, each with its CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from trimtab.planner.reports.text import UNKNOWN, cell

if TYPE_CHECKING:
    import pandas as pd


def table(
    frame: pd.DataFrame, name: str, columns: dict[str, Any] | None = None, **options: Any
) -> Any:
    """A table whose CSV can be downloaded as NAME.csv; returns what is selected in it."""
    event = st.dataframe(
        defused(frame),
        hide_index=True,
        column_config=columns,
        placeholder=UNKNOWN,
        key=f"table-{name}",
        **options,
    )
    csv_button(frame, name)
    return event


def clicked(event: Any) -> int | None:
    """The row in which a cell was clicked or the box ticked; None where nothing was."""
    found = event["selection"]
    cells = [row for row, _ in found.get("cells", ())]
    return next(iter([*cells, *found["rows"]]), None)


def csv_button(frame: pd.DataFrame, name: str, label: str = "CSV") -> None:
    """All figures, unrounded; unknown is empty."""
    st.download_button(
        label,
        lambda: csv_of(frame),
        file_name=f"{name}.csv",
        mime="text/csv",
        icon=":material/download:",
        key=f"csv-{name}",
        on_click="ignore",
        type="tertiary",
    )


def csv_of(frame: pd.DataFrame) -> bytes:
    """The frame as a CSV file whose cells no spreadsheet computes."""
    return defused(frame).to_csv(index=False).encode()


def defused(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with texts that neither a spreadsheet computes nor a terminal obeys. (A table in
    the browser has a button of its own that saves what it shows.)"""
    found = frame.rename(columns=lambda name: cell(str(name)))
    for name in found.select_dtypes(include=["object", "string"]).columns:
        found[name] = found[name].map(cell)
    return found


def behind(frame: pd.DataFrame, name: str, columns: dict[str, Any] | None = None) -> None:
    """The table behind a picture, folded away."""
    with st.expander("Table"):
        table(frame, name, columns)
