"""What the product knows is what its documentation says."""

import ast
import pkgutil
import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main

from trimtab.planner.cli.app import app
from trimtab.planner.jobs.dataset import EQUIPPED_FIT, TRACED_FIT
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.specification.sections import Section, StreamSpec
from trimtab_runtime.metrics import METRICS

FIELDS = {name for part in Section.__subclasses__() for name in part.model_fields}
FIELDS |= set(JobSpec.model_fields) | {field.name for field in fields(StreamSpec)}
ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPECIFICATION = (ROOT / "docs" / "specification.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
TABLES = ast.parse((ROOT / "planner" / "cli" / "tables.py").read_text(encoding="utf-8"))
HEADERS = {
    header.value
    for call in ast.walk(TABLES)
    if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "plain_table"
    for header in call.args
    if isinstance(header, ast.Constant)
}
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
FOLDERS = "benchmarks|dashboard|db|packaging|planner|profilers|search|src|tests|trimtab_runtime"
FOLDERS += "|variants|workloads"


@pytest.mark.parametrize("name", sorted(typer.main.get_command(app).commands))
def test_every_command_is_in_the_readme(name):
    assert f"`trimtab {name}" in README


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_field_of_a_specification_is_documented(name):
    written = (f"`{name}", f".{name}`", f"{name}:")
    assert any(text in SPECIFICATION for text in written)


@pytest.mark.parametrize("header", sorted(HEADERS))
def test_every_column_is_in_the_glossary(header):
    assert header in GLOSSARY


def test_tables_have_columns():
    assert {"accepts if", "exit", "enters at"} <= HEADERS


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_is_documented(name):
    assert f"`{name}`" in SPECIFICATION


def test_the_images_that_a_job_runs_are_documented():
    text = " ".join(SPECIFICATION.split())
    assert f"up to {EQUIPPED_FIT:,} images of `fit` are run (else {TRACED_FIT})" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_are_named_are_there(page):
    named = re.findall(rf"`((?:{FOLDERS})/[\w./]*)`", page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_to_import_are_there(page):
    """Links and paths, as that of trimtab-store/trimtab.db, are none."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"(?<![\w/-])trimtab(?:_runtime)?(?:\.[A-Za-z]\w*)+", text):
        pkgutil.resolve_name(name)
    rooms = "dashboard|db|planner|profilers|search|variants|workloads"
    assert re.findall(rf"^(?:from|import) (?:{rooms})\b.*", text, re.MULTILINE) == []
