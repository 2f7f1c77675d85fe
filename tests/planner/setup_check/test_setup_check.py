"""Set-ups that are wrong are noticed with their cause; right ones that look odd are left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from bad_models import endless_model, write_model
from digit_models import CLASSES, INPUT, NAMES, write_digit_net, write_digits
from PIL import Image
from processes import PATIENCE_S, left_after

from trimtab.planner.setup_check.images import check_labels, checked_images
from trimtab.planner.setup_check.inputs import NORMALISATIONS, further_inputs, usual_inputs
from trimtab.planner.setup_check.isolated import check_in_subprocess
from trimtab.planner.setup_check.judgement import check_members
from trimtab.planner.setup_check.orders import (
    best_permutation,
    certain,
    cross_fitted,
    usual_readings,
)
from trimtab.planner.setup_check.pictures import Pictures
from trimtab.planner.setup_check.records import CheckedMember, CheckRequest, MemberCheck
from trimtab.planner.setup_check.statistics import near_chance, share_of_error, sign_test
from trimtab.planner.setup_check.words import findings, plain_table
from trimtab.variants import inspect_model, make_variant
from trimtab.variants.isolation import end_idle
from trimtab.workloads import Workload, read_workload, split_workload
from trimtab_runtime.formats import InputFormat

IMAGES = 200
#: A network that is trained on centred pixels.
CENTRED = {"mean": 127.5, "std": 40.0}
#: The same network as the specification should have it.
CENTRED_AS_SAID: dict[str, Any] = {"said": CENTRED, **CENTRED}
ORDER = np.random.default_rng(3).permutation(CLASSES).tolist()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_digits(folder, IMAGES)
    return folder


def request_of(
    photos: Path,
    folder: Path,
    said: dict[str, Any] | None = None,
    output: dict[str, Any] | None = None,
    count: int = IMAGES,
    labels: tuple[int, ...] | None = None,
    classes: tuple[str, ...] = NAMES,
    **net: Any,
) -> CheckRequest:
    """A request of one member: a network that was trained on pixels / 255."""
    path = write_digit_net(folder / "net.onnx", **net)
    facts = inspect_model(path)
    variant = make_variant(path, facts, INPUT if said is None else said, output or {}, "net")
    files = sorted(photos.glob("*/*.png"), key=lambda file: file.name)[:count]
    found = labels or tuple(NAMES.index(file.parent.name) for file in files)
    member = CheckedMember("net", str(path), variant, facts.output_width or 0)
    return CheckRequest(
        (member,), tuple(map(str, files)), found, classes, patience_s=PATIENCE_S, threads=1
    )


def checked(photos: Path, folder: Path, **changes: Any) -> MemberCheck:
    return check_members(request_of(photos, folder, **changes)).members[0]


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "colours": ("colour", {"said": {**INPUT, "colour": "bgr"}}),
    "scale": (
        "normalisation",
        {"said": {"mean": 0, "std": 1}, **CENTRED},
    ),
    "std of the other scale": (
        "normalisation",
        {
            "said": {
                "values": "0..255",
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
            },
            **CENTRED,
        },
    ),
    "alphabetical": ("order", {"order": np.argsort(NAMES).tolist()}),
    "shifted": ("order", {"order": [9, *range(9)]}),
    "mixed": ("order", {"order": ORDER}),
    "two swapped": ("order", {"order": [1, 0, *range(2, 10)]}),
    "background": ("offset", {"background": True}),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_set_up_is_noticed_with_its_cause(kind: str, photos: Path, tmp_path: Path) -> None:
    cause, changes = WRONG[kind]
    found = checked(photos, tmp_path, **changes)
    assert found.beaten
    assert tuple(found.rivals[0].changes) == (cause,)
    assert found.rivals[0].share > 0.8


RIGHT: dict[str, dict[str, Any]] = {
    "as trained": {},
    "another scale": {"said": {"mean": 127.5, "std": 40}, **CENTRED},
    "few images": {"count": 12},
    "one image": {"count": 1},
    "background declared": {"background": True, "output": {"offset": 1}},
    "classes in no order": {
        "order": ORDER,
        "classes": tuple(NAMES[index] for index in ORDER),
    },
    "hardly trained": {"epochs": 2},
}


@pytest.mark.parametrize("kind", RIGHT)
def test_a_right_set_up_is_left_alone(kind: str, photos: Path, tmp_path: Path) -> None:
    changes = dict(RIGHT[kind])
    if "classes" in changes:
        files = sorted(photos.glob("*/*.png"), key=lambda file: file.name)
        changes["labels"] = tuple(changes["classes"].index(f.parent.name) for f in files)
    found = checked(photos, tmp_path, **changes)
    assert not found.beaten
    assert not found.near_chance
    assert found.always is None


def test_what_to_write_is_said(photos: Path, tmp_path: Path) -> None:
    request = request_of(photos, tmp_path, said={**INPUT, "colour": "bgr"})
    check = check_members(request)
    assert check.stops
    (told,) = findings(check)
    assert told.startswith("net: most likely another colour: RGB instead of BGR")
    assert told.endswith("Say input.colour: rgb")
    assert "beyond doubt" in plain_table(check)


def test_the_order_that_fits_is_the_order_of_the_outputs(photos: Path, tmp_path: Path) -> None:
    found = checked(photos, tmp_path, order=ORDER)
    assert found.order == tuple(NAMES[index] for index in ORDER)


def test_an_order_and_colours_that_are_both_wrong(photos: Path, tmp_path: Path) -> None:
    """Without the order no input is better than another, so others are tried under it."""
    found = checked(photos, tmp_path, order=ORDER, said={**INPUT, "colour": "bgr"})
    assert tuple(found.rivals[0].changes) == ("order", "colour")
    assert found.order == tuple(NAMES[index] for index in ORDER)
    assert found.input == {"colour": "rgb"}


def test_an_order_is_certain_where_answers_leave_no_doubt() -> None:
    labels = np.repeat(np.arange(3), 6)
    predicted = np.array([2, 2, 2, 2, 2, 0] + [0] * 6 + [1, 1, 1, 1, 0, 0])
    assert not certain(predicted, labels, np.array([2, 0, 1]))  # of class 2, a third says 0
    predicted[-1] = 1
    assert certain(predicted, labels, np.array([2, 0, 1]))
    few = np.repeat(np.arange(3), 2)
    assert not certain(few, few, np.arange(3))
    assert certain(predicted[:12], labels[:12], np.array([2, 0, 1]))  # one is left
    assert not certain(predicted[:6], labels[:6], np.array([2, 0, 1]))


def test_a_network_that_always_answers_one_class_is_named(photos: Path, tmp_path: Path) -> None:
    check = check_members(request_of(photos, tmp_path, constant=3))
    (member,) = check.members
    assert member.always == "three"
    assert member.near_chance
    assert check.all_near_chance
    assert "it always answers 'three'" in findings(check)[0]


def test_a_constant_network_is_right_in_no_order(photos: Path, tmp_path: Path) -> None:
    files = [file.parent.name for file in sorted(photos.glob("*/*.png"), key=lambda f: f.name)]
    labels = tuple(4 if name != "zero" else 0 for name in files)  # nearly all of one class
    found = checked(photos, tmp_path, labels=labels, constant=3)
    assert found.always == "three"
    assert not found.beaten


def test_geometry_is_tried_only_on_images_of_another_shape(tmp_path: Path) -> None:
    for name, width in (("square", 20), ("wide", 40)):
        Image.new("RGB", (width, 20)).save(tmp_path / f"{name}.png")
    assert not Pictures([str(tmp_path / "square.png")], []).of_other_shape((8, 8))
    assert Pictures([str(tmp_path / "wide.png")], []).of_other_shape((8, 8))


def test_labels_that_have_nothing_to_do_with_the_images(photos: Path, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).integers(0, CLASSES, IMAGES)
    found = checked(photos, tmp_path, labels=tuple(drawn.tolist()))
    assert found.near_chance
    assert not found.beaten


def test_without_labels_it_is_only_told(photos: Path, tmp_path: Path) -> None:
    request = request_of(photos, tmp_path, said={**INPUT, "colour": "bgr"})
    check = check_members(CheckRequest(request.members * 2, request.images, None, request.classes))
    assert not check.stops
    assert findings(check) == []
    assert all(member.agreement == 1.0 for member in check.members)
    assert all(0 < (member.entropy or 0) < 1 for member in check.members)
    assert "no labels" in plain_table(check)


def test_without_labels_members_that_agree_show_the_one_that_does_not(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "right").mkdir()
    (right,) = request_of(photos, tmp_path / "right", **CENTRED_AS_SAID).members
    request = request_of(photos, tmp_path, said={"mean": 0, "std": 1}, **CENTRED)
    (wrong,) = request.members
    members = (right, replace(right, name="other"), replace(wrong, name="wrong"))
    check = check_members(CheckRequest(members, request.images, None, request.classes))
    assert not check.stops
    (told,) = findings(check)
    assert told.startswith("wrong: perhaps another normalisation: ")
    assert "(mean 0, std 1, rgb)" in told
    best = check.members[2].unlabelled[0]
    assert (best.agreement or 0) > 0.8 > (check.members[2].agreement or 0)
    rows = plain_table(check).splitlines()
    assert sum("agrees with the others" in row for row in rows) == 3 * (1 + 3)


def test_what_a_file_says_of_itself_is_told_without_labels(photos: Path, tmp_path: Path) -> None:
    request = request_of(photos, tmp_path)
    doubted = replace(request.members[0], doubts=("its graph takes off the mean itself",))
    check = check_members(CheckRequest((doubted,), request.images, None, request.classes))
    assert findings(check) == ["net: its graph takes off the mean itself"]


def test_groups_of_classes_are_read_as_the_job_reads_them(photos: Path, tmp_path: Path) -> None:
    """Groups count the network's own classes behind its background."""
    net = write_digit_net(tmp_path / "grouped.onnx", background=True)
    facts = inspect_model(net)
    output = {"offset": 1}
    variant = make_variant(net, facts, INPUT, output, "net")
    groups = tuple((index,) for index in range(CLASSES))
    variant = replace(variant, output=replace(variant.output, groups=groups))
    request = request_of(photos, tmp_path)
    member = CheckedMember("net", str(net), variant, CLASSES + 1)
    found = check_members(replace(request, members=(member,))).members[0]
    assert not found.beaten
    assert (found.right or 0) / found.images > 0.8


