"""What taps are equipped with: heads, centres and scales of `fit`, temperatures of `tune`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from trimtab.planner.techniques.exit_points.classifiers import (
    Calibration,
    Fitted,
    TrainingTargets,
    fit_tap_classifiers,
)
from trimtab.variants import TapPlace
from trimtab_runtime.definitions.exits import Memory, Tap
from trimtab_runtime.errors import ModelError
from trimtab_runtime.memory.semantic import fresh_tap_states, tap_models

Array = np.ndarray[Any, np.dtype[Any]]
CLASSES, WIDTHS, GRIDS, INPUTS = 5, (6, 9, 4), (1, 2, 3), 340
NAMES = ("a", "b", "c")
LABELS = np.random.default_rng(9).permutation(np.arange(INPUTS) % CLASSES)
# Any rows, in any order; the rest is test.
FIT, TUNE, REST = np.split(np.random.default_rng(8).permutation(INPUTS), [130, 240])


def features_of(labels: Array = LABELS, seed: int = 0) -> list[Array]:
    """Raw features (inputs, channels * cells) that tell classes apart, on scales of their own."""
    generator = np.random.default_rng(seed)
    found = []
    for width, grid in zip(WIDTHS, GRIDS, strict=True):
        means = generator.normal(0, 0.7, (CLASSES, width, 1))[labels]
        noise = generator.normal(0, grid, (len(labels), width, grid**2))
        scale = generator.uniform(0.01, 50, (width, 1))
        shift = generator.normal(0, 30, (width, 1))
        flat = ((means + noise) * scale + shift).reshape(len(labels), -1)
        found.append(flat.astype(np.float32))
    return found


def pooled(features: list[Array]) -> list[Array]:
    """Means over the cells of each channel (inputs, channels)."""
    return [
        np.stack([part.mean(1) for part in np.split(found.astype(float), width, axis=1)], axis=1)
        for found, width in zip(features, WIDTHS, strict=True)
    ]


def equipped(
    features: list[Array],
    with_heads: bool = True,
    classes: int = CLASSES,
    widths: tuple[int, ...] = WIDTHS,
    taught: Array = LABELS,
) -> Fitted:
    taps = [
        TapPlace(name, width, 0.5, grid)
        for name, width, grid in zip(NAMES, widths, GRIDS, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = TrainingTargets([found[FIT] for found in features], taught[FIT])
        tune = Calibration(TUNE, taught[TUNE])
        return fit_tap_classifiers(taps, features, fit, tune, classes, with_heads)


@pytest.fixture(scope="module")
def found() -> Fitted:
    return equipped(features_of())


def test_shapes(found: Fitted) -> None:
    tapped = found.tapped
    assert tapped.names == NAMES
    for equipment in (tapped.fitted, tapped.published):
        for arrays, vectors, width in zip(
            equipment.arrays, equipment.vectors, WIDTHS, strict=True
        ):
            assert vectors.shape == (INPUTS, width)
            shapes = [array.shape for array in arrays]
            assert shapes == [(width,), (width,), (CLASSES, width), (CLASSES,), (2,)]
            for array in (*arrays, vectors):
                assert array.dtype == np.float32 and np.isfinite(array).all()
            assert (arrays.temperature > 0).all()
    cells = [width * grid**2 for width, grid in zip(WIDTHS, GRIDS, strict=True)]
    for head, logits, width in zip(found.heads, tapped.logits, cells, strict=True):
        assert head is not None and head.weight.shape == (CLASSES, width)
        assert logits.shape == (INPUTS, CLASSES) and logits.dtype == np.float32


def test_vectors_are_standardised_on_fit(found: Fitted) -> None:
    for arrays, vectors, own in zip(
        found.tapped.fitted.arrays,
        found.tapped.fitted.vectors,
        pooled(features_of()),
        strict=True,
    ):
        np.testing.assert_allclose(vectors[FIT].mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(vectors[FIT].std(0), 1, rtol=1e-4)
        np.testing.assert_allclose(vectors, (own - arrays.mean) * arrays.scale, atol=1e-3)
        assert arrays.members.tolist() == np.bincount(LABELS[FIT]).tolist()
        for index in range(CLASSES):
            of_class = vectors[FIT][LABELS[FIT] == index]
            np.testing.assert_allclose(arrays.centres[index], of_class.mean(0), atol=1e-5)


def test_what_is_published_takes_vectors_as_they_are(found: Fitted) -> None:
    for arrays, vectors, own in zip(
        found.tapped.published.arrays,
        found.tapped.published.vectors,
        pooled(features_of()),
        strict=True,
    ):
        np.testing.assert_allclose(vectors, own, rtol=1e-5, atol=1e-4)
        assert (arrays.mean == 0).all() and (arrays.scale == 1).all()
        for index in range(CLASSES):
            centre = own[FIT][LABELS[FIT] == index].mean(0)
            np.testing.assert_allclose(arrays.centres[index], centre, rtol=1e-4, atol=1e-4)


def test_heads_answer_raw_features(found: Fitted) -> None:
    for head, logits, own in zip(found.heads, found.tapped.logits, features_of(), strict=True):
        assert head is not None
        np.testing.assert_allclose(logits, head.logits(own), rtol=1e-5, atol=1e-4)
        assert (logits[REST].argmax(1) == LABELS[REST]).mean() > 0.4, "inputs that it never saw"


def changed_on(rows: Array) -> list[Array]:
    changed = features_of()
    for features in changed:
        features[rows] *= 1.5
    return changed


def learned(found: Fitted) -> list[Any]:
    """All that is fitted, as lists."""
    arrays = [*found.tapped.fitted.arrays, *found.tapped.published.arrays]
    heads = [part for head in found.heads if head for part in (head.weight, head.bias)]
    return [array.tolist() for array in [*heads, *(a for tap in arrays for a in tap)]]


def test_nothing_is_learned_from_test(found: Fitted) -> None:
    assert learned(equipped(changed_on(REST))) == learned(found)


def test_only_temperatures_are_learned_from_tune(found: Fitted) -> None:
    before, after = learned(found), learned(equipped(changed_on(TUNE)))
    same = [one == other for one, other in zip(before, after, strict=True)]
    assert [not flag for flag in same] == [len(one) == 2 for one in before]
    assert learned(equipped(changed_on(FIT)))[0] != before[0]


def test_temperatures_have_the_least_log_loss_on_tune(found: Fitted) -> None:
    """To three digits; of centres, R_l = R_{l-1} / 2 + cosine, over all taps so far."""

    def loss(scores: Array, temperature: float) -> float:
        scaled = scores / temperature
        scaled -= scaled.max(1, keepdims=True)
        logs = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
        return float(-logs[np.arange(len(TUNE)), LABELS[TUNE]].mean())

    def is_best(scores: Array, temperature: float) -> bool:
        below, own, above = (loss(scores, temperature * factor) for factor in (0.95, 1.0, 1.05))
        return own < min(below, above)

    for equipment in (found.tapped.fitted, found.tapped.published):
        scores: Any = 0.0
        for arrays, vectors, logits in zip(
            equipment.arrays, equipment.vectors, found.tapped.logits, strict=True
        ):
            own = vectors[TUNE].astype(float)
            cosines = own @ arrays.centres.T / np.linalg.norm(own, axis=1, keepdims=True)
            scores = scores / 2 + cosines / np.linalg.norm(arrays.centres, axis=1)
            assert is_best(logits[TUNE].astype(float), float(arrays.temperature[0]))
            assert is_best(scores, float(arrays.temperature[1]))


def test_without_heads_there_are_centres_only() -> None:
    found = equipped(features_of(), with_heads=False)
    assert found.heads == (None, None, None)
    assert {logits.shape for logits in found.tapped.logits} == {(INPUTS, 0)}
    places = found.places([(0, ("centres",)), (2, ("instances", "centres"))], False)
    assert [(place.name, place.kinds, place.head) for place in places] == [
        ("a", ("centres",), None),
        ("c", ("instances", "centres"), None),
    ]


def test_places_hold_what_a_plan_needs_there(found: Fitted) -> None:
    own, other = found.places([(1, ("heads",)), (2, ("centres",))], False)
    assert own.head is found.heads[1] and other.head is None
    assert own.arrays is found.tapped.fitted.arrays[1]
    (published,) = found.places([(2, ("centres",))], True)
    assert published.arrays is found.tapped.published.arrays[2]
    assert (own.grid, other.grid) == (GRIDS[1], 1), "a head alone reads the grid"


# ---- images that lack something ----------------------------------------------------------------


def test_a_class_without_images_has_no_centre_and_never_wins_by_its_head() -> None:
    found = equipped(features_of(), classes=CLASSES + 1)
    for equipment in (found.tapped.fitted, found.tapped.published):
        for arrays in equipment.arrays:
            assert (arrays.centres[CLASSES] == 0).all()
            assert arrays.centres[:CLASSES].any(axis=1).all()
            assert np.isfinite(arrays.temperature).all()
    for logits in found.tapped.logits:
        assert logits.shape == (INPUTS, CLASSES + 1)
        assert CLASSES not in logits.argmax(1)
    fitted = found.tapped.fitted.arrays[:1]
    models = tap_models([Tap("a", "", ("centres",))], fitted)
    (state,) = fresh_tap_states(Memory(), models, fitted, CLASSES + 1)
    assert np.isfinite(state.norms).all() and (state.norms > 0).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 100.0, 1e-12, 3e4])
def test_a_channel_that_never_varies_says_nothing(value: float) -> None:
    """Not even where it does vary on inputs that were not seen: it would drown all others."""
    constant = features_of()
    constant[0] = np.insert(constant[0], 2, np.float32(value), axis=1)
    constant[0][REST, 2] = value + 0.5
    before = equipped(features_of()).tapped.fitted
    after = equipped(constant, widths=(7, *WIDTHS[1:])).tapped.fitted
    vectors, arrays = after.vectors[0], after.arrays[0]
    assert (vectors[:, 2] == 0).all()
    np.testing.assert_allclose(np.delete(vectors, 2, axis=1), before.vectors[0], atol=1e-5)
    centres = np.delete(arrays.centres, 2, axis=1)
    np.testing.assert_allclose(centres, before.arrays[0].centres, atol=1e-5)
    assert arrays.temperature[1] == pytest.approx(before.arrays[0].temperature[1], rel=1e-3)


@pytest.mark.parametrize("value", [0.1, 100.3, 30000.1])
def test_a_sum_over_thousands_of_inputs_does_not_make_a_constant_vary(value: float) -> None:
    generator = np.random.default_rng(0)
    labels, rows = np.arange(6000) % 2, np.arange(6000)
    features = np.stack([generator.normal(labels, 1), np.full(6000, value)], axis=1)
    taps = [TapPlace("a", 2, 0.5)]
    fit, tune = rows[:5000], rows[5000:]
    raw = features.astype(np.float32)
    taught, calibration = TrainingTargets([raw[fit]], labels[fit]), Calibration(tune, labels[tune])
    found = fit_tap_classifiers(taps, [raw], taught, calibration, 2, False)
    (vectors,) = found.tapped.fitted.vectors
    assert (vectors[:, 1] == 0).all()
    np.testing.assert_allclose(vectors[fit, 0].std(), 1, rtol=1e-3)


def test_heads_that_are_always_right_stay_within_bounds() -> None:
    apart = features_of()
    for features in apart:
        features[:] = 0
        features[np.arange(INPUTS), LABELS % features.shape[1]] = 1
    temperatures = [a.temperature for a in equipped(apart).tapped.fitted.arrays]
    assert all(np.exp(-3) * 0.99 <= temperature[0] for temperature in temperatures)


def test_a_tap_that_says_nothing_at_all_stays_finite() -> None:
    dead = features_of()
    dead[0][:] = 0.25
    found = equipped(dead)
    for equipment in (found.tapped.fitted, found.tapped.published):
        assert all(np.isfinite(array).all() for arrays in equipment.arrays for array in arrays)
    assert (found.tapped.fitted.vectors[0] == 0).all()
    assert np.isfinite(found.tapped.logits[0]).all()
    assert len(set(found.tapped.logits[0].argmax(1).tolist())) == 1, "it always says the same"
    assert (found.tapped.logits[1].argmax(1)[REST] == LABELS[REST]).mean() > 0.4


def test_fit_images_of_one_class_teach_no_head() -> None:
    taught = LABELS.copy()
    taught[FIT] = 3
    with pytest.raises(ModelError, match="examples of two classes"):
        equipped(features_of(), taught=taught)
    found = equipped(features_of(), with_heads=False, taught=taught)
    assert all(np.isfinite(arrays.temperature).all() for arrays in found.tapped.fitted.arrays)
