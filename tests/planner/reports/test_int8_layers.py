"""`trimtab layers --int8`: errors and times of blocks, of a member of a job."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import SETTINGS
from PIL import Image
from sample_models import INPUT, make_net, uneven, write_onnx, write_photos

import trimtab
from trimtab.db import Store
from trimtab.planner.cli import main
from trimtab.planner.reports.int8_blocks import profile_blocks
from trimtab.profilers import LocalDevice, RecordOrReplayDevice
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.errors import PlanningError

pytestmark = pytest.mark.slow

OPTIONS = RuntimeOptions("onnxruntime")


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, machine: RecordOrReplayDevice
) -> Iterator[Path]:
    """A finished job with one member, one channel of which is much larger than the others."""
    folder = tmp_path_factory.mktemp("int8")
    write_onnx(folder / "net.onnx", net=uneven(make_net()))
    write_photos(folder / "photos", 40)
    spec = {
        "name": "int8",
        "models": [{"path": str(folder / "net.onnx"), "input": INPUT}],
        "workload": {
            "images": str(folder / "photos"),
            "splits": {"fit": 12, "tune": 14, "test": 14},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"quantisation": []},
        "runtime": {"threads": [1]},
        "verify": 0,
    }
    with Store.open(folder / "trimtab.db") as store:
        trimtab.plan(spec, store, settings=SETTINGS, device=machine, setup="ignored")
    yield folder


def test_blocks_have_errors_and_times_that_are_kept_and_shown(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(folder / "trimtab.db") as store:
        found = profile_blocks(store, LocalDevice(), folder / "net.onnx", OPTIONS, 5)
        scores = [v for v in store.list_variants() if v.format == "score"]
    labels = [block.label for block in found.blocks]
    assert labels == ["Conv_0 to Relu_1", "Conv_2 to Flatten_5", "Gemm_6"]
    assert len(scores) == 3
    errors = [block.error or 0.0 for block in found.blocks]
    assert min(errors[:2]) > 20 * errors[2] and found.error > 1
    for times, whole in (
        ([block.float_ms for block in found.blocks], found.float_ms),
        ([block.int8_ms for block in found.blocks], found.int8_ms),
    ):
        assert sum(times) == pytest.approx(whole, rel=1e-6)
    monkeypatch.chdir(folder)
    command = ["--store", "trimtab.db", "layers", "net.onnx", "--int8", "--runs", "5"]
    assert main(command) == 0
    table = capsys.readouterr().out
    assert "Conv_2 to Flatten_5" in table and "All of it in int8: error" in table
    assert main([*command, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["blocks"][0]["error"] == errors[0]
    assert main([*command, "--format", "csv"]) == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 3
    assert main([*command, "--plot", "blocks.png"]) == 0
    with Image.open(folder / "blocks.png") as picture:
        assert picture.size[0] > 500


def test_a_file_that_no_job_has_is_told_what_to_do(folder: Path, tmp_path: Path) -> None:
    other = write_onnx(tmp_path / "other.onnx", 4)
    with (
        Store.open(folder / "trimtab.db") as store,
        pytest.raises(PlanningError, match="run `trimtab plan` with it first"),
    ):
        profile_blocks(store, LocalDevice(), other, OPTIONS, 5)
