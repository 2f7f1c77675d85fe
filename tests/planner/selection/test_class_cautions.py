"""What a mean over inputs hides of a plan."""

import numpy as np

from trimtab.planner.selection.class_cautions import cautions_of

NAMES = ("good", "scratch", "dent")


def answers(*counts):
    """Class indices: counts[0] of class 0, and so on."""
    return np.repeat(np.arange(len(counts)), counts)


def test_nothing_to_say_of_a_plan_that_is_like_its_baseline():
    labels = answers(90, 6, 4)
    assert cautions_of(labels, labels, labels, NAMES) == []
    wrong = labels.copy()
    wrong[0] = 1
    assert cautions_of(labels, wrong, wrong, NAMES) == []
    assert cautions_of(labels, labels, wrong, NAMES) == []  # better than the baseline


def test_classes_that_are_never_answered():
    labels = answers(90, 6, 4)
    constant = np.zeros(100, np.int64)
    never, worst = cautions_of(labels, constant, labels, NAMES)
    assert never == (
        "it answers 'good' to every image; it never answers 2 of 3 classes that the images of "
        "tune and test show (scratch, dent; 10.0% of the images)"
    )
    assert worst.startswith("its worst recall is 0.000, of 'scratch' (6 image(s)")
    lost = np.where(labels == 2, 0, labels)
    assert cautions_of(labels, lost, lost, NAMES) == [
        "it never answers 1 of 3 classes that the images of tune and test show (dent; 4.0% of "
        "the images)"
    ]


def test_a_worst_recall_that_fell_with_the_class_and_its_images():
    labels = answers(90, 6, 4)
    base, own = labels.copy(), labels.copy()
    base[90] = 0  # 5 of 6 scratches
    own[96:98] = 0  # 2 of 4 dents
    assert cautions_of(labels, own, base, NAMES) == [
        "its worst recall is 0.500, of 'dent' (4 image(s) of tune and test); the baseline's worst "
        "is 0.833"
    ]


def test_a_class_without_images_is_not_missed_and_one_without_a_name_has_its_index():
    labels = answers(5, 5)
    assert cautions_of(labels, labels, labels, NAMES) == []
    (never, _) = cautions_of(labels, np.full(10, 4), labels, ("a", "b"))
    assert never.startswith("it answers '4' to every image; it never answers 2 of 2 classes")
