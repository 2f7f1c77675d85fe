"""The form of a job: the fields that most jobs need; the rest is for a specification file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from trimtab.planner.reports.plots.style import axis_name
from trimtab.planner.reports.text import split_name
from trimtab_runtime.metrics import METRICS

_USUAL = ["top1", "latency_mean_ms", "peak_memory_mb"]
_STREAMS = ["independent", "longtail", "dwelling", "interleaved", "hot_classes"]
_COUNT = "form-models"


def form_fields(errors_at: Callable[..., None]) -> dict[str, Any]:
    """Draw the form; what is in it, as fields of a specification. `errors_at` shows what is
    wrong with a field beneath it."""
    fields: dict[str, Any] = {}
    fields["name"] = st.text_input("Name", "my-job", key="form-name")
    errors_at("name")
    fields["device"] = st.text_input("Device", "local", key="form-device")
    errors_at("device")
    fields["models"] = _models(errors_at)
    errors_at("models", "reference", "baseline")
    fields["workload"] = _workload(errors_at)
    left, right = st.columns(2)
    with left:
        names = st.multiselect(
            "Objectives", list(METRICS), _USUAL, format_func=axis_name, key="form-objectives"
        )
        fields["objectives"] = {n: "max" if METRICS[n].maximise else "min" for n in names}
        errors_at("objectives")
    with right:
        text = st.text_area(
            "Constraints, one per line",
            placeholder="top1 >= 0.99 * baseline\nlatency_p95_ms <= 30",
            key="form-constraints",
        )
        fields["constraints"] = [line.strip() for line in text.splitlines() if line.strip()]
        errors_at("constraints")
    fields |= _effort(errors_at)
    errors_at("specification", "runtime", "together", "certify")
    return fields


def _models(errors_at: Callable[..., None]) -> list[dict[str, Any]]:
    """A box for each model; what is left empty is read from the file."""
    count = st.session_state.setdefault(_COUNT, 2)
    st.caption("Models. Empty fields are read from the model file.")
    found = []
    for number in range(count):
        with st.container(border=True):
            found.append(_model(number))
            errors_at(f"models[{number}]")
    with st.container(horizontal=True):
        if st.button("Add a model", icon=":material/add:", key="form-add"):
            st.session_state[_COUNT] += 1
            st.rerun()
        if count > 1 and st.button("Remove the last", icon=":material/remove:", key="form-remove"):
            st.session_state[_COUNT] -= 1
            st.rerun()
    return found


def _model(number: int) -> dict[str, Any]:
    def key(name: str) -> str:
        return f"form-model-{number}-{name}"

    path = st.text_input(f"Model {number + 1}: an .onnx or .tflite file", key=key("path"))
    said: dict[str, Any] = {"path": path.strip()}
    columns = st.columns(5)
    inputs: dict[str, Any] = {
        "size": columns[0].number_input("Size, px", 1, value=None, step=1, key=key("size")),
        "mean": columns[1].number_input(
            "Mean, 0 to 255", value=None, format="%g", key=key("mean")
        ),
        "std": columns[2].number_input("Std, 0 to 255", value=None, format="%g", key=key("std")),
    }
    outputs: dict[str, Any] = {
        "kind": columns[3].selectbox(
            "Output", ["logits", "probabilities"], index=None, placeholder="", key=key("kind")
        ),
        "offset": columns[4].number_input(
            "Background classes", 0, value=None, step=1, key=key("offset")
        ),
    }
    for field, told in (("input", inputs), ("output", outputs)):
        known = {name: value for name, value in told.items() if value is not None}
        if known:
            said[field] = known
    return said


def _workload(errors_at: Callable[..., None]) -> dict[str, Any]:
    work: dict[str, Any] = {}
    left, right = st.columns(2)
    with left:
        work["images"] = st.text_input(
            "Images: one folder per class, or with a labels.csv", "photos", key="form-images"
        )
        errors_at("workload.images")
        errors_at("workload.labels")
    with right:
        kind = st.selectbox("Input order", _STREAMS, key="form-stream")
        work["stream"] = {"kind": kind}
        errors_at("workload.stream")
    splits = {}
    names = {"fit": 300.0, "tune": 500.0, "test": 500.0}
    for column, (name, usual) in zip(st.columns(4), names.items(), strict=False):
        splits[name] = column.number_input(
            f"Images for {split_name(name)} ({name})" if name != "test" else "Images for test",
            min_value=0.0,
            value=usual,
            step=10.0,
            format="%g",
            key=f"form-{name}",
        )
    errors_at("workload.splits")
    work["splits"] = splits
    return work


def _effort(errors_at: Callable[..., None]) -> dict[str, Any]:
    left, right = st.columns(2)
    with left:
        ways = st.multiselect(
            "Techniques",
            ["cascade", "quantisation", "exits", "memory", "slimming"],
            ["cascade", "quantisation"],
            key="form-techniques",
        )
        errors_at("techniques")
    with right:
        minutes = st.number_input(
            "Minutes of measuring", min_value=0.1, value=20.0, format="%g", key="form-minutes"
        )
        errors_at("budget")
        verify = st.number_input(
            "Plans to verify", min_value=0, max_value=100, value=6, key="form-verify"
        )
        errors_at("verify")
    techniques: dict[str, Any] = {n: n in ways for n in ("cascade", "exits", "memory", "slimming")}
    techniques["quantisation"] = ["w8a8"] if "quantisation" in ways else []
    return {
        "techniques": techniques,
        "budget": {"minutes": float(minutes)},
        "verify": int(verify),
    }
