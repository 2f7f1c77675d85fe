"""A plan as a file to download, with the commands that run it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import streamlit as st

from trimtab.dashboard import markup, store_cache
from trimtab.db import JobRecord, PlanRecord
from trimtab.planner.bundles.export import export_record
from trimtab.planner.reports.plan.report import PlanReport
from trimtab_runtime.errors import TrimtabError


@st.cache_resource(show_spinner="Writing the bundle", max_entries=4)
def _bundle(location: str, state: str, key: str, _plan: PlanRecord) -> bytes:
    """The file's content. Raises TrimtabError where it cannot be made."""
    with tempfile.TemporaryDirectory(prefix="trimtab-export-") as folder:
        return export_record(store_cache.store(), _plan, Path(folder) / "plan.pyz").read_bytes()


def show_export(job: JobRecord, plan: PlanRecord, found: PlanReport) -> None:
    name = f"plan-{plan.key[:8]}.pyz"
    verified = found.row.status == "verified"
    told = "the verified file itself" if verified else "not verified; built on demand"
    ready = f"export-{plan.key}"
    left, right = st.columns([1, 2], vertical_alignment="center")
    with left:
        if not (verified or st.session_state.get(ready)):
            if st.button("Build the bundle", icon=":material/build:", key="make-bundle"):
                st.session_state[ready] = True
                st.rerun()
        else:
            try:
                content = _bundle(store_cache.place(), store_cache.stamp(job), plan.key, plan)
            except TrimtabError as error:
                markup.problem("The plan cannot be exported", str(error))
                return
            st.download_button(
                f"Export ({len(content) / 2**20:.1f} MB)",
                content,
                file_name=name,
                mime="application/octet-stream",
                icon=":material/download:",
                type="primary",
                on_click="ignore",
                key="export",
            )
        markup.show(markup.div(told, cls="tt-mute"))
    with right:
        st.code(
            f"python {name} selftest\npython {name} classify photo.jpg",
            language="sh",
            wrap_lines=True,
        )
