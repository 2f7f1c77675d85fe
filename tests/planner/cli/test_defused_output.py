"""What names of users reach: a spreadsheet, a terminal, a shell's history."""

import csv
import io
import json

import pytest

from trimtab.planner.cli import tables
from trimtab.planner.cli.console import console
from trimtab.planner.jobs.store_location import StoreLocation
from trimtab.planner.reports.text import cell


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_cells_that_a_spreadsheet_would_compute_stay_texts(begin):
    text = tables.written([{"a": f"{begin}1+1", "b": -1.5, "c": None, "d": "x=1"}], list("abcd"))
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["a"].startswith("'")
    assert (row["b"], row["c"], row["d"]) == ("-1.5", "", "x=1")


def test_headers_are_cells_too():
    assert tables.written([], ["=1", "a"]) == "'=1,a\n"
    assert cell(-3) == -3
    assert cell("\x1b[31m") == "\ufffd[31m"


EVIL = "a\x1b]0;owned\x07\x9b31m\u202e[bold]b[/bold]\r\nc"


def test_a_terminal_obeys_no_name(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.StringIO()
    screen = console(stream)
    table = tables.plain_table("name")
    table.add_row(EVIL)
    screen.print(table)
    screen.print(EVIL, style="bold")
    screen.print(tables.heading(EVIL))
    text = stream.getvalue()
    assert all(c.isprintable() or c == "\n" for c in text), text
    assert text.count("[bold]b[/bold]") == 3


def test_json_for_a_terminal_escapes_what_it_would_obey():
    text = tables.json_text({"name": EVIL, "é": 1})
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "é" in text
    assert json.loads(text)["name"] == EVIL


def test_the_next_command_tells_no_password(monkeypatch):
    monkeypatch.delenv("TRIMTAB_STORE", raising=False)
    told = StoreLocation("postgresql://me:geheim@host/db", None).command
    assert "geheim" not in told
    assert "me:***@host/db" in told
    plain = StoreLocation("postgresql://me@host/db", None)
    assert plain.command == "trimtab --store postgresql://me@host/db"
    monkeypatch.setenv("TRIMTAB_STORE", "postgresql://me:geheim@host/db")
    assert StoreLocation("postgresql://me:geheim@host/db", None).command == "trimtab"
