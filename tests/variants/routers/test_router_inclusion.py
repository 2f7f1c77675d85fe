"""Which models a premodel chooses among, and which features it looks at."""

import numpy as np
import pytest

from trimtab.variants.routers import eliminated, included, published_features, uncorrelated


def test_the_first_model_is_the_one_most_often_the_fastest_correct():
    correct = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 1, 1], [0, 1, 1], [0, 1, 1]], bool)
    assert included(correct, [1.0, 3.0, 2.0])[0] == 2  # fastest correct of four inputs


def test_models_are_added_by_what_they_solve_of_the_rest():
    correct = np.zeros((200, 4), bool)
    correct[:120, 0] = True  # fastest correct of 120
    correct[100:190, 1] = True  # of the 80 that fail, 70
    correct[100:150, 2] = True  # nothing that the second does not solve
    correct[190:, 3] = True  # the rest
    assert included(correct, [1.0, 2.0, 3.0, 4.0]) == (0, 1, 3)
    assert included(correct, [1.0, 2.0, 3.0, 4.0], theta=0.06) == (0, 1)


def test_equals_go_to_the_cheaper():
    correct = np.ones((10, 3), bool)
    assert included(correct, [3.0, 2.0, 2.5]) == (1,)


def test_what_no_model_solves_ends_the_search():
    assert included(np.zeros((5, 2), bool), [2.0, 1.0], theta=0.0) == (1,)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="correct must be"):
        included(np.ones((4, 3), bool), [1.0, 2.0])


def test_of_two_features_that_are_alike_the_first_stays():
    rng = np.random.default_rng(0)
    first, other = rng.normal(size=(2, 200))
    features = np.stack([first, -first + 0.1 * other, np.full(200, 3.0), other], axis=1)
    assert uncorrelated(features) == (0, 3)
    assert uncorrelated(features, alike=1.0) == (0, 1, 3)


def test_elimination_keeps_what_tells_who_is_right():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(240, 6))
    correct = np.stack([features[:, 2] > 0, features[:, 4] > 0], axis=1)
    assert set(eliminated(features, correct, wanted=2)) == {2, 4}


def test_both_steps_name_columns_of_the_whole():
    rng = np.random.default_rng(2)
    told = rng.normal(size=(200, 9))
    features = np.concatenate([np.zeros((200, 1)), told, told[:, :1] * 2], axis=1)
    found = published_features(features, told[:, 3:4] > 0)
    assert len(found) == 7
    assert 4 in found
    assert not {0, 10} & set(found)
