"""Start a job: from an uploaded specification, or from a form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st
import yaml

from trimtab.dashboard import addresses, login, markup, store_cache
from trimtab.dashboard.panels import python_code
from trimtab.dashboard.panels.start_form import form_fields
from trimtab.db import JobRecord
from trimtab.planner.jobs.background import checked_fields, read_uploaded, start_job
from trimtab.planner.reports.text import printable
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.specification.yaml_file import field_line
from trimtab_runtime.errors import SpecificationError, TrimtabError

_ERRORS = "start.errors"
_LINE, _SHOWN = 200, 20_000  # characters of a line, and of a file, that are shown


def start_page() -> None:
    markup.heading("New job")
    st.caption(
        "A job runs in its own process on this machine: it keeps running when this page, the "
        "browser or the dashboard is closed. Paths are on this machine."
    )
    folder = st.text_input(
        "Folder that paths are relative to", str(Path.cwd()), key="start-folder"
    )
    _errors_at("folder")
    job = store_cache.pick_job(addresses.parameter("job")) if addresses.parameter("job") else None
    if job is not None:
        _edit(job, Path(folder))
        return
    upload, form = st.tabs(["Upload a specification", "Fill in a form"])
    with upload:
        _upload(Path(folder))
    with form:
        _form(Path(folder))


def _edit(job: JobRecord, folder: Path) -> None:
    """The specification of an earlier job, to be changed and run."""
    markup.section(
        f"As {printable(job.name)} ({job.id[:6]}), edited",
        "what is the same as before is not measured again",
    )
    written = yaml.safe_dump(dict(job.spec), sort_keys=False, allow_unicode=True)
    text = st.text_area("Specification", written, height=480, key=f"start-edit-{job.id}")
    _checked(text.encode(), folder, "start-edited")


def _upload(folder: Path) -> None:
    file = st.file_uploader(
        "Specification (YAML)", type=["yaml", "yml"], key="start-upload", max_upload_size=1
    )
    if file is None:
        st.caption("The file that `trimtab plan` runs; `trimtab init` writes one.")
        return
    _checked(file.getvalue(), folder, "start-uploaded")


def _checked(content: bytes, folder: Path, key: str) -> None:
    """What is wrong with a specification, or what it says and a button that starts it."""
    try:
        spec = read_uploaded(content, folder)
    except SpecificationError as error:
        _show_problems(str(error), content)
        return
    _summary(spec)
    may_run = python_code.confirmed(spec.model_dump(mode="json"), f"{key}-confirmed")
    if st.button(
        "Start",
        type="primary",
        icon=":material/play_arrow:",
        key=key,
        disabled=not may_run,
    ):
        _start(lambda: spec)


def _show_problems(text: str, content: bytes) -> None:
    """Each wrong field, with the line of the file where it stands; and the whole file."""
    file = content.decode("utf-8-sig", "replace")
    written = file.splitlines()
    for problem in text.splitlines():
        path, _, told = problem.partition(": ")
        line = field_line(file, path)
        if line is None or line >= len(written):
            markup.problem(path, told)
        else:
            markup.problem(f"{path} (line {line + 1})", f"{told}\n{written[line].strip()[:_LINE]}")
    with st.expander("The file"):
        st.code(printable(file)[:_SHOWN], language=None, line_numbers=True)


def _summary(spec: JobSpec) -> None:
    work = spec.workload
    minutes = f"{spec.budget.minutes:g} minutes" if spec.budget.minutes else "no time limit"
    rows = {
        "name": spec.name,
        "device": spec.device.address,
        "models": ", ".join(model.label for model in spec.models),
        "images": str(work.images),
        "stream": work.stream.kind,
        "objectives": ", ".join(f"{name} {way}" for name, way in spec.objectives.items()),
        "constraints": "; ".join(spec.constraints) or "none",
        "budget": minutes,
    }
    lines = [
        markup.tag("tr", markup.tag("td", name), markup.tag("td", told))
        for name, told in rows.items()
    ]
    markup.show(markup.div(markup.tag("table", *lines, cls="tt-table"), cls="tt-scroll"))


def _form(folder: Path) -> None:
    fields = form_fields(_errors_at)
    if st.button("Start", type="primary", icon=":material/play_arrow:", key="start-form"):
        _start(lambda: checked_fields(fields, folder), at_fields=True)
    if st.session_state.get(_ERRORS):
        markup.problem("Not started", "See the errors at the fields.")


def _start(make: Callable[[], JobSpec], at_fields: bool = False) -> None:
    """Start it and look at it, or show what is wrong with each field beside it."""
    here = store_cache.here()
    st.session_state.pop(_ERRORS, None)
    try:
        start_job(make(), here.store, here.artefacts, login.who())
    except SpecificationError as error:
        st.session_state[_ERRORS] = str(error).splitlines()
        if at_fields:
            st.rerun()
        markup.problem("The specification has errors", str(error))
        return
    except TrimtabError as error:
        markup.problem("The job cannot be started", str(error))
        return
    addresses.open_page("jobs")


def _errors_at(field: str, *others: str) -> None:
    """What is wrong with a field of the form, beneath it; `others` are fields that it has no box
    for. A field with boxes of its own (`models[1]` of `models`) tells there."""
    lines: list[str] = st.session_state.get(_ERRORS, [])
    for line in lines:
        path, _, text = line.partition(": ")
        root = path.split("[")[0].split(".")[0]
        if path == field or path.startswith(f"{field}.") or root in others:
            markup.problem(path, text or path)
        elif path.startswith(f"{field}[") and field != "models":
            markup.problem(path, text)
