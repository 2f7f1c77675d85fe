"""The probe on stages in segments and on plans that remember, in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from early_plans import CutModel

from trimtab_runtime import Plan
from trimtab_runtime.codec import decode, encode
from trimtab_runtime.definitions.exits import NO_MEMORY, Centres, Memory, Prior
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.engines import create_engine
from trimtab_runtime.errors import BundleError, InferenceError, ModelError
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.plans.loop import ANSWERED_BY
from trimtab_runtime.probe import answers as answers_module
from trimtab_runtime.probe.answers import trace, verify
from trimtab_runtime.probe.footprint import full_recall
from trimtab_runtime.probe.measure import measure
from trimtab_runtime.probe.requests import (
    MeasureRequest,
    MeasureSettings,
    StageFile,
    TraceRequest,
    VerifyRequest,
)

SHORT = MeasureSettings(
    seconds=0.05, min_rounds=4, warmup_seconds=0.01, idle_seconds=0.01, energy_seconds=0.01
)
OPTIONS = RuntimeOptions("onnxruntime")
FULL = Memory(5, 7, Centres("probability", window=10, update="all"), Prior(weight=0.5, final=0.5))
PARTS = ("resize_ms", "tensor_ms", "inference_ms")


def nobody(done: int, total: int) -> None:
    pass


@pytest.fixture(autouse=True)
def unpinned() -> Iterator[None]:
    """A probe keeps its process on some cores."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def file_of(cut: CutModel, arrays: bool = True) -> StageFile:
    return StageFile(
        "",
        cut.variant,
        OPTIONS,
        cut.exits,
        tuple(str(path) for path in cut.segments),
        str(cut.arrays_path) if arrays else None,
    )


def whole_of(member: Any) -> StageFile:
    return StageFile(str(member.path), member.variant, member.options)


def names_of(found: Mapping[str, Any]) -> set[str]:
    return {name.removesuffix("_inference_ms") for name in found if "_inference" in name}


def test_a_stage_in_segments_is_measured_part_by_part(
    cuts: Mapping[str, CutModel], frames: Sequence[Path]
) -> None:
    request = MeasureRequest(
        (file_of(cuts["small"]),), tuple(map(str, frames[:6])), SHORT, memory=FULL
    )
    assert decode(MeasureRequest, encode(request)) == request
    found = measure(request, nobody)
    samples = found["samples"]
    assert names_of(samples) == {f"{p}_{c}" for p in range(3) for c in ("hot", "beside")}
    beside, hot = (len(samples[f"0_{c}_inference_ms"]) for c in ("beside", "hot"))
    assert hot == 2 * beside
    for position in range(3):
        for context, count in (("beside", beside), ("hot", hot)):
            for part in PARTS:
                assert len(samples[f"{position}_{context}_{part}"]) == count
            assert min(samples[f"{position}_{context}_inference_ms"]) > 0
            if position:
                assert set(samples[f"{position}_{context}_resize_ms"]) == {0.0}
                assert set(samples[f"{position}_{context}_tensor_ms"]) == {0.0}
    assert len(samples["learn_ms"]) == len(samples["thumbnail_ms"]) == beside + hot
    assert min(samples["learn_ms"]) > 0
    assert found["values"]["load_ms"] > 0


def test_a_cascade_counts_positions_over_all_stages(
    cuts: Mapping[str, CutModel], zoo: Mapping[str, Any], frames: Sequence[Path]
) -> None:
    files = (whole_of(zoo["lite"]), file_of(cuts["tiny"]), file_of(cuts["small"]))
    request = MeasureRequest(files, tuple(map(str, frames[:6])), SHORT, memory=FULL)
    samples = measure(request, nobody)["samples"]
    expected = {"0_hot", "0_beside", *(f"{p}_beside" for p in range(1, 6))}
    assert names_of(samples) == expected
    beside = len(samples["0_beside_inference_ms"])
    assert {len(samples[f"{p}_beside_inference_ms"]) for p in range(6)} == {beside}
    assert len(samples["learn_ms"]) == beside, "only frames that passed all taps"
    assert len(samples["thumbnail_ms"]) == beside + len(samples["0_hot_inference_ms"])


def test_plain_stages_are_measured_as_ever(zoo: Mapping[str, Any], frames: Sequence[Path]) -> None:
    files = (whole_of(zoo["tiny"]), whole_of(zoo["lite"]))
    request = MeasureRequest(files, tuple(map(str, frames[:6])), SHORT)
    samples = measure(request, nobody)["samples"]
    stages = ("0_hot", "0_beside", "1_beside")
    assert set(samples) == {
        "reference_ms",
        "parallel_ms",
        *(f"{s}_{p}" for s in stages for p in PARTS),
    }


def test_a_plain_stage_that_remembers(zoo: Mapping[str, Any], frames: Sequence[Path]) -> None:
    request = MeasureRequest(
        (whole_of(zoo["tiny"]),), tuple(map(str, frames[:6])), SHORT, memory=Memory(thumbnails=32)
    )
    samples = measure(request, nobody)["samples"]
    assert names_of(samples) == {"0_hot", "0_beside"}
    assert len(samples["thumbnail_ms"]) == len(samples["learn_ms"]) > 0


def test_static_heads_are_measured_without_a_memory(
    cuts: Mapping[str, CutModel], frames: Sequence[Path]
) -> None:
    request = MeasureRequest((file_of(cuts["tiny"]),), tuple(map(str, frames[:6])), SHORT)
    samples = measure(request, nobody)["samples"]
    assert names_of(samples) == {f"{p}_{c}" for p in range(2) for c in ("hot", "beside")}
    assert "thumbnail_ms" not in samples
    assert samples["learn_ms"]


