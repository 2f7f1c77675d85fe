"""The gate for CI: a rebuilt plan against what was shipped, on a device with made-up times."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from sample_models import INPUT, write_onnx, write_photos
from sample_routers import sha256_of, write_margin_scorer

from trimtab.db import Store
from trimtab.planner.bundles.archive import BundleParts, write_bundle
from trimtab.planner.gate.documents import junit_xml, markdown
from trimtab.planner.gate.gate import check
from trimtab.planner.gate.turns import SITTINGS
from trimtab.planner.specification.job import load_spec
from trimtab.variants import inspect_model, make_variant
from trimtab_runtime.definitions.plan import (
    OperatingPoint,
    PlanDefinition,
    RuntimeOptions,
    Stage,
    Structure,
)
from trimtab_runtime.definitions.routers import Scorer
from trimtab_runtime.errors import PlanningError, SpecificationError

WORKFLOW = Path(__file__).parents[3] / "docs" / "github" / "trimtab-check.yml"
NAMES = [f"class{label}" for label in range(4)]


def write_job(folder, width, name="net", **changes):
    """A specification of one model of this width, beside photographs that are there already."""
    write_onnx(folder / f"{name}.onnx", width)
    spec = {
        "name": "textures",
        "models": [{"path": f"{name}.onnx", "input": INPUT}],
        "workload": {"images": "photos", "splits": {"fit": 20, "tune": 20, "test": 80}},
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        **changes,
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    return load_spec(folder / "job.yaml")


def bundle_of(folder, labels=tuple(NAMES), scored=False):
    """A bundle of the one model of a folder, as it came; `scored`: followed by itself, where a
    learned score says so."""
    path, scorer = folder / "net.onnx", folder / "scorer.onnx"
    variant = make_variant(path, inspect_model(path), INPUT, {}, "net")
    stage = last = Stage(variant.sha256, RuntimeOptions("onnxruntime"))
    if scored:
        write_margin_scorer(scorer, len(labels))
        stage = replace(stage, scorer=Scorer(sha256_of(scorer)))
    stages = (stage, last) if scored else (stage,)
    thresholds = (0.5,) * (len(stages) - 1)
    parts = BundleParts(
        name="net 1t",
        definition=PlanDefinition(
            Structure("cascade" if scored else "single", stages), thresholds
        ),
        points=[OperatingPoint(thresholds)],
        variants={variant.sha256: variant},
        models={variant.sha256: path},
        labels=labels,
        images=sorted((folder / "photos").rglob("*.png"))[:4],
        fingerprint={"machine": "test", "onnxruntime": "1"},
        files={sha256_of(scorer): scorer} if scored else {},
    )
    return write_bundle(parts, folder / "shipped" / "plan.pyz")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A folder with photographs, a model and its bundle."""
    folder = tmp_path_factory.mktemp("shipped")
    write_photos(folder / "photos", 120, seed=7)
    write_job(folder, 8)
    bundle_of(folder)
    return folder


@pytest.fixture
def folder(shipped, tmp_path):
    """A copy of it, to change."""
    return shutil.copytree(shipped, tmp_path / "repository")


def verdicts(report):
    return {found.name: found.verdict for found in report.findings}


def test_the_same_models_pass(folder, machine):
    spec = write_job(folder, 8)
    report = check(spec, str(folder / "shipped" / "plan.pyz"), device=machine)
    assert report.passed
    assert report.rebuilt == ()
    assert set(verdicts(report)) == {"accuracy", "latency", "memory", "size"}
    accuracy, latency, *_ = report.findings
    assert accuracy.details["newly_wrong"] == accuracy.details["newly_right"] == 0
    assert latency.details["ratio"] == pytest.approx(1.0)
    assert any("was made with 1" in note for note in report.notes)
    cases = ElementTree.fromstring(junit_xml(report)).findall(".//testcase")
    assert [case.get("name") for case in cases] == [found.name for found in report.findings]
    assert not [case for case in cases if case.find("failure") is not None]


def test_a_larger_model_is_slower_and_a_smaller_one_less_accurate(folder, machine):
    against = str(folder / "shipped" / "plan.pyz")
    larger = check(write_job(folder, 200), against, device=machine)
    own = verdicts(larger)  # of memory the device decides
    assert (own["accuracy"], own["latency"], own["size"]) == ("ok", "worse", "worse")
    assert larger.rebuilt == ("net",)
    smaller = check(write_job(folder, 2), against, device=machine)
    assert verdicts(smaller)["accuracy"] == "worse"
    assert verdicts(smaller)["latency"] == "ok"
    assert not smaller.passed and "accuracy" in smaller.sentence
    failed = ElementTree.fromstring(junit_xml(smaller)).findall(".//failure")
    assert ["accuracy" in failure.get("message") for failure in failed] == [True]
    assert "| accuracy |" in markdown(smaller) and "**worse**" in markdown(smaller)


