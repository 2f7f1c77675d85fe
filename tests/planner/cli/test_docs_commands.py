"""Every command that the documentation prints is there, and takes its options."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from trimtab.planner.cli.app import app
from trimtab_runtime.cli import _parser

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
#: Options and alternatives in brackets, as in a synopsis: `[--json]`.
_MAY_BE = re.compile(r"\[([^\]]*)\]")


def printed(page):
    """What a page says that a person types: behind `$` in a console, in a shell's block or between
    backticks, word by word."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [
        line.removeprefix("$ ")
        for kind, block in blocks
        for line in block.splitlines()
        if line.startswith("$ ") or kind == "sh"
    ]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    for line in lines:
        for part in line.split(" | "):
            if re.match(r"(trimtab|make|python|\S*/python) ", part):
                yield shlex.split(_MAY_BE.sub(r"\1", part), comments=True)


def commands_of(tool):
    """By page, what the documentation says that a tool is called with."""
    return [
        pytest.param(words[len(tool) :], id=f"{page.stem}: {shlex.join(words)[:60]}")
        for page in PAGES
        for words in printed(page)
        if words[: len(tool)] == tool and words != tool and words[:3] != ["python", "-m", "venv"]
    ]


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def parse(command, words, parent=None):
    """Raise typer.TyperException where a command does not take these words. Arguments may be
    missing: a sentence names a command or an option alone."""
    try:
        context = command.make_context(command.name, words, parent)
    except (typer.Exit, SystemExit):  # --help, --version
        return
    except typer.TyperException as error:
        if not error.format_message().startswith("Missing argument"):
            raise
        return
    rest = [*context._protected_args, *context.args]
    if rest:
        _, found, rest = command.resolve_command(context, rest)
        parse(found, rest, context)


def make_what_is_named(words):
    """Files and folders that a command wants to be there."""
    for word in words:
        if re.fullmatch(r"[\w-]+\.\w+", word):
            Path(word).touch()
        elif re.fullmatch(r"[\w-]+/?", word) and not word.startswith("-"):
            Path(word).mkdir(exist_ok=True)


@pytest.mark.parametrize("words", commands_of(["trimtab"]))
def test_the_command_takes_it(words):
    make_what_is_named(words)
    parse(typer.main.get_command(app), words)


@pytest.mark.parametrize("words", commands_of(["python", "-m"]))
def test_the_benchmark_takes_it(words):
    module, *options = words
    alone = typer.Typer()
    alone.command()(importlib.import_module(module).main)
    parse(typer.main.get_command(alone), options)


@pytest.mark.parametrize("words", commands_of(["python", "plan.pyz"]))
def test_a_bundle_takes_it(words):
    _parser("plan.pyz").parse_args(["3" if word == "N" else word for word in words])


@pytest.mark.parametrize("words", commands_of(["make"]))
def test_make_has_it(words):
    assert {word for word in words if "=" not in word} <= TARGETS


def test_there_are_commands():
    for tool in (["trimtab"], ["python", "-m"], ["python", "plan.pyz"], ["make"]):
        assert len(commands_of(tool)) > 5, tool
