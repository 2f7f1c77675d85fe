"""Which classes a plan takes for which: counted, told, and within 80 columns."""

import numpy as np
import pytest
from sklearn import metrics as sk

from trimtab.planner.cli.confusions import confusion_lines
from trimtab.planner.reports.plan.confusions import confusion_view
from trimtab.planner.selection.breakdowns import answer_counts


def view(classes, images, name="a class of the line with number {}", base=False, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.sort(generator.integers(0, classes, images))
    guesses = generator.integers(0, classes, (2, images))
    answers, other = np.where(generator.random((2, images)) < 0.8, labels, guesses)
    names = [name.format(index) for index in range(classes)]
    beside = answer_counts(labels, other) if base else ()
    return confusion_view(answer_counts(labels, answers), names, beside), labels, answers, other


def test_counts_are_scikit_learns():
    found, labels, answers, other = view(7, 300, base=True)
    assert found.matrix() == sk.confusion_matrix(labels, answers).tolist()
    own, base = (sk.recall_score(labels, said, average=None) for said in (answers, other))
    assert [one.recall for one in found.classes] == pytest.approx(own)
    assert [one.baseline_recall for one in found.classes] == pytest.approx(base)
    assert [one.answered for one in found.classes] == np.bincount(answers).tolist()
    counts = [pair.images for pair in found.confusions]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == (labels != answers).sum()
    worst = found.worst(3)
    assert [one.recall for one in worst] == pytest.approx(np.sort(own)[:3])


def test_classes_that_only_a_label_or_an_answer_has():
    counts = answer_counts(np.array([0, 0, 5]), np.array([0, 900, 900]))
    found = confusion_view(counts, ["good"], answer_counts(np.array([0, 0, 5]), np.array([7] * 3)))
    assert [one.name for one in found.classes] == ["good", "5", "900"]
    assert [one.recall for one in found.classes] == [0.5, 0.0, None]
    assert [one.baseline_recall for one in found.classes] == [0.0, 0.0, None]
    assert [one.name for one in found.worst(9)] == ["5", "good"]  # nobody's label is not worst
    assert found.matrix() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("images", [40, 20_000])
@pytest.mark.parametrize("classes", [2, 9, 30, 1000])
@pytest.mark.parametrize("base", [False, True])
def test_the_text_fits_80_columns(classes, images, base):
    found, *_ = view(classes, images, name="a {} of a very long name that goes on", base=base)
    lines = confusion_lines(found)
    assert max(map(len, lines)) <= 80
    assert any("Confusion matrix" in line for line in lines) == (classes <= 9)
    shown = len({one.index for one in found.classes if one.images})
    assert len(lines) < 60
    assert f"the worst 10 of {shown} classes" in lines[0] or shown <= 10


def test_names_are_told_by_their_ends_too():
    lines = confusion_lines(view(40, 400, name="a name of more than enough length {}")[0])
    told = {line.split("   ")[0] for line in lines[2:12]}
    assert len(told) == 10
    assert all("..." in name for name in told)


def test_without_a_confusion_that_is_said():
    names = ["x" * 90, *(f"class {index}" for index in range(1, 40))]
    labels = np.repeat(np.arange(40), 2)
    lines = confusion_lines(confusion_view(answer_counts(labels, labels), names))
    assert lines[-1] == "No class is taken for another."
