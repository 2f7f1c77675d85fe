"""The command line over one small real job: run, read, plotted, exported."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image
from sample_models import INPUT, write_onnx, write_photos
from sample_tflite import write_tflite

import trimtab
from trimtab.db import Store, utc_now
from trimtab.planner.cli import main
from trimtab.planner.jobs.store_location import DEFAULT_STORE, StoreLocation
from trimtab.planner.reports.comparison import verdict
from trimtab.planner.reports.front import front_view

_CALL = [
    sys.executable,
    "-c",
    "import sys; from trimtab.planner.cli import main; sys.exit(main())",
]
_SPEC = {
    "name": "textures",
    "models": [
        {"path": "zoo/small.onnx", "input": INPUT},
        {"path": "zoo/large.onnx", "input": INPUT},
        {"path": "zoo/lite.tflite", "input": INPUT},
    ],
    "workload": {"images": "photos", "splits": {"fit": 12, "tune": 14, "test": 14}},
    "objectives": {"top1": "max", "latency_mean_ms": "min", "peak_memory_mb": "min"},
    "constraints": ["peak_memory_mb <= 10000", "top1 >= 0.5 * baseline"],
    "runtime": {"threads": [1]},
    "budget": {"measurements": 3},
    "together": 3,
    "verify": 1,
}


def write_zoo(folder):
    """Models in zoo/, 40 photographs in photos/, a folder for each of four classes."""
    (folder / "zoo").mkdir(parents=True)
    write_onnx(folder / "zoo" / "small.onnx", width=2)
    write_onnx(folder / "zoo" / "large.onnx", width=24)
    write_tflite(folder / "zoo" / "lite.tflite", width=8)
    write_photos(folder / "photos", 40, seed=7, names=[f"grating {label}" for label in range(4)])


def write_spec(path, **changes):
    path.write_text(yaml.safe_dump({**_SPEC, **changes}), encoding="utf-8")
    return path


def call(folder, *arguments):
    """Run the command in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRIMTAB_")}
    return subprocess.run(
        [*_CALL, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def planned(tmp_path_factory, machine, recording):
    """A folder with a finished job, and what `trimtab plan` said. Its device is a recording, so
    that the figures are the same however busy this machine is."""
    folder = tmp_path_factory.mktemp("planned")
    write_zoo(folder)
    write_spec(folder / "job.yaml", device=f"recorded:{recording}")
    with Store.open(folder / "recorded" / "trimtab.db") as store:
        trimtab.plan(folder / "job.yaml", store, device=machine, setup="ignored")
    done = call(folder, "plan", "job.yaml")
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture
def run(planned, monkeypatch, capsys):
    """Run a command on the job's store: (exit status, output, errors)."""
    monkeypatch.chdir(planned[0])
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("TRIMTAB_STORE", raising=False)

    def command(*arguments):
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


@pytest.fixture
def chosen(run):
    return json.loads(run("front", "--format", "json")[1])["chosen"]


def test_plan_reports_progress_in_lines_and_what_to_do_next(planned):
    _, done = planned
    progress = done.stderr.splitlines()
    assert "reading models small (1/3)" in progress
    assert any(line.startswith("measuring large 1t (") for line in progress)
    assert "tracing lite (40 images)" in progress
    assert any(line.startswith("verifying ") for line in progress)
    assert "\x1b" not in done.stderr + done.stdout
    assert "looking at images: 40 (40 in all)" in progress
    assert "Ship " in done.stdout or "Nothing beat " in done.stdout
    assert f"Store: {planned[0] / 'trimtab-store' / 'trimtab.db'}" in done.stdout
    key = done.stdout.split("trimtab export ")[1].split()[0]
    assert f"trimtab show {key}" in done.stdout


def test_planning_again_repeats_no_measurement(planned):
    folder, _ = planned
    with Store.open(folder / "trimtab-store" / "trimtab.db", read_only=True) as store:
        before = store.list_measurements()
    again = call(folder, "plan", "job.yaml")
    assert again.returncode == 0, again.stderr
    with Store.open(folder / "trimtab-store" / "trimtab.db", read_only=True) as store:
        assert store.list_measurements() == before


def test_jobs(run):
    status, text, _ = run("jobs")
    assert status == 0
    assert "textures" in text
    assert "done" in text
    told = json.loads(run("jobs", "--format", "json")[1])
    assert told[0]["name"] == "textures"
    assert told[0]["plans"] > 0


def test_front_shows_every_member_and_marks_what_is_not_verified(run):
    status, text, errors = run("front")
    assert (status, errors) == (0, "")
    members = ("Small (1 thread)", "Large (1 thread)", "Lite (1 thread)")
    for word in (*members, "baseline", "chosen", "~ predicted"):
        assert word in text
    assert "Test set used for " not in text
    told = run("front", "--verbose")[1]
    for word in (*members, "verified", "predicted", "Test set used for "):
        assert word in told


def test_front_on_a_narrow_screen_keeps_every_figure(run, monkeypatch, chosen):
    monkeypatch.setenv("COLUMNS", "80")
    _, text, _ = run("front")
    assert max(map(len, text.splitlines())) <= 80
    row = json.loads(run("front", "--format", "json")[1])
    figure = next(r for r in row["rows"] if r["key"] == chosen)["figures"]["top1"]
    assert f"({figure['low']:.2f}" in text


def test_no_word_is_split_at_80_columns(run, monkeypatch):
    """Below the line that names the device, which may be of any length."""
    monkeypatch.setenv("COLUMNS", "200")
    wide = run("front", "--why", "--explain")[1].splitlines()[1:]
    monkeypatch.setenv("COLUMNS", "80")
    narrow = run("front", "--why", "--explain")[1].split("stages", 1)[1]
    assert max(map(len, narrow.splitlines())) <= 80
    words = {word for line in wide for word in line.split()}
    assert set(narrow.split()) <= words


def test_rows_are_in_the_order_of_the_cost_that_is_shown(run):
    told = json.loads(run("front", "--format", "json")[1])
    costs = {}
    for row in told["rows"]:
        figure = row["figures"]["latency_mean_ms"]
        costs[row["key"][:8]] = figure["measured"] or figure["predicted"]
    text = run("front")[1]
    shown = [line.split()[0] for line in text.splitlines() if line[:8] in costs]
    assert sorted(shown) == sorted(costs)
    assert [costs[key] for key in shown] == sorted(costs.values())
    assert "sorted by latency mean, smallest first" in text


def test_why_another_plan_was_not_chosen(run, chosen):
    rows = json.loads(run("front", "--format", "json")[1])["rows"]
    text = " ".join(run("front", "--why")[1].split())
    for row in rows:
        named = f"{row['key'][:8]} {row['name']}? "
        assert (named in text) == (row["key"] != chosen)
    other = next(row["key"] for row in rows if row["key"] != chosen)
    assert "Why not this one? " in run("show", other)[1]
    assert "Why not" not in run("show", chosen)[1]
    assert "Ship " in run("show", chosen)[1]


def test_terms_are_explained_where_that_is_asked(run):
    assert "divided by that of the plan" not in run("front")[1]
    assert "divided by that of the plan" in " ".join(run("front", "--explain")[1].split())


def test_jobs_as_csv(run):
    (row,) = csv.DictReader(io.StringIO(run("jobs", "--format", "csv")[1]))
    assert (row["name"], row["state"]) == ("textures", "done")


def test_a_job_in_quiet_and_as_lines_of_json(planned, chosen):
    """It is done, and so says its end at once."""
    folder, _ = planned
    quiet = call(folder, "plan", "job.yaml", "--quiet")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert quiet.stdout.startswith(("Ship ", "Nothing beat "))
    lines = call(folder, "plan", "job.yaml", "--json").stdout.splitlines()
    told = [json.loads(line) for line in lines]
    assert {line["event"] for line in told} == {"step", "note", "result"}
    assert told[-1]["chosen"] == chosen
    assert told[-1]["store"] == str(folder / "trimtab-store" / "trimtab.db")
    steps = [line["step"] for line in told if line["event"] == "step"]
    assert steps[0] == "images" and "measure" in steps


def test_a_dry_run_measures_nothing_and_makes_no_store(run, tmp_path, monkeypatch):
    text = run("plan", "job.yaml", "--dry-run", "--budget", "7")[1]
    assert "Images: 40, of which calibration 12, validation 14, test 14." in text
    assert "7 minutes or 3 candidates at most" in text
    assert "The last job of this name" in text
    write_spec(tmp_path / "job.yaml")
    write_zoo(tmp_path)
    monkeypatch.chdir(tmp_path)
    status, text, _ = run("plan", "job.yaml", "--dry-run")
    assert status == 0
    assert "How long all of it takes is not known" in text
    assert "which will be created" in text
    assert not (tmp_path / "trimtab-store").exists()


def test_the_store_lies_beside_its_job_and_is_found_from_below(planned, monkeypatch, capsys):
    folder, _ = planned
    here = StoreLocation(DEFAULT_STORE, None)
    monkeypatch.chdir(folder / "photos")
    assert here.nearest().file == folder / "trimtab-store" / "trimtab.db"
    assert main(["jobs"]) == 0
    assert "textures" in capsys.readouterr().out
    assert here.beside(folder / "zoo" / "job.yaml").file == folder / "zoo" / DEFAULT_STORE
    assert here.beside(Path("job.yaml")) == here
    monkeypatch.chdir(folder)  # as an earlier version left it
    assert here.beside(folder / "zoo" / "job.yaml") == here
    given = StoreLocation("elsewhere.db", None)
    assert given.beside(folder / "zoo" / "job.yaml") == given.nearest() == given


def test_what_is_missing_is_wrong_use_and_makes_no_store(run, tmp_path):
    spec = write_spec(tmp_path / "job.yaml")
    status, _, errors = run("plan", spec)
    assert status == 2
    assert f"error: workload.images: {tmp_path / 'photos'} is missing" in errors
    assert f"error: models[0].path: {tmp_path / 'zoo' / 'small.onnx'} is missing" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]


def test_init_names_the_folder_that_is_missing(run):
    status, _, errors = run("init", "nosuch")
    assert (status, errors) == (2, "error: nosuch: there is no such folder\n")


def test_a_shell_completes_commands(tmp_path):
    environment = {
        **os.environ,
        "_TRIMTAB_COMPLETE": "complete_bash",
        "COMP_WORDS": "trimtab fr",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(_CALL, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["front"]
    shown = call(tmp_path, "--show-completion", "bash")
    assert "_TRIMTAB_COMPLETE=complete_bash" in shown.stdout


def test_front_as_json_has_estimates_test_values_and_intervals(run):
    front = json.loads(run("front", "textures", "--format", "json")[1])
    rows = {row["key"]: row for row in front["rows"]}
    best = rows[front["chosen"]]
    assert best["status"] == "verified"
    top1, latency = best["figures"]["top1"], best["figures"]["latency_mean_ms"]
    assert top1["low"] <= top1["test"] <= top1["high"]
    assert top1["decided"] <= top1["replayed"]
    assert latency["measured"] > 0
    assert latency["predicted"] > 0
    assert rows[front["baseline"]]["speedup"] == 1.0
    members = [row for row in rows.values() if {"member", "baseline"} & set(row["roles"])]
    assert len(members) == 3


def test_front_as_csv(run):
    rows = list(csv.DictReader(io.StringIO(run("front", "--format", "csv")[1])))
    assert {"key", "roles", "top1_tune_guarded", "top1_test_low", "speedup"} <= set(rows[0])
    assert any("baseline" in row["roles"] for row in rows)
    unverified = next(row for row in rows if row["status"] == "predicted")
    assert unverified["latency_mean_ms_test_measured"] == ""


def test_front_can_be_limited_or_shown_whole(run):
    def rows(*arguments):
        return json.loads(run("front", *arguments, "--format", "json")[1])["rows"]

    everything = rows("--all")
    told = {row["key"] for row in everything if row["roles"]}
    assert {row["key"] for row in rows()} == told
    few = rows("--limit", "1")
    assert all(set(row["roles"]) - {"front"} or row["status"] == "verified" for row in few)


def test_front_as_pictures(run, tmp_path):
    page, picture = tmp_path / "front.html", tmp_path / "deep" / "front.png"
    assert run("front", "--plot", page)[0] == 0
    text = page.read_text(encoding="utf-8")
    assert "chosen plan" in text
    assert "<script src=" not in text
    assert "<link" not in text
    assert run("front", "--all", "--plot", picture)[0] == 0
    assert picture.stat().st_size < 200_000
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert min(image.size) > 500


def test_show_explains_a_plan(run, chosen):
    status, text, _ = run("show", chosen[:8])
    assert status == 0
    for word in (
        chosen,
        "Stages",
        "inputs",
        "conservative estimate",
        "Verified",
        "Constraints",
        "Lineage",
    ):
        assert word in text
    assert "met: peak_memory_mb <= 10000" in text
    told = json.loads(run("show", chosen, "--format", "json")[1])
    assert told["verified"]["answer_mismatch"] == 0.0
    assert sum(stage["time_share"] for stage in told["stages"]) == pytest.approx(1.0)
    assert told["stages"][0]["reach"] == 1.0
    assert [rule["met"] for rule in told["constraints"]] == ["yes", "yes"]


def test_show_names_the_lineage_of_what_was_made(run, planned):
    with Store.open(planned[0] / "trimtab-store" / "trimtab.db", read_only=True) as store:
        plans = [entry.plan for entry in store.list_plans(store.list_jobs()[0].id)]
    for plan in plans:
        status, text, errors = run("show", plan.key)
        assert (status, errors) == (0, "")
        assert "original model" in text


def test_an_exported_plan_is_what_was_verified_and_passes_its_selftest(run, planned, chosen):
    folder, _ = planned
    status, text, _ = run("export", chosen[:10], "-o", "out dir/plan.pyz")
    assert status == 0
    assert "the verified file itself" in text
    assert "python 'out dir/plan.pyz' classify photo.jpg" in text
    bundle = folder / "out dir" / "plan.pyz"
    assert os.access(bundle, os.X_OK)
    told = json.loads(run("show", chosen, "--format", "json")[1])
    with Store.open(folder / "trimtab-store" / "trimtab.db", read_only=True) as store:
        assert bundle.read_bytes() == store.artefacts.path(told["bundle_sha256"]).read_bytes()
    _passes_selftest(bundle)


def test_a_plan_that_was_not_verified_is_exported_too(run, planned):
    rows = json.loads(run("front", "--format", "json")[1])["rows"]
    key = next(row["key"] for row in rows if row["status"] == "predicted")
    status, text, errors = run("export", key, "-o", "other.pyz")
    assert status == 0, errors
    assert "not verified" in text
    _passes_selftest(planned[0] / "other.pyz")


def _passes_selftest(bundle):
    done = subprocess.run(
        [sys.executable, bundle, "selftest"], cwd=bundle.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "selftest passed" in done.stdout


def test_the_verdict_is_one_sentence_with_its_figures(run, chosen):
    told = " ".join(run("front")[1].split())
    line = told[told.index("Ship ") :]
    assert re.search(
        r"[\d.]+ times as fast \((95 % CI [^;]+; )?[\d.]+ against [\d.]+ ms, [\w, ]+\)", line
    )
    assert re.search(r"accuracy [-+][\d.]+ points \(95 % CI [-+][\d.]+ to [-+][\d.]+\)", line)
    assert re.search(r"\d+ of 14 test images newly wrong, \d+ newly right, worst class: ", line)


def test_the_chosen_plan_and_the_baseline_go_by_name(run, chosen, tmp_path):
    assert f"plan {chosen}" in run("show")[1]
    assert "baseline" in run("show", "baseline")[1]
    target = tmp_path / "chosen.pyz"
    assert f"Wrote {target}" in " ".join(run("export", "-o", target)[1].split())


def test_two_plans_are_compared(run, chosen):
    told = run("compare")[1]
    assert "top1, test" in told and "latency_mean_ms, measured" in told
    assert "newly wrong" in told
    found = json.loads(run("compare", chosen[:8], "baseline", "--format", "json")[1])
    changes = found["changes"]
    assert changes["count"] == 14
    low, high = changes["lead"][1:]
    assert low <= changes["lead"][0] <= high
    gained = changes["newly_right"] - changes["newly_wrong"]
    assert changes["lead"][0] == pytest.approx(gained / 14)
    same = run("compare", "baseline", "baseline")[1]
    assert "0 of 14 test images newly wrong, 0 newly right" in same


def test_devices(run):
    status, text, _ = run("devices")
    assert status == 0
    assert "(this one)" in text
    assert "CPUExecutionProvider" in text
    told = json.loads(run("devices", "--format", "json")[1])
    assert told["devices"][0]["key"] == told["this_machine"]["key"]
    assert told["devices"][0]["measurements"] >= 3


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["front", "nothing"], 1, "no job has the name 'nothing'"),
        (["show", "zzzz"], 1, "begins with 'zzzz'"),
        (["export", "zzzz"], 1, "begins with 'zzzz'"),
        (["export", "zzzz", "-o", "photos"], 2, "is a folder"),
        (["front", "--plot", "front.pdf"], 2, "must name an .html or .png file"),
        (["front", "--format", "xml"], 2, "xml"),
        (["front", "--limit", "0"], 2, "--limit"),
        (["front", "--store", "x"], 2, "give it before the command"),
        (["bake"], 2, "bake"),
        (["init"], 2, "Missing argument"),
        (["plan", "missing.yaml"], 2, "missing.yaml: cannot be read"),
        (["--store", "nowhere.db", "front"], 1, "there is no store at nowhere.db"),
        (["--store", "nowhere.db", "jobs"], 1, "`trimtab plan job.yaml` creates one"),
    ],
)
def test_a_mistake_is_named_in_plain_lines(run, arguments, status, message):
    found, _, errors = run(*arguments)
    assert found == status
    assert message in errors
    assert all(line.startswith("error: ") for line in errors.splitlines())


def test_a_wrong_specification_names_its_fields(run, tmp_path):
    spec = write_spec(tmp_path / "job.yaml", verify=-1, budgets={"minutes": 1})
    status, _, errors = run("--store", tmp_path / "none" / "trimtab.db", "plan", spec)
    assert status == 2
    assert "error: verify: " in errors
    assert "error: budgets: unknown field; did you mean 'budget'?" in errors
    assert not (tmp_path / "none").exists()


def test_without_a_feasible_plan_the_nearest_is_named(planned, run):
    folder, _ = planned
    spec = write_spec(folder / "strict.yaml", name="strict", constraints=["load_ms <= 0.001"])
    done = call(folder, "plan", spec)
    assert done.returncode == 1
    assert "error: no plan is chosen; nearest: " in done.stderr
    assert re.search(r"error: load_ms <= 0\.001: \S+, misses 0\.001 by \d", done.stderr)
    assert "error: no plan meets the constraints; this one comes nearest" in done.stderr
    assert "Traceback" not in done.stderr
    shown = run("front", "strict")[1]
    assert re.search(r"load_ms <= 0\.001: \S+, misses 0\.001 by \d", shown)
    assert "violates a constraint" in " ".join(shown.split())
    key = re.search(r"no plan is chosen; nearest: (\w{8}) ", shown)[1]
    told = run("show", key)[1]
    assert re.search(r"violated: load_ms <= 0\.001 .*; this plan \S+, missed by \d", told)


def test_the_front_is_that_of_the_latest_job_with_plans(planned, run, tmp_path):
    shutil.copytree(planned[0] / "trimtab-store", tmp_path / "store")
    place = tmp_path / "store" / "trimtab.db"
    with Store.open(place) as store:
        latest = store.list_jobs()[0]
        failed = {"state": "failed", "finished_at": utc_now(), "summary": {}}
        store.add_job(replace(latest, id="f" * 12, name="fell", started_at=utc_now(), **failed))
    status, text, errors = run("--store", place, "front")
    assert status == 0
    assert f"Job {latest.id} ({latest.name})" in text
    assert "note: job ffffffffffff (fell) has no plans (failed)" in errors
    assert run("--store", place, "show")[0] == 1, "what is shipped is never another job's"


def test_where_nothing_beats_the_baseline_what_came_nearest_is_said(tmp_path, machine):
    write_zoo(tmp_path)
    spec = write_spec(tmp_path / "job.yaml", constraints=["top1 >= baseline"])
    with Store.open(tmp_path / "trimtab.db") as store:
        job = trimtab.plan(spec, store, device=machine, setup="ignored")
        line, *beside = verdict(store, job, front_view(store, job))
    assert line.startswith("Nothing beat Large (1 thread): ship it as it is. Nearest: ")
    assert "of 14 test images newly wrong" in line
    assert not [text for text in beside if "Ship" in text]


@pytest.mark.slow
def test_an_interrupted_job_says_how_to_go_on(tmp_path):
    write_zoo(tmp_path)
    write_spec(tmp_path / "my job.yaml", name="cut off")
    process = subprocess.Popen(
        [*_CALL, "--store", "kept/here.db", "plan", "my job.yaml"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        for line in process.stderr:
            if line.startswith("measuring"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "resume with `trimtab --store kept/here.db plan 'my job.yaml'`" in rest
    assert "Traceback" not in rest
    told = call(tmp_path, "--store", "kept/here.db", "jobs", "--format", "json")
    assert json.loads(told.stdout)[0]["state"] == "interrupted"
    shown = call(tmp_path, "--store", "kept/here.db", "front")
    assert shown.returncode == 1
    assert "has no plans yet: the job was interrupted" in shown.stderr


def test_without_a_store_devices_still_tells_this_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIMTAB_STORE", raising=False)
    assert main(["devices"]) == 0
    assert "Nothing has been measured yet" in capsys.readouterr().out
    assert list(Path().iterdir()) == []


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("trimtab ")
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert "2 wrong use or specification" in " ".join(told.split())
    for command in ("init", "plan", "check", "jobs", "front", "show", "export", "devices"):
        assert command in told
