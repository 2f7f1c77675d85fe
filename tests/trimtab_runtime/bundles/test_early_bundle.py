"""Bundles of plans that stop early: they answer as replayed, and keep to themselves."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from early_plans import CutModel, standardised, stream_images

from trimtab.planner.bundles.archive import BundleParts, write_bundle
from trimtab.search.replay.stateful import StatefulReplay, TappedStage, replay_stateful
from trimtab_runtime import Plan
from trimtab_runtime.bundles.manifest import MANIFEST_NAME
from trimtab_runtime.definitions.exits import NO_MEMORY, Centres, ExitThresholds, Memory, Prior
from trimtab_runtime.definitions.plan import OperatingPoint, RuntimeOptions
from trimtab_runtime.engines import create_engine, create_segments
from trimtab_runtime.errors import (
    BundleError,
    EngineError,
    InferenceError,
    ModelError,
    PlanningError,
)
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.plans.loop import ANSWERED_BY
from trimtab_runtime.plans.routing import calibrated

OPTIONS = RuntimeOptions("onnxruntime")
HEADS = ExitThresholds(heads=0.93)


def engines(cut: CutModel) -> tuple[Any, Any]:
    """The whole, and the same in segments."""
    whole = create_engine(str(cut.whole), cut.variant, OPTIONS)
    paths = [str(path) for path in cut.segments]
    return whole, create_segments(paths, cut.variant, cut.exits, OPTIONS)


def replayed(parts: BundleParts, cuts: Mapping[str, CutModel], images: Any) -> StatefulReplay:
    """The plan as the search sees it: outputs of whole models, vectors, heads computed here."""
    stages, prepared = [], [Preprocessor(image) for image in images]
    by_sha = {cut.variant.sha256: cut for cut in cuts.values()}
    for stage in parts.definition.structure.stages:
        variant = parts.variants[stage.variant]
        cut = by_sha.get(stage.variant)
        path = parts.models[stage.variant] if cut is None else cut.whole
        whole = create_engine(str(path), variant, stage.options)
        outputs = np.stack([whole.run(image.tensor(variant.input)) for image in prepared])
        probabilities = calibrated(outputs, variant.output, stage.temperature)
        if cut is None:
            stages.append(TappedStage(probabilities))
            continue
        _, segments = engines(cut)
        seen: list[list[Any]] = [[] for _ in cut.exits.taps]
        for image in prepared:
            segments.start(image.tensor(variant.input))
            for found in seen:
                vector, logits = segments.tap()
                found.append((vector.copy(), None if logits is None else logits.copy()))
        nothing = np.zeros((0, outputs.shape[1]), np.float32)
        stages.append(
            TappedStage(
                probabilities,
                cut.exits.taps,
                tuple(cut.arrays),
                tuple(
                    standardised(np.stack([v for v, _ in found]), tap, arrays)
                    for found, tap, arrays in zip(seen, cut.exits.taps, cut.arrays, strict=True)
                ),
                tuple(
                    np.stack([x for _, x in found]) if "heads" in tap.kinds else nothing
                    for found, tap in zip(seen, cut.exits.taps, strict=True)
                ),
            )
        )
    definition = parts.definition
    return replay_stateful(
        stages,
        definition.structure.rule,
        definition.thresholds,
        definition.structure.memory,
        definition.exits,
        np.stack([image.thumbnail() for image in prepared]),
    )


@pytest.mark.parametrize("rule", ["last", "mean"])
@pytest.mark.parametrize("names", [["tiny", "small"], ["small"], ["small", "+bytes"]], ids=str)
def test_a_bundle_answers_as_replayed(
    names: list[str], rule: str, early_of: Any, cuts: Mapping[str, CutModel], tmp_path: Path
) -> None:
    parts = early_of(names, (0.9,) * (len(names) - 1), rule=rule)
    plan = Plan.load(str(write_bundle(parts, tmp_path / "plan.pyz")))
    images = stream_images(400, seed=3, objects=16)
    expected = replayed(parts, cuts, images)
    answers = [plan.classify(image) for image in images]
    assert [a.index for a in answers] == expected.answer.tolist()
    assert [a.stage for a in answers] == expected.stage.tolist()
    assert [ANSWERED_BY.index(a.by) for a in answers] == expected.by.tolist()
    assert [-1 if a.tap is None else a.tap for a in answers] == expected.tap.tolist()
    decided = np.stack([a.probabilities for a in answers])
    np.testing.assert_allclose(decided, expected.decided, rtol=1e-4, atol=1e-6)
    counts = Counter(a.by for a in answers)
    assert min(counts[name] for name in ANSWERED_BY) >= 2, counts


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_segments_answer_bit_for_bit(name: str, cuts: Mapping[str, CutModel], noise: Any) -> None:
    whole, segments = engines(cuts[name])
    for image in noise[:40]:
        tensor = Preprocessor(image).tensor(cuts[name].variant.input)
        expected = whole.run(tensor)
        assert segments.run(tensor).tobytes() == expected.tobytes()
        segments.start(tensor)
        for tap in cuts[name].exits.taps:
            vector, logits = segments.tap()
            assert vector.ndim == 1
            assert (logits is not None) == ("heads" in tap.kinds)
        kept = segments.finish()
        segments.run(Preprocessor(noise[0]).tensor(cuts[name].variant.input))
        assert kept.tobytes() == expected.tobytes(), "a later run wrote into an earlier answer"


def test_a_stop_half_way_leaves_nothing_behind(cuts: Mapping[str, CutModel], noise: Any) -> None:
    whole, segments = engines(cuts["small"])
    first, second = (Preprocessor(i).tensor(cuts["small"].variant.input) for i in noise[:2])
    segments.start(first)
    segments.tap()
    assert segments.run(second).tobytes() == whole.run(second).tobytes()


def test_segments_that_cannot_be(cuts: Mapping[str, CutModel], tmp_path: Path) -> None:
    cut = cuts["small"]
    paths = [str(path) for path in cut.segments]
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no model")
    for wrong, message in [
        (paths[:2], "3 segments needed, got 2 files"),
        ([paths[0], str(damaged), paths[2]], "segment 1: onnxruntime cannot load it"),
        ([paths[2], paths[1], paths[2]], r"segment 0: one input and 3 output\(s\) needed"),
    ]:
        with pytest.raises(ModelError, match=message):
            create_segments(wrong, cut.variant, cut.exits, OPTIONS)
    with pytest.raises(EngineError, match="only onnxruntime runs segments"):
        create_segments(paths, cut.variant, cut.exits, RuntimeOptions("litert"))
    with pytest.raises(InferenceError, match="segment 0"):
        engine = create_segments([paths[1], *paths[1:]], cut.variant, cut.exits, OPTIONS)
        engine.run(np.zeros((1, 3, 32, 32), np.float32))


def test_an_answer_says_who_gave_it(early: Path) -> None:
    plan = Plan.load(str(early))
    image = stream_images(1, seed=9)[0]
    plan.use(point=2)
    first = plan.classify(image)
    assert (first.by, first.tap) == ("network", None)
    again = plan.use(point=0).classify(image)
    assert (again.by, again.tap, again.stage, again.index) == ("thumbnails", None, 0, first.index)
    assert again.plain()["by"] == "thumbnails"
    assert again.plain()["tap"] is None
    assert first.latency_ms > 0


def test_use_keeps_the_memory_and_moves_the_thresholds(early: Path) -> None:
    plan = Plan.load(str(early))
    assert plan.memory is not None
    for image in stream_images(30, seed=9):
        plan.classify(image)
    before = plan.memory.summary()
    assert before["frames"] == 30
    plan.use(latency_ms=2.5)
    assert plan.memory.rules.heads == 0.99
    assert plan.memory.rules.thumbnails == -np.inf
    assert plan.memory.summary() == before
    assert {plan.classify(i).by for i in stream_images(30, seed=9)} <= {"network", "heads"}


def test_rehearsing_leaves_no_trace(early: Path) -> None:
    plan, images = Plan.load(str(early)), stream_images(60, seed=4)
    assert plan.memory is not None
    for image in images[:30]:
        plan.classify(image)
    before = plan.memory.snapshot()
    rehearsed = [plan.rehearse(image) for image in images[30:]]
    after = plan.memory.snapshot()
    assert all((before[name] == after[name]).all() for name in before)
    assert plan.classify(images[30]) == dataclasses.replace(
        rehearsed[0], latency_ms=pytest.approx(0, abs=1e9)
    )
    plan.memory.reset()
    assert plan.memory.summary()["frames"] == 0


def test_the_selftest_leaves_no_trace(early: Path) -> None:
    plan = Plan.load(str(early))
    assert plan.memory is not None
    for image in stream_images(30, seed=4):
        plan.classify(image)
    before = plan.memory.snapshot()
    for point in range(3):
        assert plan.use(point=point).selftest() == []
        assert plan.point is plan.manifest.points[point]
    after = plan.memory.snapshot()
    assert all((before[name] == after[name]).all() for name in before)


def test_the_golden_sequence_repeats_images(early: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(early) as archive:
        archive.extract("golden.npz", tmp_path)
    with np.load(tmp_path / "golden.npz", allow_pickle=False) as golden:
        sequence, answers = golden["sequence"].tolist(), golden["answers"]
        assert len(sequence) == len(answers) > int(golden["cases"]) >= 2
        assert sequence[0] == sequence[1] == 0
    assert answers.shape[1] == 4
    assert (answers[:, 3] == 0).all(), "without a router inputs enter at the first stage"


def test_the_selftest_notices_other_centres(early_of: Any, tmp_path: Path) -> None:
    memory, exits = Memory(centres=Centres("probability")), ExitThresholds(centres=0.5)
    parts = early_of(["centred"], (), exits, memory)
    plan = Plan.load(str(write_bundle(parts, tmp_path / "plan.pyz")))
    assert plan.selftest() == []
    assert plan.memory is not None
    for found in plan.memory._arrays:
        found.centres[:] = np.roll(found.centres, 1, axis=0)
    assert any("(answer, stage, tap, entry)" in problem for problem in plan.selftest())


def test_a_plan_that_only_remembers(early_of: Any, tmp_path: Path) -> None:
    """Thumbnails before a plan without any tap."""
    exits, memory = ExitThresholds(thumbnails=6.0), Memory(thumbnails=2)
    parts = early_of(["+tiny", "+bytes"], (0.6,), exits, memory)
    plan = Plan.load(str(write_bundle(parts, tmp_path / "plan.pyz")))
    answers = [plan.classify(image) for image in stream_images(60, seed=2)]
    assert {a.by for a in answers} == {"network", "thumbnails"}
    assert plan.info()["exits"]["thresholds"] == {"thumbnails": 6.0}
    assert plan.selftest() == []


def test_static_heads_have_nothing_to_learn(early_of: Any, tmp_path: Path) -> None:
    parts = early_of(["tiny"], (), HEADS, NO_MEMORY)
    plan = Plan.load(str(write_bundle(parts, tmp_path / "plan.pyz")))
    images = stream_images(50, seed=2)
    forwards = [plan.classify(image) for image in images]
    backwards = [plan.classify(image) for image in images[::-1]][::-1]
    assert {a.by for a in forwards} == {"network", "heads"}
    assert [(a.index, a.by) for a in forwards] == [(a.index, a.by) for a in backwards]


def test_a_bundle_holds_segments_and_no_whole(early: Path, cuts: Mapping[str, CutModel]) -> None:
    with zipfile.ZipFile(early) as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read(MANIFEST_NAME))
    assert manifest["protocol"] == 3
    for cut in (cuts["tiny"], cuts["small"]):
        assert f"models/{cut.variant.file_name}" not in names
        assert {f"models/{sha}.onnx" for sha in cut.exits.segments} <= names
        assert f"arrays/{cut.exits.arrays}.npz" in names
    assert {v["name"] for v in manifest["variants"]} == {"width 3", "width 8"}


def test_equal_parts_are_equal_files(early_of: Any, tmp_path: Path) -> None:
    one, other = (write_bundle(early_of(), tmp_path / name) for name in ("a.pyz", "b.pyz"))
    assert one.read_bytes() == other.read_bytes()


def test_parts_that_are_missing(early_of: Any, tmp_path: Path) -> None:
    parts = early_of()
    for what, sha in [
        ("segment", parts.definition.structure.stages[0].exits.segments[0]),
        ("arrays", parts.definition.structure.stages[1].exits.arrays),
    ]:
        files = {name: path for name, path in parts.files.items() if name != sha}
        with pytest.raises(PlanningError, match=f"names {what} {sha[:12]}, and no such file"):
            write_bundle(dataclasses.replace(parts, files=files), tmp_path / "a.pyz")


def test_a_point_that_no_exit_belongs_to(early_of: Any) -> None:
    with pytest.raises(ValueError, match=r"exits.centres has a threshold, but only heads may"):
        early_of(["tiny"], (), ExitThresholds(centres=1.0), NO_MEMORY)


def test_the_operating_point_is_found_by_its_exits(early_of: Any, tmp_path: Path) -> None:
    points = [OperatingPoint((), {}, ExitThresholds(heads=level)) for level in (0.8, 0.93, 0.99)]
    parts = early_of(["tiny"], (), HEADS, NO_MEMORY, points=points)
    plan = Plan.load(str(write_bundle(parts, tmp_path / "plan.pyz")))
    assert plan.manifest.point == 1
    with pytest.raises(PlanningError, match="own operating point is not among"):
        write_bundle(dataclasses.replace(parts, points=points[:1]), tmp_path / "b.pyz")


def test_a_network_of_another_width_is_named(early: Path) -> None:
    """Labels say how many classes there are; a network that disagrees is told from a crash."""
    plan = Plan.load(str(early))
    assert plan.memory is not None
    plan.use(point=2)
    plan.memory.classes = 7
    with pytest.raises(InferenceError, match="tells 4 classes apart, the plan 7"):
        plan.classify(stream_images(1)[0])


def test_info_tells_taps_and_memory(early: Path) -> None:
    found = Plan.load(str(early)).info()
    assert found["stages"][0]["taps"] == [{"name": "relu2", "kinds": ["heads"]}]
    assert [tap["name"] for tap in found["stages"][1]["taps"]] == ["relu1", "relu2"]
    assert found["exits"]["thresholds"]["heads"] == 0.93
    memory = found["exits"]["memory"]
    assert (memory["thumbnails"], memory["instances"]) == (3, 6)
    assert memory["centres"]["window"] == 10
    assert memory["prior"]["decay"] == Prior().decay
    assert json.dumps(found)


FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_protocol_1_still_runs(photos: Sequence[Path]) -> None:
    """fixtures/protocol_1.pyz was written by the last commit before plans could stop early (how:
    fixtures/make_bundle.py)."""
    plan = Plan.load(str(FIXTURES / "protocol_1.pyz"))
    assert plan.manifest.protocol == 1
    assert plan.memory is None
    assert plan.selftest() == []
    answers = [plan.classify(str(photo)) for photo in photos]
    assert {a.stage for a in answers} == {0, 1}
    assert {(a.by, a.tap, a.entry) for a in answers} == {("network", None, 0)}


def test_protocol_2_still_runs(frames: Sequence[Path]) -> None:
    """fixtures/protocol_2.pyz, which stops early, was written by the last commit before there
    were routers."""
    plan = Plan.load(str(FIXTURES / "protocol_2.pyz"))
    assert plan.manifest.protocol == 2
    assert plan.memory is not None
    assert plan.selftest() == []
    answers = [plan.classify(str(frame)) for frame in frames]
    assert {a.by for a in answers} >= {"thumbnails", "instances", "network"}
    assert {a.entry for a in answers} == {0}


def test_arrays_that_do_not_fit(early_of: Any, tmp_path: Path) -> None:
    parts = early_of(["small"], ())
    sha = parts.definition.structure.stages[0].exits.arrays
    with np.load(parts.files[sha], allow_pickle=False) as archive:
        whole = {name: archive[name] for name in archive.files}
    edits: list[tuple[dict[str, Any], str]] = [
        ({"mean_1": None}, "cannot be read"),
        ({"scale_0": np.ones(3, np.float32)}, "scale_0 must be numbers"),
        ({"centres_0": whole["centres_0"][:3]}, "centres_0 must be numbers"),
        ({"mean_0": whole["mean_0"] * np.nan}, "mean_0 holds NaN"),
        ({"temperature_1": np.array([1, 0], np.float32)}, "temperature_1 > 0 must hold"),
        ({"temperature_1": np.array(["a", "b"])}, "temperature_1 must be numbers"),
        ({"mean_0": np.array([None])}, "cannot be read"),
    ]
    for edit, message in edits:
        path = tmp_path / "arrays.npz"
        np.savez(path, **{k: v for k, v in {**whole, **edit}.items() if v is not None})
        with pytest.raises(BundleError, match=message):
            write_bundle(
                dataclasses.replace(parts, files={**parts.files, sha: path}), tmp_path / "a.pyz"
            )