def test_what_does_not_fit_is_said(folder, machine, tmp_path):
    against = str(folder / "shipped" / "plan.pyz")
    with pytest.raises(SpecificationError, match=r"'net', which cannot be made anew.*\(other\)"):
        check(write_job(folder, 8, "other"), against, device=machine)
    spec = write_job(folder, 8)
    with pytest.raises(SpecificationError, match=r"'nosuch' is no file, and there is no store"):
        check(spec, "nosuch", device=machine)
    with (
        Store.open(tmp_path / "store" / "trimtab.db") as store,
        pytest.raises(SpecificationError, match=r"is no file, no plan .*, and no job"),
    ):
        check(spec, "nosuch", store, device=machine)
    other = bundle_of(folder, ["north", "north-east", "east", "south-east"])
    with pytest.raises(SpecificationError, match="other classes"):
        check(spec, str(other), device=machine)


def test_what_was_fitted_to_a_model_that_changed_is_not_made_anew(folder, machine):
    bundle = str(bundle_of(folder, scored=True))
    assert check(write_job(folder, 8), bundle, device=machine).passed, "nothing has changed"
    told = r"a learned confidence, fitted to models that have changed \(net\)"
    with pytest.raises(PlanningError, match=told):
        check(write_job(folder, 9), bundle, device=machine)


def test_without_labels_accuracy_is_unknown_and_changes_are_counted(folder, machine):
    flat = folder / "flat"
    flat.mkdir()
    for path in (folder / "photos").rglob("*.png"):
        path.rename(flat / f"{path.parent.name}-{path.name}")
    spec = write_job(folder, 8, workload={"images": "flat", "splits": {
        "fit": 20, "tune": 20, "test": 80}}, reference="net")  # fmt: skip
    bundle = bundle_with_numbers(folder, flat)
    report = check(spec, str(bundle), device=machine)
    assert verdicts(report)["accuracy"] == "unknown"
    assert "0 of 80 answers changed" in report.findings[0].change
    assert len(ElementTree.fromstring(junit_xml(report)).findall(".//skipped")) == 1


def bundle_with_numbers(folder, photos):
    (folder / "photos").rmdir() if not any((folder / "photos").iterdir()) else None
    shutil.copytree(photos, folder / "photos", dirs_exist_ok=True)
    return bundle_of(folder, ["0", "1", "2", "3"])


def test_what_was_shipped_may_run_by_another_interpreter(folder):
    """Its own packages are those of an interpreter that is named; here it tells that it ran."""
    other = folder / "python"
    other.write_text(f'#!/bin/sh\necho "$@" >> {folder}/ran\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    spec = write_job(folder, 8)
    report = check(spec, str(folder / "shipped" / "plan.pyz"), shipped_python=str(other))
    ran = (folder / "ran").read_text(encoding="utf-8").splitlines()
    assert len([line for line in ran if "trimtab_runtime.probe.resident" in line]) >= SITTINGS
    assert [line for line in ran if "request.json" in line], "its answers are its own too"
    assert report.findings[0].details["newly_wrong"] == 0
    with pytest.raises(SpecificationError, match="on this machine only"):
        away = write_job(folder, 8, device="recorded:nothing")
        check(away, "plan.pyz", shipped_python=str(other))


@pytest.mark.slow
def test_the_workflow_runs_as_a_shell_runs_it(folder, machine, recording):
    """Its own commands, on a recorded device; `gh` and the installation are left out."""
    address = f"recorded:{recording}"
    for width, status in ((8, 0), (2, 1)):
        spec = write_job(folder, width, device=address)
        check(spec, str(folder / "shipped" / "plan.pyz"), device=machine)  # is recorded
        steps = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["check"]["steps"]
        commands = {step["name"]: step["run"] for step in steps if "run" in step}
        assert set(commands) == {"Install", "Check", "Summary", "Comment"}
        for name, expected in (("Check", status), ("Summary", 0)):
            done = shell(folder, commands[name])
            assert done.returncode == expected, done.stderr
        told = (folder / "summary.md").read_text(encoding="utf-8")
        assert ("passed" if status == 0 else "failed") in told.splitlines()[0]
        suite = ElementTree.parse(folder / "trimtab.xml").find("testsuite")
        assert (int(suite.get("failures")) > 0) == (status == 1)
        assert not (folder / "trimtab-store").exists(), "a check makes no store"
        (folder / "summary.md").unlink()


def shell(folder, command):
    """As GitHub's runner does without `shell`: bash -e."""
    script = folder / "step.sh"
    script.write_text(command, encoding="utf-8")
    place = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRIMTAB_")}
    return subprocess.run(
        ["bash", "-e", str(script)],
        cwd=folder,
        env={**environment, "PATH": place, "GITHUB_STEP_SUMMARY": str(folder / "summary.md")},
        capture_output=True,
        text=True,
    )
