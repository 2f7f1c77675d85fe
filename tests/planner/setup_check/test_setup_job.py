"""A job whose members are set up wrongly stops before it measures, or says so on every view; what
is verified answers as replayed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from digit_models import INPUT, NAMES, write_digit_net, write_digits
from PIL import Image
from sample_devices import Wrapped

import trimtab
from trimtab.db import JobRecord, Store
from trimtab.planner.cli import main
from trimtab.planner.reports.front import front_view
from trimtab.planner.reports.notes import front_notes
from trimtab.planner.reports.plan.report import report_plan
from trimtab.planner.specification.job import load_spec
from trimtab.profilers import Device, ProbeResult
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.probe.requests import MeasureSettings, PairedRequest, VerifyRequest

pytestmark = pytest.mark.slow
QUICK = MeasureSettings(seconds=0.1, max_seconds=5, min_rounds=8, warmup_seconds=0.02)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    write_digits(folder / "photos", 200)
    write_digit_net(folder / "digits.onnx")
    write_digit_net(folder / "constant.onnx", constant=3)
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    with Store.open(tmp_path / "store" / "trimtab.db") as opened:
        yield opened


def job(zoo: Path, colour: str = "rgb", model: str = "digits", **changes: Any) -> dict[str, Any]:
    return {
        "name": "digits",
        "models": [{"path": str(zoo / f"{model}.onnx"), "input": {**INPUT, "colour": colour}}],
        "workload": {"images": str(zoo / "photos"), "classes": list(NAMES)},
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 2},
        "verify": 1,
        **changes,
    }


class Straying(Wrapped):
    """Changes what a bundle answered: so many answers, or whether it says the same twice."""

    def __init__(self, device: Device, answers: int = 0, repeated: float = 0.0) -> None:
        super().__init__(device)
        self._answers, self._repeated = answers, repeated

    def probe(self, request: Any, **how: Any) -> ProbeResult:
        found = super().probe(request, **how)
        if not isinstance(request, VerifyRequest):
            return found
        index = np.array(found.arrays["index"])
        index[: self._answers] = (index[: self._answers] + 1) % 10
        values = {**found.values, "repeat_mismatch": self._repeated}
        arrays = {**found.arrays, "index": index}
        return dataclasses.replace(found, arrays=arrays, values=values)


def test_a_wrong_set_up_stops_before_anything_is_measured(
    zoo: Path, store: Store, machine: Device
) -> None:
    wrong = job(zoo, "bgr")
    for _ in range(2):  # the second time what was found lies in the store
        with pytest.raises(
            PlanningError, match=r"RGB instead of BGR[\s\S]*beyond doubt[\s\S]*--force"
        ):
            trimtab.plan(wrong, store, settings=QUICK, device=machine)
    (record,) = store.list_jobs()
    assert record.state == "failed"
    assert store.list_candidates(record.id) == []
    assert sum(v.format == "setup check" for v in store.list_variants()) == 1


def test_forced_it_goes_on_and_says_so(zoo: Path, store: Store, machine: Device) -> None:
    record = trimtab.plan(job(zoo, "bgr"), store, settings=QUICK, device=machine, setup="forced")
    view = front_view(store, record)
    assert view.setup[0] == "The job went on with a set-up in doubt, because --force was given."
    assert "RGB instead of BGR" in view.setup[1]
    assert sum("in doubt" in line for line in front_notes(view, 1)) >= 2
    (entry, *_) = store.list_plans(record.id)
    assert report_plan(store, entry.plan).setup == view.setup
    assert any("RGB instead of BGR" in note.text for note in store.list_events(record.id))
    # What was begun so goes on so.
    again = trimtab.plan(job(zoo, "bgr"), store, settings=QUICK, device=machine)
    assert again.state == "done"
    assert again.summary["setup"]["forced"]


@pytest.fixture(scope="module")
def done(
    zoo: Path, machine: Device, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, JobRecord]]:
    """A job whose set-up is right, and its store."""
    with Store.open(tmp_path_factory.mktemp("done") / "trimtab.db") as opened:
        yield opened, trimtab.plan(job(zoo), opened, settings=QUICK, device=machine)


def test_a_right_set_up_is_not_mentioned(done: tuple[Store, JobRecord]) -> None:
    store, record = done
    assert record.summary["setup"] == {"findings": [], "forced": False}
    assert front_view(store, record).setup == ()


def test_members_that_know_nothing_stop_a_job(zoo: Path, store: Store, machine: Device) -> None:
    with pytest.raises(PlanningError, match="near chance: it always answers 'three'"):
        trimtab.plan(job(zoo, model="constant"), store, settings=QUICK, device=machine)


def test_one_of_several_members_that_knows_nothing_is_named(
    zoo: Path, store: Store, machine: Device
) -> None:
    both = job(zoo)["models"] + job(zoo, model="constant")["models"]
    record = trimtab.plan(job(zoo, models=both), store, settings=QUICK, device=machine)
    (told,) = record.summary["setup"]["findings"]
    assert told.startswith("constant: answers near chance")


def test_a_job_that_measured_before_there_was_a_check_goes_on(
    zoo: Path, store: Store, machine: Device
) -> None:
    record = trimtab.plan(job(zoo, "bgr"), store, settings=QUICK, device=machine, setup="forced")
    older = {name: told for name, told in record.summary.items() if name != "setup"}
    store.update_job(record.id, summary=older)
    again = trimtab.plan(job(zoo, "bgr"), store, settings=QUICK, device=machine)
    assert again.state == "done"
    assert "setup" not in again.summary


def test_answers_that_differ_from_the_replay_fail_a_plan(
    zoo: Path, store: Store, machine: Device
) -> None:
    device = Straying(machine, answers=2)
    record = trimtab.plan(job(zoo), store, settings=QUICK, device=device, setup="ignored")
    found = store.list_verifications(record.id)
    assert found and all(v.state == "failed" for v in found)
    assert all("differ from the replay" in (v.reason or "") for v in found)
    assert record.summary["chosen"] is None


def test_the_limit_is_the_specifications(zoo: Path, store: Store, machine: Device) -> None:
    device, loose = Straying(machine, answers=2), job(zoo, verify_mismatch=0.1)
    record = trimtab.plan(loose, store, settings=QUICK, device=device, setup="ignored")
    assert record.summary["chosen"] is not None
    # What was verified under another limit is held against that of today.
    kept = store.list_verifications(record.id)
    assert {v.state for v in kept} == {"ok"}


class StrayingInTurns(Wrapped):
    """Changes what the last bundle answered in turns: always, or the second time alone."""

    def __init__(self, device: Device, always: bool) -> None:
        super().__init__(device)
        self._always = always

    def probe(self, request: Any, **how: Any) -> ProbeResult:
        found = super().probe(request, **how)
        if not isinstance(request, PairedRequest):
            return found
        arrays = {name: np.array(told) for name, told in found.arrays.items()}
        answers = [name for name, told in arrays.items() if len(told) == len(arrays["round"])]
        if not self._always:  # the first round is answered once more
            again = np.flatnonzero(arrays["round"] == 0)
            arrays |= {n: np.concatenate([arrays[n], arrays[n][again]]) for n in answers}
        last = np.flatnonzero(arrays["bundle"] == len(request.bundles) - 1)[-1]
        arrays["index"][last] = (arrays["index"][last] + 1) % 10
        return dataclasses.replace(found, arrays=arrays)


@pytest.mark.parametrize(
    ("always", "limit", "reason"),
    [
        (True, 0.001, "of its answers in turns differ from the replay"),
        (False, 0.1, "of its answers in turns differ when the same images run again"),
    ],
)
def test_the_same_holds_of_bundles_in_turns(
    zoo: Path, store: Store, machine: Device, always: bool, limit: float, reason: str
) -> None:
    asked = job(zoo, verify_mismatch=limit)
    record = trimtab.plan(asked, store, settings=QUICK, device=StrayingInTurns(machine, always))
    failed = [v.reason or "" for v in store.list_verifications(record.id) if v.state == "failed"]
    assert failed and all(reason in told for told in failed)
    chosen = record.summary["chosen"]
    known = {v.plan_key: v.state for v in store.list_verifications(record.id)}
    assert chosen is None or known[chosen] == "ok"


def test_a_bundle_that_does_not_repeat_itself_fails(
    zoo: Path, store: Store, machine: Device
) -> None:
    device = Straying(machine, 0, 0.25)
    record = trimtab.plan(job(zoo), store, settings=QUICK, device=device, setup="ignored")
    (found, *_) = store.list_verifications(record.id)
    assert found.state == "failed"
    assert "25.00% of its answers differ when the same images run again" in (found.reason or "")


def test_bundles_repeat_themselves(done: tuple[Store, JobRecord]) -> None:
    store, record = done
    assert {v.values["repeat_mismatch"] for v in store.list_verifications(record.id)} == {0.0}


def test_what_a_variant_lost_is_told(done: tuple[Store, JobRecord]) -> None:
    store, record = done
    ((name, told),) = record.summary["losses"].items()
    assert told.startswith("against digits: ")
    view = front_view(store, record)
    assert f"{name} {told}." in front_notes(view, 1)
    predicted = {
        row.variants[0]: row.figure("latency_mean_ms").predicted
        for row in view.rows
        if len(row.variants) == 1
    }
    ratio = predicted["digits"] / predicted[name]
    assert told.endswith(f" top1 points, predicted {ratio:.2f}x as fast"), "as in the rows"


def test_jobs_of_before_keep_their_specification(zoo: Path) -> None:
    assert "verify_mismatch" not in load_spec(job(zoo)).model_dump(mode="json")
    loose = load_spec(job(zoo, verify_mismatch=0.02))
    assert loose.model_dump(mode="json")["verify_mismatch"] == 0.02


def test_check_setup_on_the_command_line(
    zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job(zoo, "bgr")))
    assert main(["check-setup", str(path)]) == 1
    out, err = capsys.readouterr()
    assert "as specified: mean 0, std 255, bgr" in out
    assert "colour: RGB instead of BGR" in out
    assert "Say input.colour: rgb" in err
    path.write_text(yaml.safe_dump(job(zoo)))
    assert main(["check-setup", str(path), "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["stops"] is False
    assert told["members"][0]["right"] > 0.8 * told["members"][0]["images"]


def test_init_proposes_the_geometry_that_answers_best(tmp_path: Path) -> None:
    """Photographs three times as wide as what the network was trained on."""
    for file in write_digits(tmp_path / "photos", 150, [f"c{number}" for number in range(10)]):
        square = np.asarray(Image.open(file).convert("RGB"))
        side = square.shape[1]
        wide = np.pad(square, ((0, 0), (side, side), (0, 0)), "reflect")
        Image.fromarray(wide).save(file)
    write_digit_net(tmp_path / "net.onnx")
    assert main(["init", str(tmp_path), "-o", str(tmp_path / "job.yaml")]) == 0
    text = (tmp_path / "job.yaml").read_text()
    assert "      fit: crop  # tried: " in text
    assert "geometry: crop" in text
    assert load_spec(tmp_path / "job.yaml").models[0].input.fit == "crop"


def test_init_proposes_what_answers_best(tmp_path: Path) -> None:
    names = [f"batch_{number}" for number in range(1, 11)]
    for number, photo in enumerate(write_digits(tmp_path / "photos", 200, names)):
        Image.fromarray(np.asarray(Image.open(photo))[:, :, ::-1]).save(photo)
        if number % 20 == 0:  # damaged ones keep nothing from being tried
            photo.write_bytes(photo.read_bytes()[:60])
    write_digit_net(tmp_path / "net.onnx")
    assert main(["init", str(tmp_path), "-o", str(tmp_path / "job.yaml")]) == 0
    spec = load_spec(tmp_path / "job.yaml")
    assert spec.models[0].input.colour == "bgr"
    # Folders are listed by their names; the network counts as people do.
    assert spec.workload.classes == tuple(names)
    text = (tmp_path / "job.yaml").read_text()
    assert "labelled images answered rightly so" in text
    assert "images that models were to be tried on: " in text
