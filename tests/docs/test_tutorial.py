"""The tutorial, typed as it stands into an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)


def steps():
    """What a reader does, in order: files to save (name, text), and commands (None, text)."""
    for kind, title, text in _BLOCK.findall(TUTORIAL.read_text(encoding="utf-8")):
        if title:
            yield title, text
        elif kind == "console":
            yield from ((None, line[2:]) for line in text.splitlines() if line.startswith("$ "))


@pytest.mark.slow
def test_a_reader_gets_to_an_application_that_classifies(tmp_path):
    here = Path(sys.executable).parent
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRIMTAB_")}
    environment["PATH"] = f"{here}{os.pathsep}{os.environ['PATH']}"
    printed = {}
    for name, text in steps():
        if name:
            (tmp_path / name).write_text(text, encoding="utf-8")
            continue
        done = subprocess.run(
            ["bash", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        printed[text] = done.stdout
        if text.startswith("trimtab init"):
            _plan_less(tmp_path / "job.yaml")
    answers = printed["python app.py zoo/photos/rings/001.png zoo/photos/stripes/002.png"]
    assert re.fullmatch(r"(zoo/photos/\S+: (dots|rings|stripes) [01]\.\d\d\n){2}", answers)
    assert "selftest passed" in printed["python plan.pyz selftest"]
    front = printed["trimtab front"].casefold()
    assert "small" in front
    assert "large" in front


def _plan_less(specification):
    """A test has no minutes to measure."""
    told = specification.read_text(encoding="utf-8")
    less = told.replace("minutes: 20 ", "measurements: 4 ").replace("verify: 6", "verify: 1")
    assert less != told
    specification.write_text(less, encoding="utf-8")
