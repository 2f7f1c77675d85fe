"""What the product knows is what its documentation says."""

from dataclasses import fields
from pathlib import Path

import pytest
import typer.main

from trimtab.planner.cli.app import app
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.specification.sections import Section, StreamSpec
from trimtab_runtime.metrics import METRICS

NOT_YET = {"premodel"}
FIELDS = {name for part in Section.__subclasses__() for name in part.model_fields}
FIELDS |= set(JobSpec.model_fields) | {field.name for field in fields(StreamSpec)}
ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPECIFICATION = (ROOT / "docs" / "specification.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(typer.main.get_command(app).commands))
def test_every_command_is_in_the_readme(name):
    assert f"`trimtab {name}" in README


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_field_of_a_specification_is_documented(name):
    written = (f"`{name}", f".{name}`", f"{name}:")
    assert name in NOT_YET or any(text in SPECIFICATION for text in written)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_is_documented(name):
    assert f"`{name}`" in SPECIFICATION
