"""The semantic memory: each kind of entry by hand, its bounds, and its file."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples
from sample_recall import arrays, full, learn, one_hot, recall_of, vector

from trimtab_runtime.definitions.exits import Centres, ExitThresholds, Memory, Prior, Tap
from trimtab_runtime.errors import InferenceError
from trimtab_runtime.memory import kernel, semantic
from trimtab_runtime.memory.kernel import CENTRES, HEADS, INSTANCES, NETWORK, THUMBNAILS
from trimtab_runtime.memory.semantic import Recall

ALWAYS = ExitThresholds(instances=0.99)


def test_an_instance_answers_what_was_answered() -> None:
    recall = recall_of(("instances",), Memory(instances=4), ALWAYS)
    assert learn(recall, vector(1, 0), 2) == (NETWORK, -1)
    recall.begin()
    said = recall.at_tap(vector(7, 0.1), None)
    assert said is not None
    assert said.tolist() == one_hot(2).tolist()
    assert recall.finish(said, 2) == (INSTANCES, 0)
    assert recall.summary()["instances"] == {"tap0": 1}, "a hit renews its entry, and adds none"
    assert learn(recall, vector(0, 1), 1) == (NETWORK, -1)
    assert recall.summary()["instances"] == {"tap0": 2}


def test_an_empty_entry_answers_nothing() -> None:
    recall = recall_of(("instances",), Memory(instances=2), ExitThresholds(instances=-1.0))
    recall.begin()
    assert recall.at_tap(vector(1, 0), None) is None
    recall = recall_of(("instances",), Memory(thumbnails=2, instances=2), ExitThresholds(1e9))
    recall.begin()
    assert recall.at_thumbnail(np.zeros(192, np.float32)) is None


def test_the_least_recently_used_makes_room() -> None:
    recall = recall_of(("instances",), Memory(instances=2), ALWAYS)
    first, second, third = vector(1, 0), vector(0, 1), vector(-1, 0)
    learn(recall, first, 0)
    learn(recall, second, 1)
    assert learn(recall, first, 2)[0] == INSTANCES
    assert learn(recall, third, 2)[0] == NETWORK  # in the place of the second
    assert recall.summary()["instances"] == {"tap0": 2}
    assert [learn(recall, v, 0)[0] for v in (first, third)] == [INSTANCES, INSTANCES]
    recall.begin()
    assert recall.at_tap(second, None) is None


@examples(30)
@given(st.integers(1, 5), st.integers(0, 40), st.integers(0, 1000))
def test_the_memory_is_bounded(capacity: int, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    recall = recall_of(("instances",), Memory(capacity, capacity), ALWAYS)
    size = recall.summary()["size_mb"]
    for _ in range(count):
        recall.begin()
        recall.at_thumbnail(random.uniform(0, 255, 192).astype(np.float32))
        recall.at_tap(random.normal(0, 1, 2).astype(np.float32), None)
        recall.finish(one_hot(1), 1)
    found = recall.summary()
    assert found["thumbnails"] == min(capacity, count)
    assert found["instances"]["tap0"] <= capacity
    assert found["size_mb"] == size


def test_thumbnails_answer_by_their_mean_difference() -> None:
    recall = recall_of(("heads",), Memory(thumbnails=2), ExitThresholds(thumbnails=2.0))
    grey = np.full(192, 100, np.float32)
    recall.begin()
    assert recall.at_thumbnail(grey) is None
    assert recall.finish(one_hot(2), 2) == (NETWORK, -1)
    for difference, answered in [(2.0, True), (-2.0, True), (2.01, False)]:
        recall.begin()
        said = recall.at_thumbnail(grey + np.float32(difference))
        assert (said is not None) is answered
    recall.begin()
    said = recall.at_thumbnail(grey + 1)
    assert said is not None
    assert recall.finish(said, 2) == (THUMBNAILS, -1)
    assert recall.summary()["thumbnails"] == 1


def test_the_published_measure_by_hand() -> None:
    """Cosines 0.8, 0.6, 0: (0.8 - 0.6) / 0.6 = 1/3. At the next tap R = R / 2 + cosines."""
    fitted = [(2, 0), (0, 3), (0, 0)]
    centred = Memory(centres=Centres(update="none"))
    at_first = recall_of(("centres",), centred, ExitThresholds(centres=0.33), centres=fitted)
    at_first.begin()
    said = at_first.at_tap(vector(8, 6), None)
    assert said is not None
    assert at_first.finish(said, 0) == (CENTRES, 0)
    powers = np.exp([0.8, 0.6, 0.0])
    np.testing.assert_allclose(said, powers / powers.sum(), rtol=1e-5)
    # At the second tap: 0.4 + 0.6 = 1.0 and 0.3 + 0.8 = 1.1; (1.1 - 1.0) / 1.0 = 0.1.
    for level, answers in [(0.0999, True), (0.1001, False)]:
        both = recall_of(
            ("centres",), centred, ExitThresholds(centres=1e6), taps=2, centres=fitted
        )
        both.begin()
        assert both.at_tap(vector(8, 6), None) is None
        both.use(ExitThresholds(centres=level))
        assert (both.at_tap(vector(3, 4), None) is not None) is answers


def test_the_probability_of_centres_takes_the_prior() -> None:
    remembered = Memory(
        centres=Centres("probability", update="none"), prior=Prior(0.5, 0.5, weight=2.0)
    )
    recall = recall_of(
        ("centres",), remembered, ExitThresholds(), centres=[(1, 0), (0, 1), (-1, 0)]
    )
    learn(recall, vector(1, 0), 1)
    # Half of one answer, and a share of 0.5 for each class.
    prior = np.array([0.0, 0.5, 0.0]) + 0.5 / 3
    powers = np.exp([1.0, 0.0, -1.0]) * prior**2
    expected = powers / powers.sum()
    recall.use(ExitThresholds(centres=float(expected.max()) - 1e-4))
    recall.begin()
    said = recall.at_tap(vector(1, 0), None)
    assert said is not None
    np.testing.assert_allclose(said, expected, rtol=1e-4)
    recall.use(ExitThresholds(centres=float(expected.max()) + 1e-4))
    recall.begin()
    assert recall.at_tap(vector(1, 0), None) is None


def test_heads_and_final_answers_take_the_prior() -> None:
    remembered = Memory(prior=Prior(0.5, 1.0, weight=1.0, final=0.5))
    recall = recall_of(("heads",), remembered, ExitThresholds(heads=0.0))
    # The head says 0.5, 0.25, 0.25, of which the prior takes half; a third for each class beside.
    learn(recall, vector(1, 0), 0, np.log(np.array([2, 1, 1], np.float32)))
    prior = np.array([0.25, 0.125, 0.125]) + 1 / 3
    recall.begin()
    said = recall.at_tap(vector(1, 0), np.zeros(3, np.float32))
    assert said is not None
    np.testing.assert_allclose(said, prior / prior.sum(), rtol=1e-5)
    assert recall.finish(said.copy(), 0) == (HEADS, 0)
    prior = (np.array([0.25, 0.125, 0.125]) + prior / prior.sum()) / 2 + 1 / 3
    flat = np.full(3, 1 / 3, np.float32)
    root = np.sqrt(prior)
    np.testing.assert_allclose(recall.weighed(flat), root / root.sum(), rtol=1e-5)


def test_one_class_alike_among_none_says_nothing() -> None:
    """AC divides by the second best score, which must be one."""
    recall = recall_of(
        ("centres",),
        Memory(centres=Centres()),
        ExitThresholds(centres=0.0),
        centres=[(1, 0), (-1, 0), (0, -1)],
    )
    recall.begin()
    assert recall.at_tap(vector(3, 1), None) is None
    recall.begin()
    assert recall.at_tap(vector(3, -1), None) is not None


@pytest.mark.parametrize(
    ("update", "by_network", "by_tap"),
    [("none", 0, 0), ("exits", 0, 1), ("all", 1, 1)],
)
def test_running_centres(update: str, by_network: int, by_tap: int) -> None:
    """The mean of all members, the fitted centre being the first."""
    remembered = Memory(centres=Centres(update=update))
    recall = recall_of(
        ("centres",), remembered, ExitThresholds(), centres=[(4, 0), (1, 1), (-1, 0)]
    )
    learn(recall, vector(2, 2), 0)
    state = recall._taps[0]
    expected = [3, 1] if by_network else [4, 0]
    assert state.centres[0].tolist() == expected
    assert state.members.tolist() == [1 + by_network, 1, 1]
    np.testing.assert_allclose(state.norms[0], np.hypot(*expected), rtol=1e-6)
    recall.use(ExitThresholds(centres=0.0))
    assert learn(recall, vector(9, -3), 1) == (CENTRES, 0)
    total = np.array([4, 0]) + by_network * np.array([2, 2]) + by_tap * np.array([9, -3])
    np.testing.assert_allclose(state.centres[0], total / (1 + by_network + by_tap), rtol=1e-6)
    recall.reset()
    assert recall._taps[0].centres[0].tolist() == [4, 0]
    assert recall._taps[0].members.tolist() == [1, 1, 1]


def test_centres_of_many_members_move_little() -> None:
    remembered = Memory(centres=Centres(update="all"))
    made = arrays([(4, 0), (1, 1), (-1, 0)])._replace(members=vector(3, 0, 1))
    recall = Recall(remembered, [Tap("a", "", ("centres",))], [made], 3)
    recall.use(ExitThresholds())
    learn(recall, vector(8, 4), 0)
    learn(recall, vector(7, 7), 1)
    state = recall._taps[0]
    assert state.centres[0].tolist() == [5, 1]
    assert state.centres[1].tolist() == [7, 7], "a class without any takes the first one"
    assert state.members.tolist() == [4, 1, 1]


def test_hot_classes_by_hand() -> None:
    """frequency * 0.25^floor(frames since / window), chosen every window frames."""
    remembered = Memory(centres=Centres(window=4, hot_share=0.8))
    recall = recall_of(("centres",), remembered, ExitThresholds(), 5, centres=[(1, 0)] * 5)
    assert recall.summary()["hot_classes"] == [0, 1, 2, 3, 4]
    for answer in (3, 3, 1):
        learn(recall, vector(1, 0), answer)
    assert recall.summary()["hot_classes"] == [0, 1, 2, 3, 4], "not before the window is over"
    learn(recall, vector(1, 0), 3)
    # 3 of class 3, 1 of class 1: 3 has 0.75 of the score, which is not 0.8.
    assert recall.summary()["hot_classes"] == [1, 3]
    for answer in (2, 2, 2, 2):
        learn(recall, vector(1, 0), answer)
    # Class 2 has 4; class 3 was seen 4 frames before the last, so 3 / 4; class 1 5 before: 1 / 4.
    # 4 of 5 in all is 0.8 of the score, and two classes are kept at least.
    assert recall.summary()["hot_classes"] == [2, 3]
    recall.use(ExitThresholds(centres=0.0))
    recall.begin()
    said = recall.at_tap(vector(1, 0), None)
    assert said is not None
    assert np.flatnonzero(said).tolist() == [2, 3]


def test_changing_thresholds_forgets_nothing() -> None:
    recall = recall_of(("instances",), Memory(instances=4), ExitThresholds())
    learn(recall, vector(1, 0), 2)
    before = recall.snapshot()
    recall.use(ALWAYS)
    assert all((before[name] == array).all() for name, array in recall.snapshot().items())
    assert learn(recall, vector(1, 0), 0)[0] == INSTANCES


def test_a_head_alone_reads_no_vector() -> None:
    """Its segment may give a finer one, that its graph has read already."""
    recall = recall_of(("heads",), Memory(), ExitThresholds(heads=0.9))
    for unread in (vector(1, 2), vector(*range(8)), vector(np.nan)):
        recall.begin()
        said = recall.at_tap(unread, 9 * one_hot(1))
        assert said is not None and said.argmax() == 1
        assert recall.finish(said, 1) == (HEADS, 0)


def test_sizes_that_do_not_fit_are_told() -> None:
    recall = recall_of(("centres", "heads"), Memory(), ExitThresholds(), centres=[(1, 0)] * 3)
    recall.begin()
    with pytest.raises(InferenceError, match="a vector of 3 channels, its arrays are made for 2"):
        recall.at_tap(vector(1, 2, 3), one_hot(0))
    with pytest.raises(InferenceError, match="tells 5 classes apart, the plan 3"):
        recall.at_tap(vector(1, 2), one_hot(0, 5))


def test_no_label_enters() -> None:
    """Whatever a caller can hand over at run time is what the plan itself computed."""
    methods = ("begin", "at_thumbnail", "at_tap", "weighed", "finish")
    taken = {name for m in methods for name in inspect.signature(getattr(Recall, m)).parameters}
    own = {"self", "thumbnail", "vector", "logits", "tap", "probabilities", "said", "answer"}
    assert taken == own
    for module in (kernel, semantic):
        assert "truth" not in inspect.getsource(module)


def test_prior_and_summary_speak_of_answers() -> None:
    recall = full()
    found = recall.summary()
    assert found["frames"] == 40
    assert sum(found["prior"].values()) == pytest.approx(1, abs=1e-3)
    assert found["instances"]["a"] <= 4
    assert set(found) == {"frames", "thumbnails", "instances", "hot_classes", "prior", "size_mb"}
