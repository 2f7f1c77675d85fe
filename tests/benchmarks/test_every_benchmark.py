"""Every benchmark runs alone: no argument is needed, and it says what it prints."""

import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import benchmarks

EVERY = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
NAMES = [n for n in EVERY if not n.startswith("_") and n not in benchmarks.HELPERS]
#: A key in a docstring: `so`, or `so_...` for several, or at the beginning of a line of a list.
_KEY = re.compile(r"`(\w+)(?:\.\.\.|\*)?`|^    (\w+)  ", re.MULTILINE)


def command(name):
    app = typer.Typer(add_completion=False)
    app.command()(importlib.import_module(f"benchmarks.{name}").main)
    return app


def test_helpers_are_there_and_have_no_command():
    assert set(benchmarks.HELPERS) <= set(EVERY)
    for name in benchmarks.HELPERS:
        assert not hasattr(importlib.import_module(f"benchmarks.{name}"), "main")


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_options_alone_and_the_data_pack(name):
    shown = CliRunner().invoke(command(name), ["--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "--data" in shown.output
    assert "TRIMTAB_DATA" in shown.output
    main = importlib.import_module(f"benchmarks.{name}").main
    needed = [p for p in inspect.signature(main).parameters.values() if p.default is p.empty]
    assert needed == []
    for option in typer.main.get_command(command(name)).params:
        assert option.param_type_name == "option", option.name
        assert not option.required, option.name


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_prints(name):
    module = importlib.import_module(f"benchmarks.{name}")
    told = re.sub(r"\s+", " ", module.__doc__)
    assert "one JSON object as its last line" in told
    source = inspect.getsource(module).replace(module.__doc__, "")
    keys = {first or second for first, second in _KEY.findall(module.__doc__)}
    assert any(re.search(rf"\b{key}", source) for key in keys), keys


@pytest.mark.slow
def test_one_of_them_prints_an_object_last():
    call = [sys.executable, "-m", "benchmarks.replay_speed", "--turns", "1", "--data", "nowhere"]
    root = Path(benchmarks.__file__).parent.parent
    done = subprocess.run(call, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert {"plans_per_s", "plain_plans_per_s", "ratio", "checked"} <= set(figures)