def test_the_process_of_its_own_says_the_same(photos: Path, tmp_path: Path) -> None:
    request = request_of(photos, tmp_path, order=ORDER)
    assert check_in_subprocess(request) == check_members(request)


def test_errors_come_through_the_process(photos: Path, tmp_path: Path) -> None:
    request = request_of(photos, tmp_path)
    gone = CheckRequest(request.members, ("/nowhere.png",), (0,), request.classes)
    check = check_in_subprocess(gone)
    assert "nowhere.png" in (check.members[0].problem or "")
    assert not check.stops
    assert "could not be tried" in plain_table(check)


def endless_member(folder: Path) -> CheckedMember:
    """It answers noise, and no photograph ever."""
    path = folder / "endless.onnx"
    write_model(endless_model(on_photos=True), path)
    facts = inspect_model(path)
    variant = make_variant(path, facts, {"mean": 127.5, "std": 127.5}, {}, "endless")
    return CheckedMember("endless", str(path), variant, facts.output_width or 0)


def test_a_member_that_never_answers_is_left_alone(photos: Path, tmp_path: Path) -> None:
    request = request_of(photos, tmp_path)
    endless = endless_member(tmp_path)
    for stall_s in (3, 60):  # more where a busy machine left the other one no time either
        both = CheckRequest(
            (endless, *request.members), request.images, None, request.classes, stall_s=stall_s
        )
        check = check_in_subprocess(both)
        told = f"endless.onnx: gave no answer within {stall_s} s"
        assert (check.members[0].problem or "").startswith(told)
        if check.members[1].problem is None:
            break
    assert check.members[1].problem is None


