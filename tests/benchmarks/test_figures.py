"""What `make figures` measures is what the documentation tells."""

import json

import pytest
import typer

from benchmarks import figures


def test_a_page_names_what_is_measured_for_it(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("`python -m benchmarks.b --x 1`, `python -m benchmarks.a`; again benchmarks.b")
    assert figures.named(page) == ["b", "a"]
    assert {"zoo_imagenet", "replay_speed", "runtime_overhead"} <= set(figures.named())


def test_what_no_page_names_is_refused(tmp_path):
    with pytest.raises(typer.BadParameter, match="nothing not in"):
        figures.main(only=["nothing"], output=tmp_path / "figures.json")
    assert not (tmp_path / "figures.json").exists()


def test_a_benchmark_that_fails_keeps_the_figures_of_before(tmp_path, monkeypatch, capsys):
    output = tmp_path / "figures.json"
    before = {"earlier": {"figures": {"x": 1}}}
    output.write_text(json.dumps(before), encoding="utf-8")
    monkeypatch.setattr(figures, "named", lambda: ["not_there"])
    with pytest.raises(typer.Exit):
        figures.main(data=tmp_path, only=None, output=output)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["failed"] == ["not_there"]
    assert json.loads(output.read_text(encoding="utf-8")) == before
