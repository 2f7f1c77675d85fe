"""Code that a specification runs, jobs of others, and a store that is replaced."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from processes import PATIENCE_S
from streamlit.testing.v1 import AppTest

from trimtab.dashboard.tables import csv_of
from trimtab.db import JobRecord, Store, utc_now
from trimtab.planner.jobs.background import Start, may_stop, read_uploaded
from trimtab.planner.jobs.stored_plans import plan_definition
from trimtab_runtime.errors import SpecificationError, StoreError

CODE = {"entry": "nets:Small", "arguments": {"width": 4}}


def asked(spec):
    import streamlit as st

    from trimtab.dashboard.panels import python_code

    st.session_state["may"] = python_code.confirmed(spec, "x")


def test_code_is_shown_and_wants_a_confirmation():
    app = AppTest.from_function(asked, args=({"models": [{"torch": CODE}, {"path": "a"}]},)).run()
    shown = "".join(element.proto.body for element in app.get("html"))
    assert app.session_state["may"] is False
    for text in ("<td>nets</td>", "<td>Small</td>", "width&quot;: 4"):
        assert text in shown
    app.checkbox[0].check().run()
    assert app.session_state["may"] is True


@pytest.mark.parametrize("spec", [{}, {"models": None}, {"models": [{"path": "a.onnx"}, 3]}])
def test_without_code_nothing_is_asked(spec):
    app = AppTest.from_function(asked, args=(spec,)).run()
    assert app.session_state["may"] is True
    assert not app.checkbox


@pytest.mark.parametrize(
    "torch",
    [
        {"entry": "os:system", "arguments": {"command": "touch ran"}},
        {"entry": "os:system", "folder": str(Path(os.__file__).parent)},
        {"entry": "gone:Small"},
    ],
)
def test_an_uploaded_entry_must_lie_in_the_users_folder(tools, tmp_path, torch):
    spec = tools.write_zoo(tmp_path)
    spec["models"][1] = {"torch": torch, "input": {"size": 16}}
    with pytest.raises(SpecificationError, match=r"^models\[1\]\.torch\.entry: "):
        read_uploaded(yaml.safe_dump(spec).encode(), tmp_path)
    (tmp_path / "nets.py").write_text("raise RuntimeError('it is not imported')\n")
    spec["models"][1] = {"torch": CODE, "input": {"size": 16}}
    assert read_uploaded(yaml.safe_dump(spec).encode(), tmp_path).models[1].torch.entry


def test_only_who_started_a_job_stops_it(tmp_path):
    start = Start(tmp_path, "job", "aa", 1, 0.0, utc_now(), None, by="ann@example.com")
    assert may_stop(start, "ann@example.com")
    assert not may_stop(start, "bob@example.com")
    assert may_stop(start, "bob@example.com", administrator=True)
    assert may_stop(start, None), "nobody logs in: it is the account's own dashboard"
    assert not may_stop(replace(start, by=None), "bob@example.com")
    assert not may_stop(replace(start, by=""), "")


def test_what_a_folder_says_names_no_process_of_others(tmp_path):
    """A store that somebody sent may hold a start with the number of any process."""
    import psutil

    born = psutil.Process(os.getpid()).create_time()
    assert not Start(tmp_path, "job", "aa", os.getpid(), born, utc_now(), None).runs


def opened(store):
    from trimtab.dashboard.application import run
    from trimtab.planner.jobs.store_location import StoreLocation

    run(StoreLocation(store, None), "jobs")


def test_a_store_that_is_replaced_is_seen(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        with Store.open(tmp_path / name / "trimtab.db") as store:
            store.add_job(JobRecord(name[:1] * 12, f"{name} job", {}, "aa", state="done"))
    path = tmp_path / "first" / "trimtab.db"
    app = AppTest.from_function(opened, default_timeout=PATIENCE_S, args=(str(path),)).run()

    def shown():
        return "".join(element.proto.body for element in app.get("html"))

    assert "first job" in shown()
    shutil.copy(tmp_path / "second" / "trimtab.db", tmp_path / "new.db")
    os.replace(tmp_path / "new.db", path)
    app.run()
    assert "second job" in shown()
    assert "first job" not in shown()


def test_plans_of_another_version_are_told():
    from trimtab.db import PlanRecord

    plan = PlanRecord("j", "p" * 64, "plan", {"plan": {"later": 1}, "stages": []})
    with pytest.raises(StoreError, match=r"another version of Trimtab \(.*unknown field 'later'"):
        plan_definition(plan)


def test_csv_of_a_table_is_defused():
    import pandas as pd

    frame = pd.DataFrame({"name": ["=1+1", None, "a"], "n": [-1.5, 2, None]})
    assert csv_of(frame).decode() == "name,n\n'=1+1,-1.5\n,2.0\na,\n"
