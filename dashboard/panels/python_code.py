"""The Python code that a specification has run, and the confirmation that it wants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from trimtab.dashboard import markup


def named_code(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the models of a specification (as JSON) name in Python: `entry`, `arguments`, ..."""
    models = [model for model in spec.get("models") or [] if isinstance(model, Mapping)]
    return [model["torch"] for model in models if isinstance(model.get("torch"), Mapping)]


def confirmed(spec: Mapping[str, Any], key: str) -> bool:
    """Show what would run, with a box to tick; whether it may run. True where nothing does."""
    code = named_code(spec)
    if not code:
        return True
    head = [markup.tag("th", text) for text in ("Module", "Function", "Arguments", "Folder")]
    rows = [markup.tag("tr", *(markup.tag("td", text) for text in _row(each))) for each in code]
    markup.problem(
        "This specification runs Python code",
        "Starting it runs these functions on this machine, as the account of this dashboard. "
        "Start it only if you know what they do.",
        "warn",
    )
    table = markup.tag("table", markup.tag("tr", *head), *rows, cls="tt-table")
    markup.show(markup.div(table, cls="tt-scroll"))
    # Another specification needs a confirmation of its own.
    return st.checkbox("I know this code; run it", key=f"{key}-{json.dumps(code, sort_keys=True)}")


def _row(code: Mapping[str, Any]) -> tuple[str, str, str, str]:
    module, _, function = str(code.get("entry", "")).partition(":")
    arguments = json.dumps(code.get("arguments") or {}, ensure_ascii=False)
    return module, function, arguments, str(code.get("folder") or "")
