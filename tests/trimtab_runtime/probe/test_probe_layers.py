"""The probe on the nodes of ONNX files and on races of them, in this process."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_models import GraphDrawer, write_onnx

from trimtab_runtime.codec import decode, encode
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.errors import EngineError, InferenceError, ModelError
from trimtab_runtime.probe.layers import layers, read_profile
from trimtab_runtime.probe.race import race
from trimtab_runtime.probe.requests import LayersRequest, RaceRequest
from trimtab_runtime.probe.sessions import NoiseSession

OPTIONS = RuntimeOptions("onnxruntime")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in an empty folder, and get the cores back that the probe gave up."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    cores = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cores)


def silent(done: int, total: int) -> None: ...


def conv_file(path: Path, width: int, size: int = 3) -> Path:
    draw = GraphDrawer(channels=8)
    return draw.write(path, draw.conv("image", width, size))


def profile_of(request: LayersRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    answer = layers(request, silent)
    with np.load(request.output, allow_pickle=False) as archive:
        return answer, {name: archive[name] for name in archive.files}


def test_nodes_come_in_their_order_with_a_time_for_every_run(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx", 8, softmax=True)
    steps: list[tuple[int, int]] = []
    request = LayersRequest(str(path), OPTIONS, str(tmp_path / "out.npz"), runs=7)
    answer = layers(request, lambda done, total: steps.append((done, total)))
    with np.load(request.output, allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    operators = [kind for kind in found["operator"].tolist() if not kind.startswith("Reorder")]
    assert operators == ["Conv", "Conv", "GlobalAveragePool", "Flatten", "Gemm", "Softmax"]
    assert found["ms"].shape == (7, len(found["name"]))
    assert found["shape"][-1] == "1x4"
    assert (found["ms"] >= 0).all()
    # What the nodes took lies within what their run took.
    assert (found["ms"].sum(axis=1) <= answer["samples"]["profiled_ms"]).all()
    assert len(answer["samples"]["plain_ms"]) == 7
    assert len(answer["samples"]["reference_ms"]) == 2
    assert steps[-1] == (7, 7)
    assert list(Path().iterdir()) == []


def test_without_optimisation_nodes_are_those_of_the_file(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx", 4)
    options = dataclasses.replace(OPTIONS, graph_optimisation="none")
    _, found = profile_of(LayersRequest(str(path), options, str(tmp_path / "out.npz"), runs=1))
    expected = ["Conv", "Relu", "Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert found["operator"].tolist() == expected
    assert found["name"].tolist() == [f"{kind}_{n}" for n, kind in enumerate(expected)]


def test_an_open_size_must_be_named(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx", 4, size="s", batch="n")
    request = LayersRequest(str(path), OPTIONS, str(tmp_path / "out.npz"), runs=2)
    with pytest.raises(ModelError, match=r"net\.onnx: .* open \(\?, 3, \?, \?\); name the height"):
        layers(request, silent)
    _, found = profile_of(dataclasses.replace(request, size=(20, 36)))
    assert "1x4x9x17" in found["shape"].tolist()  # of the first convolution


def test_only_onnxruntime_tells_layers(tmp_path: Path) -> None:
    request = LayersRequest("net.tflite", RuntimeOptions("litert"), "out.npz")
    with pytest.raises(EngineError, match=r"net\.tflite: times within a network .* litert has no"):
        layers(request, silent)


def event(name: str, ts: int, dur: int, index: int = 0, **more: Any) -> dict[str, Any]:
    args = {"op_name": name.split("_")[0], "node_index": str(index), **more}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": args}


def write_profile(path: Path, events: Sequence[dict[str, Any]]) -> str:
    path.write_text(json.dumps([{"cat": "Session", "name": "model_run"}, *events]))
    return str(path)


def test_bodies_count_as_the_node_that_they_are_in(tmp_path: Path) -> None:
    shape = [{"float": [1, 2]}]
    events = [
        # A body's nodes are told before the loop that they are in, and have numbers of their own.
        event("Add_1", 110, 20, 0),
        event("Add_1", 130, 20, 0),
        event("Loop_1", 100, 60, 1, output_type_shape=shape),
        event("Relu_2", 160, 0, 2),
        event("Relu_2_fence_before", 160, 0, 2) | {"name": "Relu_2_fence_before"},
        event("Loop_1", 200, 40, 1),
        event("Relu_2", 241, 7, 2),
    ]
    found = read_profile(write_profile(tmp_path / "p.json", events), runs=2)
    assert (found.names, found.operators) == (["Loop_1", "Relu_2"], ["Loop", "Relu"])
    assert found.shapes == ["1x2", ""]
    assert found.ms.tolist() == [[0.06, 0.0], [0.04, 0.007]]


def test_a_profile_with_holes_is_refused(tmp_path: Path) -> None:
    events = [event("A", 0, 1, 0), event("B", 2, 1, 1), event("A", 9, 1, 0)]
    path = write_profile(tmp_path / "p.json", events)
    with pytest.raises(EngineError, match=r"of 2 runs tells of nodes that ran \[1, 2\] times"):
        read_profile(path, runs=2)
    with pytest.raises(EngineError, match=r"\[\] times"):
        read_profile(write_profile(tmp_path / "p.json", []), runs=2)


def test_a_race_runs_every_file_in_every_round(tmp_path: Path) -> None:
    files = [conv_file(tmp_path / f"{n}.onnx", width, size)
             for n, (width, size) in enumerate([(64, 5), (4, 1), (64, 5)])]  # fmt: skip
    request = RaceRequest(tuple(map(str, files)), OPTIONS, rounds=15, warmup_seconds=0.02)
    steps: list[tuple[int, int]] = []
    answer = race(request, lambda done, total: steps.append((done, total)))
    samples = answer["samples"]
    assert set(samples) == {"0_ms", "1_ms", "2_ms", "reference_ms"}
    assert all(len(values) == 15 and min(values) > 0 for values in samples.values())
    assert "unsteadiness" in answer["values"]
    assert steps[-1] == (15, 15)


def test_runs_write_where_their_outputs_are_kept(tmp_path: Path) -> None:
    """Into memory that a session does not own any more it would write all the same."""
    draw = GraphDrawer()
    path = str(draw.write(tmp_path / "double.onnx", draw.op("Add", "image", "image")))
    sessions = [NoiseSession(path, OPTIONS, seed) for seed in (1, 1, 2)]
    for session in sessions:
        for array in session.outputs.values():
            array[...] = 0
        session.run_ms()
    first, second, third = (next(iter(session.outputs.values())) for session in sessions)
    assert first.shape == (1, 3, 32, 32)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)
    assert 1.9 < first.std() < 2.1
    assert [session.runs for session in sessions] == [2, 2, 2]


def test_a_race_does_not_mind_what_comes_out(tmp_path: Path) -> None:
    draw = GraphDrawer()
    path = draw.write(
        tmp_path / "nan.onnx", draw.op("Log", draw.op("Neg", draw.op("Exp", "image")))
    )
    answer = race(RaceRequest((str(path),), OPTIONS, rounds=3, warmup_seconds=0.0), silent)
    assert len(answer["samples"]["0_ms"]) == 3


def test_a_race_names_the_file_that_cannot_run(tmp_path: Path) -> None:
    good = str(conv_file(tmp_path / "good.onnx", 4))
    (tmp_path / "torn.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"torn\.onnx: onnxruntime cannot load it"):
        race(RaceRequest((good, str(tmp_path / "torn.onnx")), OPTIONS, rounds=1), silent)
    write_onnx(tmp_path / "open.onnx", 4, size="s")
    with pytest.raises(ModelError, match=r"open\.onnx: .* leaves its shape open"):
        race(RaceRequest((good, str(tmp_path / "open.onnx")), OPTIONS, rounds=1), silent)
    draw = GraphDrawer(channels=8)
    draw.write(tmp_path / "clash.onnx", draw.op("Add", "image", draw.weight(1, 8, 5, 5)))
    with pytest.raises((InferenceError, ModelError), match=r"clash\.onnx: "):
        race(RaceRequest((str(tmp_path / "clash.onnx"),), OPTIONS, rounds=1), silent)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: LayersRequest("a", o, "", runs=0), "1 <= runs <= 1000 must hold, got 0"),
        (lambda o: RaceRequest((), o), "at least one file"),
        (lambda o: RaceRequest(("a",), o, rounds=0), "rounds >= 1 must hold, got 0"),
        (lambda o: RaceRequest(("a",), dataclasses.replace(o, spinning=True)), "spinning must"),
        (lambda o: LayersRequest("a", dataclasses.replace(o, spinning=True), ""), "spinning must"),
    ],
)
def test_requests_that_cannot_be_asked(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(OPTIONS)


def test_requests_travel_as_json() -> None:
    for request in (
        LayersRequest("a.onnx", OPTIONS, "o.npz", 9, (3, 4), 5),
        RaceRequest(("a", "b"), OPTIONS, 3, 4, 0.5),
    ):
        assert decode(type(request), json.loads(json.dumps(encode(request)))) == request