def test_a_process_that_is_stopped_is_ended(photos: Path, tmp_path: Path) -> None:
    endless = endless_member(tmp_path)
    request = replace(request_of(photos, tmp_path), members=(endless,), labels=None, stall_s=3)
    held: list[psutil.Process] = []

    def stop() -> None:
        if not held:  # other children, as servers of other tests, are none of its
            own = psutil.Process().children()
            held.extend(each for each in own if "isolation.worker" in " ".join(each.cmdline()))
        for process in held:
            process.suspend()

    end_idle()
    check_in_subprocess(request_of(photos, tmp_path, count=1))  # imports what it needs
    check = check_in_subprocess(request, stop).members[0]
    assert (check.problem or "").startswith("endless.onnx: gave no answer within 3 s")
    assert left_after(held) == []


def test_images_are_of_fit_and_tune_and_of_all_classes(photos: Path) -> None:
    workload = read_workload(photos, classes=NAMES)
    splits = split_workload(workload, 20, 40, 100)
    items = checked_images(workload, splits)
    test = {workload.items[index].name for index in splits.test}
    assert len(items) == 60
    assert not test & {item.name for item in items}
    assert len(set(check_labels(items[:CLASSES]) or ())) == CLASSES


def test_images_of_one_object_count_once(photos: Path) -> None:
    whole = read_workload(photos, classes=NAMES)
    grouped = Workload(
        tuple(
            type(item)(item.path, item.name, item.label, f"{number // 4}", item.sha256, 1)
            for number, item in enumerate(whole.items)
        ),
        whole.classes,
    )
    splits = split_workload(grouped, 20, 40, 100)
    assert len(checked_images(grouped, splits)) <= 60 // 4 + 2


# ---- parts ----


