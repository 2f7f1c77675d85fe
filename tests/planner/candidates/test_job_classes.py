"""Members whose classes are not the job's: reordered, mapped, restricted, found by WordNet ids."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from sample_models import INPUT, write_onnx, write_photos

import trimtab
from trimtab.planner.bundles.export import export_plan
from trimtab.planner.candidates.class_groups import with_job_classes
from trimtab.planner.reports.front import front_view
from trimtab.planner.specification.scaffold import write_starter
from trimtab.planner.specification.sections import OutputSpec
from trimtab.workloads.images.synsets import imagenet_synsets
from trimtab_runtime.definitions.plan import InputFormat, OutputFormat, Variant
from trimtab_runtime.errors import ModelError
from trimtab_runtime.probe.requests import MeasureSettings

QUICK = MeasureSettings(seconds=0.1, max_seconds=5, min_rounds=8, warmup_seconds=0.02)
NAMES = ["north", "north-east", "east", "south-east"]
VARIANT = Variant("m", "0" * 64, "onnx", 1, InputFormat((8, 8)), OutputFormat())


def groups(own, job, /, **said):
    variant, told = with_job_classes(VARIANT, own, OutputSpec(**said), job)
    return variant.output.groups, told


def test_the_same_classes_need_no_groups():
    assert groups(2, ["a", "b"]) == (None, None)
    assert groups(2, ["a", "b"], classes=("a", "b")) == (None, None)
    assert groups(3, ["a", "b"]) == (None, None)  # what is wrong there is said elsewhere


def test_names_are_put_in_the_jobs_order_and_others_left_out():
    found, told = groups(4, ["a", "b"], classes=("x", "b", "y", "a"))
    assert found == ((3,), (1,))
    assert told == (
        "answers with the job's 2 classes, found by name; the other 2 are left out and the rest "
        "renormalised"
    )


def test_a_mapping_adds_up_classes():
    said = {
        "classes": ("tabby", "husky", "siamese", "car"),
        "mapping": {"tabby": "cat", "siamese": "cat", "husky": "dog"},
    }
    assert groups(4, ["dog", "cat"], **said)[0] == ((1,), (0, 2))
    numbered = {"mapping": {0: "cat", 2: "cat", 1: "dog"}}
    assert groups(4, ["dog", "cat"], **numbered)[0] == ((1,), (0, 2))


def test_folders_called_by_wordnet_ids_are_found_in_imagenets_classes():
    every = imagenet_synsets()
    assert len(every) == 1000
    assert list(every) == sorted(set(every))
    found, told = groups(1000, ["n03888257", "n01440764", "n02979186"])
    assert found == ((701,), (0,), (482,))  # parachute, tench and cassette player, as torchvision
    assert told is not None
    assert "found by their WordNet ids; the other 997 are left out" in told
    assert groups(1000, list(every)) == (None, None)


@pytest.mark.parametrize(
    ("own", "said", "reason"),
    [
        (3, {"classes": ("a", "b")}, "names 2 classes, but the model answers with 3"),
        (
            3,
            {"classes": ("a", "bb", "c")},
            r"1 class\(es\) of .* none of the model's: b \(did you mean 'bb'",
        ),
        (3, {"classes": ("a", "b", "a")}, "2 classes of the model are called 'a'"),
        (2, {"mapping": {"0": "a", "1": "B"}}, r"'B' is no class of the job"),
        (2, {"mapping": {"0": "a", "7": "b"}}, "'7' is no class of the model"),
    ],
)
def test_what_does_not_fit_is_named(own, said, reason):
    with pytest.raises(ModelError, match=reason):
        groups(own, ["a", "b"], **said)


def write_foreign(path, source):
    """The network of `source` with its outputs in another order, and two classes more that it
    would always answer."""
    model = onnx.load(source)
    (output,) = model.graph.output
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([2, 0, 3, 1]), "order"),
            numpy_helper.from_array(np.full((1, 2), 50, np.float32), "more"),
        ]
    )
    model.graph.node.extend(
        [
            helper.make_node("Gather", [output.name, "order"], ["ordered"], axis=1),
            helper.make_node("Concat", ["more", "ordered"], ["foreign"], axis=1),
        ]
    )
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info("foreign", onnx.TensorProto.FLOAT, [1, 6])
    )
    onnx.save(model, path)
    return ["cat", "dog", NAMES[2], NAMES[0], NAMES[3], NAMES[1]]


@pytest.mark.slow
def test_a_member_with_classes_of_its_own_answers_with_the_jobs(tmp_path, monkeypatch, machine):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    write_onnx(tmp_path / "plain.onnx", width=16)
    own = write_foreign(tmp_path / "foreign.onnx", tmp_path / "plain.onnx")
    photos = write_photos(tmp_path / "photos", 48, names=NAMES)
    (tmp_path / "own.txt").write_text("\n".join(own))
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    members = [
        {"path": "plain.onnx", "input": INPUT},
        {"path": "foreign.onnx", "input": INPUT, "output": {"classes": "own.txt"}},
    ]
    spec = {
        "name": "foreign",
        "models": members,
        "workload": {"images": "photos", "classes": "names.txt"},
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"cascade": False},
        "runtime": {"threads": 1},
        "budget": {"measurements": 4},
        "verify": 0,
    }
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        record = trimtab.plan(
            trimtab.load_spec(spec, tmp_path),
            store,
            settings=QUICK,
            device=machine,
            setup="ignored",
        )
        view = front_view(store, record)
        told = [e.text for e in store.list_events(record.id) if e.subject == "foreign"]
        top1 = {
            row.short.split()[0]: row.figure("top1").test
            for row in view.rows
            if set(row.roles) & {"baseline", "member"}
        }
        assert top1["plain"] == top1["foreign"]
        assert top1["plain"] > 0.7
        assert any("answers with the job's 4 classes, found by name" in text for text in told)
        plans = {
            e.plan.label.split()[0]: e.plan
            for e in store.list_plans(record.id)
            if "w8a8" not in e.plan.label
        }
        bundle = export_plan(store, plans["foreign"].key, tmp_path / "foreign.pyz")
        plain = export_plan(store, plans["plain"].key, tmp_path / "plain.pyz")
    answers = [answers_of(file, photos[:6], tmp_path) for file in (bundle, plain)]
    assert [a["label"] for a in answers[0]] == [a["label"] for a in answers[1]]
    assert {a["label"] for a in answers[0]} <= set(NAMES)


def answers_of(bundle, photos, folder):
    done = subprocess.run(
        [sys.executable, str(bundle), "classify", "--json", *map(str, photos)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_init_takes_wordnet_folders_for_a_part_of_imagenet(tmp_path):
    synsets = [imagenet_synsets()[index] for index in (701, 0, 482, 7)]
    write_photos(tmp_path / "photos", 24, names=synsets)
    model = onnx.load(write_onnx(tmp_path / "net.onnx", width=2))
    (output,) = model.graph.output
    more = np.zeros((1, 997), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(more, "more"))
    model.graph.node.append(helper.make_node("Concat", [output.name, "more"], ["all"], axis=1))
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info("all", onnx.TensorProto.FLOAT, [1, 1001])
    )
    onnx.save(model, tmp_path / "net.onnx")
    starter = write_starter(tmp_path, tmp_path / "job.yaml")
    assert "4 of its 1000 classes are used, by their WordNet ids" in starter.text
    assert "offset: 1" in starter.text
