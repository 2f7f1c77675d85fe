"""What every technique keeps. A new one joins by its entry in the registry, and by a line in
ASKED with the fields of a specification that ask for it alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killing import SETTINGS
from sample_models import INPUT, write_onnx, write_photos

import trimtab
from trimtab.db import Store
from trimtab.planner.pipeline.planning import PlanningStage
from trimtab.planner.pipeline.single_device import SingleDeviceJob, opened_run
from trimtab.planner.selection.selector import Screening
from trimtab.planner.specification.sections import TechniqueSpec
from trimtab.planner.techniques import TECHNIQUES
from trimtab.planner.techniques.base import BuiltDesign
from trimtab.planner.techniques.exit_points.taps import TapPreparation
from trimtab.profilers import Device
from trimtab_runtime.codec import decode, encode
from trimtab_runtime.definitions.plan import PlanDefinition

ASKED: dict[str, dict[str, Any]] = {
    "slim": {"slimming": ["streamline"]},
    "exits": {"exits": True},
    "routing": {"premodel": True},
}
GENERATORS = [name for name, technique in TECHNIQUES.items() if technique.plans]


def test_each_makes_something_and_is_asked_for_by_name() -> None:
    assert ASKED.keys() == TECHNIQUES.keys()
    for name, technique in TECHNIQUES.items():
        assert technique.variants or technique.plans
        wanted = {other for other, asked in ASKED.items() if technique.wanted(_spec(asked))}
        assert wanted == {name}
        assert not technique.wanted(_spec({}))


def _spec(asked: dict[str, Any]) -> TechniqueSpec:
    return TechniqueSpec.model_validate({"quantisation": [], **asked})


@pytest.fixture(scope="module")
def screened(
    tmp_path_factory: pytest.TempPathFactory, machine: Device
) -> Iterator[tuple[SingleDeviceJob, PlanningStage, Screening]]:
    """A job that measured two networks, and what its screening said."""
    home = tmp_path_factory.mktemp("techniques")
    for name, width in (("small", 4), ("large", 128)):
        write_onnx(home / f"{name}.onnx", width=width)
    write_photos(home / "photos", 150)
    spec = trimtab.load_spec(
        {
            "name": "techniques",
            "models": [
                {"path": str(home / f"{name}.onnx"), "input": INPUT} for name in ("small", "large")
            ],
            "workload": {
                "images": str(home / "photos"),
                "splits": {"fit": 60, "tune": 50, "test": 40},
            },
            "objectives": {"top1": "max", "latency_mean_ms": "min"},
            "constraints": ["top1 >= baseline - 0.1"],
            "techniques": {"quantisation": [], "exits": True, "memory": True, "premodel": True},
            "runtime": {"threads": [1]},
            "budget": {"measurements": 2},
        }
    )
    with (
        Store.open(home / "trimtab.db") as store,
        opened_run(spec, store, settings=SETTINGS, device=machine) as run,
    ):
        stage = PlanningStage(run.evaluator, run.measure(run.members()))
        yield run, stage, stage.selector.screen(4)


@pytest.mark.parametrize("name", GENERATORS)
def test_its_plans_are_what_they_say(
    screened: tuple[SingleDeviceJob, PlanningStage, Screening], name: str
) -> None:
    run, stage, screening = screened
    make = TECHNIQUES[name].plans
    assert make is not None
    taps = TapPreparation(run.evaluator, screening.data, screening.problem)
    generator = make(run.evaluator, screening, taps)
    designs: list[BuiltDesign] = generator.designs()
    assert designs and all(design.text for design in designs)
    run.job.remember(**generator.summary())
    summary = encode(generator.summary())
    assert summary == {name: run.job.record.summary[name] for name in summary}
    measured = []
    for design in designs:
        visit = run.evaluator.measurements.measurement(
            design.parts, 1, design.structure.memory, design.structure.router
        )
        measured.append((design, generator.costs(design, [visit])))
    plans = generator.plans(measured)
    assert plans
    structures = {design.structure for design in designs}
    data = stage.selector.data
    for plan in plans:
        definition = plan.definition
        assert definition.structure in structures
        assert decode(PlanDefinition, encode(definition)) == definition
        assert set(data.quality) <= plan.replayed.keys() & plan.guarded.keys()
        assert plan.costs["latency_mean_ms"] > 0
        found = plan.design.replay(plan.thresholds, data.rows.tune)
        right = found.answer == data.taught_by[data.rows.tune]
        assert right.mean() == pytest.approx(plan.replayed["top1"])
        shares = plan.design.part_shares(plan.reach)
        assert plan.design.replayed_shares(found) == pytest.approx(shares)
        times = plan.design.costs.stage_times(plan.reach, shares)
        assert len(times) == len(plan.options)
        assert np.isfinite(times).all()
        assert plan.design.label(["s"] * len(plan.options), plan.reach, plan.thresholds)
    assert generator.plans([]) == []


def test_the_folder_of_each_is_a_package() -> None:
    import trimtab.planner.techniques as techniques

    folder = Path(str(techniques.__file__)).parent
    for technique in TECHNIQUES.values():
        maker = technique.variants or technique.plans
        assert maker is not None
        package = maker.__module__.removeprefix("trimtab.planner.techniques.").split(".")[0]
        assert (folder / package / "__init__.py").is_file()