def test_inputs_are_tried_once_each() -> None:
    specified = InputFormat((8, 8), mean=(127.5,), std=(127.5,))
    found = usual_inputs(specified, True)
    assert found[0].format == specified
    assert not any("-1..1" in setup.changes.values() for setup in found)
    assert len({repr(setup.format) for setup in found}) == len(found)
    causes = {cause for setup in found for cause in setup.changes}
    assert causes == {"normalisation", "colour", "geometry"}
    fits = [(s.format.fit, s.format.crop) for s in found if "geometry" in s.changes]
    assert {("crop", 1.0), ("crop", 0.875), ("squash", 0.875), ("pad", 1.0)} <= set(fits)
    assert ("squash", 1.0) not in fits  # as specified


def test_images_of_the_shape_of_the_input_are_tried_whole_where_a_part_is_specified() -> None:
    def geometries(**changes: Any) -> list[tuple[str, float]]:
        found = usual_inputs(InputFormat((8, 8), **changes), False)
        return [(s.format.fit, s.format.crop) for s in found if "geometry" in s.changes]

    assert geometries() == []
    assert geometries(crop=0.5) == [("squash", 1.0), ("squash", 0.875)]
    assert geometries(fit="crop", resize_size=(16, 16)) == [("squash", 1.0), ("squash", 0.875)]


def test_ids_of_wordnet_are_found_within_names() -> None:
    names = ("tench n01440764", "cock (n01514668)", "goldfish n01443537")
    found = {r.changes.get("order"): r.places.tolist() for r in usual_readings(names, 3, 0)}
    assert found["by WordNet ids"] == [0, 2, 1]


def test_raw_pixels_have_no_other_scale() -> None:
    found = usual_inputs(InputFormat((8, 8), dtype="uint8"), False)
    assert not any("normalisation" in setup.changes for setup in found)
    assert any("colour" in setup.changes for setup in found)


def test_a_std_of_the_other_scale_is_tried() -> None:
    found = usual_inputs(InputFormat((8, 8), mean=(0.5,), std=(0.25,)), False)
    scaled = next(s for s in found if s.changes.get("normalisation") == "mean and std times 255")
    assert (scaled.format.mean, scaled.format.std) == ((127.5,), (63.75,))


def test_further_inputs_keep_what_was_changed() -> None:
    specified = InputFormat((8, 8), std=(255.0,))
    base = next(s for s in usual_inputs(specified, True) if "-1..1" in s.changes.values())
    both = next(s for s in further_inputs(base, False) if "colour" in s.changes)
    assert both.format.mean == NORMALISATIONS["-1..1"][0]
    assert both.format.colour == "bgr"
    assert set(both.changes) == {"normalisation", "colour"}


def test_mean_and_std_may_belong_to_the_colours_or_to_the_channels() -> None:
    specified = InputFormat((8, 8), mean=(3.0, 2.0, 1.0), std=(50.0,))
    found = [s.format for s in usual_inputs(specified, True) if "colour" in s.changes]
    assert [fmt.colour for fmt in found] == ["bgr", "bgr"]
    assert [fmt.mean for fmt in found] == [(3.0, 2.0, 1.0), (1.0, 2.0, 3.0)]


def test_numbers_in_names_sort_as_people_count() -> None:
    names = ("batch_1", "batch_10", "batch_2")
    found = {r.changes.get("order"): r.places.tolist() for r in usual_readings(names, 3, 0)}
    assert found["natural (2 before 10)"] == [0, 2, 1]


def test_a_permutation_that_fits_noise_gains_nothing_across_halves() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 10, 200), rng.integers(0, 10, 200)
    fitted = best_permutation(predicted, labels, 10)
    assert (predicted == fitted[labels]).mean() > 0.15
    assert cross_fitted(predicted, labels, 10).mean() < 0.15


def test_a_class_without_images_stays_where_it_is() -> None:
    labels = np.array([0, 0, 1, 1])
    assert best_permutation(labels, labels, 4).tolist() == [0, 1, 2, 3]
    assert best_permutation(1 - labels, labels, 4).tolist() == [1, 0, 2, 3]


def test_all_looks_together_spend_the_error_once() -> None:
    assert share_of_error(64, [64]) == 1
    shares = [share_of_error(look, [64, 128, 200, 400]) for look in (64, 128, 200, 400)]
    assert sum(shares) == pytest.approx(1)
    assert shares[-1] == 0.5


def test_the_sign_test_is_exact() -> None:
    better, worse = np.array([True] * 5 + [False]), np.array([False] * 5 + [True])
    assert sign_test(better, worse) == (5, 1, pytest.approx(7 / 64))
    assert sign_test(better, better) == (0, 0, 1.0)


def test_chance_is_told_only_where_it_can_be() -> None:
    assert near_chance(20, 200, 0.1)
    assert not near_chance(40, 200, 0.1)
    assert not near_chance(0, 3, 0.5)
    assert not near_chance(10, 20, 0.26)  # a weak network on few images
    assert not near_chance(197, 200, 0.985)  # hardly an image of another class
