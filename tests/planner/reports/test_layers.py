"""`trimtab layers`: small real files, profiled on this machine."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from sample_models import GraphDrawer, write_onnx
from sample_tflite import write_tflite

from trimtab.planner.cli import main
from trimtab.planner.reports.layer_profile import LayerProfile, NodeTime, OperatorTime
from trimtab.planner.reports.layers import profile_layers
from trimtab.planner.reports.plots.layers import write_layers
from trimtab.profilers import LocalDevice, RecordingDevice, connect
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.errors import DeviceError, EngineError, ModelError, PlanningError

Run = Callable[..., tuple[int, str, str]]
OPTIONS = RuntimeOptions("onnxruntime")
RUNS = "8"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cheap 1x1 convolution, and normalisations that take nearly all of the time."""
    draw = GraphDrawer()
    x = draw.op("Relu", draw.conv("image", 32, 1))
    for _ in range(3):
        x = draw.op("LRN", x, size=5)
    path = tmp_path_factory.mktemp("layers") / "normalised.onnx"
    return draw.write(path, draw.head(x))


@pytest.fixture(scope="module")
def profile(model: Path) -> LayerProfile:
    return profile_layers(LocalDevice(), model, OPTIONS, runs=20)


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def command(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


def test_times_add_up_to_a_run_without_profiler(profile: LayerProfile) -> None:
    for parts in (profile.nodes, profile.operators):
        assert sum(part.share for part in parts) == pytest.approx(1)
        assert sum(part.median_ms for part in parts) == pytest.approx(profile.median_ms)
        assert sum(part.mean_ms for part in parts) == pytest.approx(profile.mean_ms)
    assert profile.runs == 20
    assert profile.profiler_adds == profile.profiled_median_ms / profile.median_ms - 1


def test_the_share_without_weights(profile: LayerProfile) -> None:
    shares = {each.operator: each.share for each in profile.operators}
    assert profile.operators[0].operator == "LRN"
    assert profile.operators[0].nodes == 3
    assert shares["LRN"] > 0.5
    expected = 1 - shares["Conv"] - shares["Gemm"]
    assert profile.share_without_weights == pytest.approx(expected)
    assert {each.operator for each in profile.operators if each.weights} == {"Conv", "Gemm"}


def test_work_is_joined_to_times(profile: LayerProfile) -> None:
    works = {each.operator: each.multiply_accumulates for each in profile.operators}
    assert (works["Conv"], works["Gemm"], works["LRN"]) == (32 * 3 * 32 * 32, 32 * 4, 0)
    first = next(node for node in profile.nodes if node.operator == "Conv")
    assert [kind for _, kind in first.originals] == ["Conv", "Relu"]
    assert first.shape == "1x32x32x32"


def test_a_recorded_device_answers_the_same(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "record.jsonl"
    first = profile_layers(RecordingDevice(LocalDevice(), file), model, OPTIONS, runs=2)
    again = profile_layers(connect(f"recorded:{file}"), model, OPTIONS, runs=2)
    assert (again.nodes, again.operators) == (first.nodes, first.operators)
    assert again.device_key == first.device_key
    with pytest.raises(DeviceError, match="holds no answer to this layers request"):
        profile_layers(connect(f"recorded:{file}"), model, OPTIONS, runs=3)


def test_the_table(run: Run, model: Path) -> None:
    status, text, _ = run("layers", model, "--runs", RUNS)
    assert status == 0
    lines = text.splitlines()
    assert lines[0].startswith("normalised.onnx on local (")
    assert lines[0].endswith("(median of 8)")
    assert "1 thread" in lines[0]
    header = next(line for line in lines if line.startswith("operator"))
    assert header.split() == ["operator", "weights", "nodes", "ms", "share", "MMAC", "GMAC/s"]
    slowest = lines[lines.index(header) + 1].split()
    assert slowest[:3] == ["LRN", "no", "3"]
    assert slowest[-1].endswith("%")
    (conv,) = (line.split() for line in lines if line.startswith("Conv "))
    assert conv[1] == "yes"
    assert conv[5] == "0.1"
    assert "Operators without weights take" in text
    assert "times are scaled to runs without it" in text


def test_a_line_a_node_and_only_the_slowest(run: Run, model: Path) -> None:
    _, text, _ = run("layers", model, "--runs", RUNS, "--by", "node")
    body = [line.split() for line in text.splitlines() if "1x" in line]
    assert [cells[1] for cells in body if cells[1] in ("LRN", "Gemm")] == ["LRN"] * 3 + ["Gemm"]
    assert any("Conv + Relu" in line for line in text.splitlines())
    _, text, _ = run("layers", model, "--runs", RUNS, "--by", "node", "--top", 3)
    body = [line.split() for line in text.splitlines() if "1x" in line]
    assert [cells[1] for cells in body] == ["LRN"] * 3
    (rest,) = (line.split() for line in text.splitlines() if " others " in line and "%" in line
               and "take" not in line)  # fmt: skip
    shown = sum(float(cells[-1].rstrip("%")) for cells in body)
    assert float(rest[-1].rstrip("%")) == pytest.approx(100 - shown, abs=0.3)


def test_json_has_operators_and_nodes(run: Run, model: Path) -> None:
    status, text, _ = run("layers", model, "--runs", RUNS, "--format", "json", "--by", "operator")
    assert status == 0
    told = json.loads(text)
    assert {"model", "device", "device_key", "engine", "threads", "runs", "median_ms", "mean_ms",
            "profiled_median_ms", "profiler_adds", "share_without_weights", "unsteadiness",
            "warnings", "operators", "nodes", "measured"} == set(told)  # fmt: skip
    assert set(told["operators"][0]) == {
        "operator", "weights", "nodes", "median_ms", "mean_ms", "share", "multiply_accumulates"
    }  # fmt: skip
    assert {"name", "operator", "shape", "originals", "mean_ms"} <= set(told["nodes"][0])
    (conv,) = (node for node in told["nodes"] if node["operator"] == "Conv")
    assert conv["originals"][0] == {"name": "n_conv_0", "operator": "Conv"}


def test_csv(run: Run, model: Path) -> None:
    _, text, _ = run("layers", model, "--runs", RUNS, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["operator"] == "LRN"
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1)
    _, text, _ = run(
        "layers", model, "--runs", RUNS, "--format", "csv", "--by", "node", "--top", 2
    )
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["originals"] for row in rows] == ["LRN", "LRN"]


def test_a_picture(run: Run, model: Path, tmp_path: Path) -> None:
    status, text, _ = run("layers", model, "--runs", RUNS, "--plot", "deep/layers.png")
    assert (status, text.strip()) == (0, "Wrote deep/layers.png")
    with Image.open(tmp_path / "deep" / "layers.png") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    # The normalisations take most of the strip, in the first colour of what has no weights.
    orange = (np.abs(pixels - [0xE6, 0x9F, 0x00]).max(axis=1) < 24).mean()
    grey = (np.abs(pixels - [0xA3, 0xA9, 0xB2]).max(axis=1) < 12).mean()
    assert orange > 0.08
    assert orange > grey > 0


def test_a_picture_of_many_operators_and_odd_names(profile: LayerProfile, tmp_path: Path) -> None:
    """More operators than bars and colours; what a file calls itself is no formula."""
    kinds = [f"${n}_x" for n in range(30)]
    nodes = tuple(NodeTime(k, k, False, 1.0, 1.0, 1 / 30, "", None, ()) for k in kinds)
    operators = tuple(OperatorTime(k, False, 1, 1.0, 1.0, 1 / 30, None) for k in kinds)
    odd = replace(profile, model="$\x1b.onnx" * 30, nodes=nodes, operators=operators)
    with Image.open(write_layers(odd, tmp_path / "odd.png")) as image:
        assert image.size[0] == 990
    with pytest.raises(PlanningError, match=r"a plot of layers must be a \.png file"):
        write_layers(profile, tmp_path / "odd.svg")
    (tmp_path / "file").touch()
    with pytest.raises(PlanningError, match="cannot be written"):
        write_layers(profile, tmp_path / "file" / "a.png")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["missing.onnx"], 2, "does not exist"),
        (["."], 2, "is a directory"),
        (["net.onnx", "--plot", "layers.svg"], 2, "must name a .png file"),
        (["net.onnx", "--threads", "0"], 2, "--threads"),
        (["net.onnx", "--top", "0"], 2, "--top"),
        (["net.onnx", "--device", "moon"], 1, "device 'moon' is unknown"),
        (["torn.tflite"], 1, "torn.tflite: LiteRT cannot load it"),
        (["torn.onnx"], 1, "torn.onnx: damaged or no ONNX file"),
        (["open.onnx"], 1, "leaves its shape open (1, 3, ?, ?)"),
    ],
)
def test_a_mistake_is_named(
    run: Run, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    write_onnx(tmp_path / "net.onnx", 2)
    write_onnx(tmp_path / "open.onnx", 2, size="s")
    for name in ("torn.onnx", "torn.tflite"):
        (tmp_path / name).write_bytes(b"torn")
    found, _, errors = run("layers", *arguments)
    assert found == status
    assert message in errors.replace("\n", " ")
    assert all(line.startswith("error: ") for line in errors.splitlines())


@pytest.mark.parametrize("quantised", [False, True])
def test_operators_of_a_tflite_file_run_alone(run: Run, tmp_path: Path, quantised: bool) -> None:
    write_tflite(tmp_path / "lite.tflite", width=8, quantised=quantised)
    status, text, _ = run("layers", "lite.tflite", "--runs", RUNS, "--format", "json")
    assert status == 0
    found = json.loads(text)
    nodes = [(node["operator"], node["shape"], node["weights"]) for node in found["nodes"]]
    assert nodes == [
        ("CONV_2D", "1x15x15x8", True),
        ("CONV_2D", "1x7x7x16", True),
        ("MEAN", "1x16", False),
        ("FULLY_CONNECTED", "1x4", True),
        ("SOFTMAX", "1x4", False),
    ]
    works = [node["multiply_accumulates"] for node in found["nodes"]]
    assert works == [8 * 27 * 15**2, 16 * 72 * 7**2, 0, 64, 0]
    assert sum(node["share"] for node in found["nodes"]) == pytest.approx(1)
    assert found["measured"] == "alone"
    status, text, _ = run("layers", "lite.tflite", "--runs", RUNS, "--threads", 2)
    assert status == 0
    assert "ai-edge-litert" in text
    assert "LiteRT has no profiler for Python: each operator ran alone" in text


def test_an_open_size_can_be_named(run: Run, tmp_path: Path) -> None:
    write_onnx(tmp_path / "open.onnx", 8, size="s", batch="n")
    status, text, _ = run("layers", "open.onnx", "--size", 32, "--runs", RUNS, "--format", "json")
    assert status == 0
    works = [node["multiply_accumulates"] for node in json.loads(text)["nodes"] if node["weights"]]
    assert works == [8 * 27 * 15**2, 16 * 72 * 7**2, 64]


def test_a_file_that_is_gone_or_too_quick(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such file"):
        profile_layers(LocalDevice(), tmp_path / "a.onnx", OPTIONS)
    shape = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["a"], ["b"])], "g", [shape("a", 1, [1])],
        [shape("b", 1, [1])],
    )  # fmt: skip
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "a.onnx"
    )
    try:
        found = profile_layers(LocalDevice(), tmp_path / "a.onnx", OPTIONS, runs=5)
    except EngineError as error:
        assert "takes less than one in every node" in str(error)
    else:  # a slow machine may need a microsecond
        assert [node.share for node in found.nodes] == [1.0]
