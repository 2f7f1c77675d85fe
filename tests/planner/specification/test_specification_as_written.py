"""The specification as people write it, labels as spreadsheets write them, the store elsewhere."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from trimtab.planner.specification.job import load_spec
from trimtab.workloads import read_workload
from trimtab_runtime.errors import SpecificationError

PLAIN = """\
name: cli
models: [{path: m.onnx, input: {mean: 127.5, std: 127.5}}]
workload: {images: images}
objectives: {top1: max, latency_mean_ms: min}
techniques: {cascade: false, quantisation: []}
runtime: {threads: [1]}
budget: {minutes: 0.3}
"""


@pytest.fixture
def written(tmp_path):
    """written(old, new): the specification with a part of it written otherwise, read."""
    (tmp_path / "m.onnx").touch()
    (tmp_path / "images").mkdir()

    def read(*changes):
        text = PLAIN
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "job.yaml").write_text(text, newline="")
        return load_spec(tmp_path / "job.yaml")

    return read


def test_one_thing_stands_for_a_list_of_one(written):
    plain = written()
    assert written(("threads: [1]", "threads: 1")) == plain
    assert written(("quantisation: []", "quantisation: false")) == plain
    assert written(("cascade: false", "cascade: no")) == plain
    assert written(("quantisation: []", "quantisation: w8a8")).techniques.quantisation == ("w8a8",)


def test_lines_as_windows_ends_them(written):
    assert written(("\n", "\r\n")) == written()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("models: [", "models:\n\t- [", r"not valid YAML .*line 3"),
        ("name: cli", "name: 2024", r"name: must be a text, got 2024"),
        ("workload:", "worklaod:", r"worklaod.*workload"),
        ("minutes: 0.3", "minutes: twenty", r"budget\.minutes"),
        ("top1: max", "accuracy: max", r"accuracy"),
    ],
)
def test_what_is_wrong_is_named(written, old, new, told):
    with pytest.raises(SpecificationError, match=rf"(?s){told}"):
        written((old, new))


def test_labels_of_a_column_that_once_had_a_gap_are_whole_numbers(tmp_path):
    """pandas writes such a column of integers as 0.0, 1.0, ... 10.0, 11.0."""
    with (tmp_path / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "label"])
        for label in range(12):
            Image.new("RGB", (4, 4), (20 * label, 0, 0)).save(tmp_path / f"{label}.png")
            table.writerow([f"{label}.png", f"{float(label)}"])
    workload = read_workload(tmp_path)
    assert len(workload.classes) == 12
    assert {Path(item.name).stem: str(item.label) for item in workload.items} == {
        str(label): str(label) for label in range(12)
    }