def test_a_full_memory_is_full(cuts: Mapping[str, CutModel]) -> None:
    recall = full_recall([file_of(cuts["small"])], FULL, 4)
    assert recall is not None
    found = recall.summary()
    assert found["thumbnails"] == 5
    assert found["instances"] == {"relu1": 7, "relu2": 7}
    assert recall.rules.heads == np.inf


def test_measurements_that_cannot_be(cuts: Mapping[str, CutModel], frames: Sequence[Path]) -> None:
    images = (str(frames[0]),)
    for file, memory, message in [
        (file_of(cuts["small"], arrays=False), FULL, "its taps need their arrays"),
        (file_of(cuts["small"]), NO_MEMORY, "these stages are no plan"),
    ]:
        with pytest.raises(ModelError, match=message):
            measure(MeasureRequest((file,), images, SHORT, memory=memory), nobody)
    other = StageFile(**{**vars(file_of(cuts["small"])), "arrays": str(cuts["small"].whole)})
    with pytest.raises(BundleError, match="cannot be read"):
        measure(MeasureRequest((other,), images, SHORT, memory=FULL), nobody)


def test_a_trace_tells_vectors_and_thumbnails(
    cuts: Mapping[str, CutModel], frames: Sequence[Path], tmp_path: Path
) -> None:
    cut, output = cuts["small"], str(tmp_path / "trace.npz")
    images = tuple(map(str, frames[:20]))
    trace(TraceRequest(file_of(cut, arrays=False), images, output, thumbnails=True), nobody)
    with np.load(output, allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    assert set(found) == {"outputs", "vector_0", "vector_1", "thumbnails"}
    assert found["vector_0"].shape == (20, 8)
    assert found["vector_1"].shape == (20, 16)
    assert found["thumbnails"].shape == (20, 192)
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    whole = create_engine(str(cut.whole), cut.variant, OPTIONS)
    prepared = [Preprocessor(image) for image in images]
    outputs = np.stack([whole.run(image.tensor(cut.variant.input)) for image in prepared])
    assert found["outputs"].tobytes() == outputs.tobytes()
    assert (found["thumbnails"] == np.stack([i.thumbnail() for i in prepared])).all()
    assert len(np.unique(found["vector_0"], axis=0)) == 20, "vectors were copied"


def test_a_trace_of_a_whole_may_tell_thumbnails(
    zoo: Mapping[str, Any], frames: Sequence[Path], tmp_path: Path
) -> None:
    output, images = str(tmp_path / "trace.npz"), tuple(map(str, frames[:3]))
    for thumbnails in (False, True):
        trace(TraceRequest(whole_of(zoo["tiny"]), images, output, thumbnails), nobody)
        with np.load(output, allow_pickle=False) as archive:
            assert ("thumbnails" in archive.files) is thumbnails


def test_a_verification_runs_the_stream(
    early: Path, frames: Sequence[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, images = str(tmp_path / "found.npz"), tuple(map(str, frames))

    class Watt:
        method = "invented"

    runs: list[int] = []

    def measured(meter: Any, once: Any, *_: float) -> dict[str, float]:
        for _ in range(200):
            once()
        runs.append(200)
        return {"energy_mj": 1.0}

    monkeypatch.setattr(answers_module, "find_meter", Watt)
    monkeypatch.setattr(answers_module, "measure_energy", measured)
    resets = (0, 50, 51)
    request = VerifyRequest(str(early), images, output, deciding=30, reset_at=resets)
    found = verify(decode(VerifyRequest, encode(request)), nobody)
    assert found["values"]["energy_mean_mj"] == 1.0
    assert runs == [200]
    with np.load(output, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    plan = Plan.load(str(early))
    assert plan.memory is not None
    for number, image in enumerate(images):
        if number in resets:
            plan.memory.reset()
        answer = plan.classify(image)
        assert arrays["index"][number] == answer.index
        assert ANSWERED_BY[arrays["by"][number]] == answer.by
        assert arrays["tap"][number] == (-1 if answer.tap is None else answer.tap)
    assert len(set(arrays["by"])) >= 4
    assert arrays["latency_ms"].min() > 0


def test_a_verification_of_a_plain_bundle(
    cascade: Path, frames: Sequence[Path], tmp_path: Path
) -> None:
    output = str(tmp_path / "found.npz")
    verify(VerifyRequest(str(cascade), tuple(map(str, frames[:10])), output), nobody)
    with np.load(output, allow_pickle=False) as archive:
        assert archive["by"].tolist() == [0] * 10
        assert archive["tap"].tolist() == [-1] * 10


def test_nan_is_named_by_its_image(
    cuts: Mapping[str, CutModel], frames: Sequence[Path], tmp_path: Path
) -> None:
    import onnx

    model = onnx.load(cuts["tiny"].segments[0])
    for tensor in model.graph.initializer:
        if tensor.name == "bias1":
            bias = np.full(onnx.numpy_helper.to_array(tensor).shape, np.nan, np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(bias, "bias1"))
    path = tmp_path / "nan.onnx"
    onnx.save(model, path)
    file = file_of(cuts["tiny"], arrays=False)
    bad = StageFile(**{**vars(file), "segments": (str(path), *file.segments[1:])})
    with pytest.raises(InferenceError, match=rf"NaN or infinity \(vector_0\) for {frames[0]}$"):
        trace(TraceRequest(bad, (str(frames[0]),), str(tmp_path / "t.npz")), nobody)
