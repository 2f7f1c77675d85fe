"""Routers and scorers as ONNX files, against scikit-learn and against plain loops."""

import numpy as np
import onnx
import pytest
from scipy.special import softmax
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from trimtab.variants.routers import (
    ESTIMATORS,
    TINY_INPUT,
    Runner,
    answer_features,
    best_estimator,
    chain_file,
    fit_stages,
    learn_filters,
    learned_file,
    margin_file,
    predicted,
    reduced,
    scorer_file,
)
from trimtab_runtime.errors import ModelError
from trimtab_runtime.images.preprocess import Preprocessor


@pytest.fixture(scope="module")
def lessons():
    """Features (160, 4), and who is right there: the first stage where the first feature is
    large, the second nearly always."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(160, 4)) * [1.0, 10.0, 0.1, 1.0]
    likely = 1 / (1 + np.exp(-3 * features[:, 0]))
    worth = np.stack([likely, np.full(160, 0.9)], axis=1)
    return features, worth


def chain_by_hand(known, correct, order, default, row):
    low, high = known.min(0), known.max(0)
    near = np.argsort((((known - row) / (high - low)) ** 2).sum(1))[:5]
    for stage in order:
        if stage != default and correct[near, stage].sum() >= 3:
            return stage
    return default


def test_a_chain_asks_one_model_after_the_other():
    rng = np.random.default_rng(4)
    known = rng.normal(size=(80, 3)) * [1.0, 50.0, 0.01]
    correct = np.stack([known[:, 0] > 0.5, known[:, 1] > 0, np.ones(80)], axis=1).astype(bool)
    for order, default in (((1, 0), 2), ((0, 1, 2), 2), ((2, 0), 1)):
        run = Runner(chain_file(known, correct, order, default))
        rows = rng.normal(size=(60, 3)) * [1.0, 50.0, 0.01]
        said = run(rows)
        assert said.shape == (60, 3)
        assert set(np.unique(said)) <= {0.0, 1.0}
        wanted = [chain_by_hand(known, correct, order, default, row) for row in rows]
        assert said.argmax(1).tolist() == wanted
        assert (said.sum(1) == 1).all()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_learned_routers_score_as_scikit_learn_does(name, lessons):
    features, worth = lessons
    models = fit_stages(ESTIMATORS[name](), features, worth)
    found = Runner(learned_file(models, features))(features)
    assert found.shape == worth.shape
    close = np.abs(found - predicted(models, features)).max(1) < 1e-3
    assert close.mean() >= 0.98
    assert np.corrcoef(found[:, 0], worth[:, 0])[0, 1] > 0.8


@pytest.mark.parametrize(
    "estimator",
    [
        GradientBoostingClassifier(n_estimators=8, random_state=0),
        make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=3000, random_state=0)),
        make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=3)),
        KNeighborsClassifier(7),
        GaussianNB(),
    ],
    ids=lambda estimator: list(getattr(estimator, "named_steps", [type(estimator).__name__]))[-1],
)
def test_any_classifier_that_converts_may_route(estimator, lessons):
    features, worth = lessons
    models = fit_stages(estimator, features, worth)
    found = Runner(learned_file(models, features))(features)
    assert found.shape == worth.shape
    assert found[worth[:, 0] > 0.9, 0].mean() > found[worth[:, 0] < 0.1, 0].mean() + 0.3


def test_what_does_not_convert_is_named(lessons):
    features, worth = lessons

    class Unknown(GaussianNB):
        pass

    models = fit_stages(Unknown(), features, worth)
    with pytest.raises(ModelError, match="Unknown does not convert to ONNX"):
        learned_file(models, features)


def test_a_wide_vector_is_reduced_and_the_best_estimator_found():
    rng = np.random.default_rng(5)
    features = rng.normal(size=(150, 200))
    features[:, :50] += 3 * rng.normal(size=(150, 1))
    hidden = features[:, :50].mean(1)
    worth = np.clip(0.5 + 0.2 * hidden, 0, 1)[:, None]
    name, estimator, skill = best_estimator(features, worth, ("ridge", "forest"))
    assert name == "ridge"
    assert skill > 0.5
    assert "pca" in estimator.named_steps
    narrow = ESTIMATORS["ridge"]()
    assert reduced(narrow, 10, 150) is narrow
    file = learned_file(fit_stages(estimator, features, worth), features)
    assert np.corrcoef(Runner(file)(features)[:, 0], worth[:, 0])[0, 1] > 0.7


def test_what_tells_nothing_has_no_skill():
    rng = np.random.default_rng(6)
    _, _, skill = best_estimator(rng.normal(size=(200, 5)), rng.random((200, 2)))
    assert skill < 0.05


def answers(count, classes, seed):
    rng = np.random.default_rng(seed)
    return softmax(rng.normal(0, 3, (count, classes)), axis=1).astype(np.float32)


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_a_scorer_reads_the_whole_answer(classes):
    told = answers(200, classes, 7)
    top = -np.sort(-told, axis=1)
    worth = np.clip(top[:, 0] - top[:, 1], 0, 1).astype(float)[:, None]
    models = fit_stages(ESTIMATORS["ridge"](), answer_features(told), worth)
    run = Runner(scorer_file(models, told))
    found = run(answers(50, classes, 8))
    assert found.shape == (50, 1)
    assert ((found >= 0) & (found <= 1)).all()
    assert np.corrcoef(run(told)[:, 0], worth[:, 0])[0, 1] > 0.9


def test_a_scorer_stands_certain_answers():
    models = fit_stages(
        ESTIMATORS["ridge"](), answer_features(answers(100, 5, 9)), np.full((100, 1), 0.5)
    )
    certain = np.eye(5, dtype=np.float32)
    assert np.isfinite(Runner(scorer_file(models, answers(100, 5, 9)))(certain)).all()


@pytest.mark.parametrize("classes", [2, 10])
def test_the_margin_is_the_lead_of_the_first(classes):
    told = answers(30, classes, 10)
    top = np.sort(told, axis=1)
    assert Runner(margin_file(classes))(told)[:, 0] == pytest.approx(top[:, -1] - top[:, -2])
    with pytest.raises(ValueError, match="classes >= 2 must hold"):
        margin_file(1)


def test_a_tiny_network_routes_by_what_it_sees():
    rng = np.random.default_rng(11)
    flat = np.arange(60) % 2 == 0
    images = rng.integers(0, 255, (60, 64, 64, 3), dtype=np.uint8)
    images[flat] = 128
    tensors = np.concatenate([Preprocessor(image).tensor(TINY_INPUT) for image in images])
    network = learn_filters(tensors)
    features = network.features(tensors).astype(float)
    assert features.shape[0] == 60
    worth = np.stack([flat, ~flat], axis=1).astype(float)
    file = network.router_file(fit_stages(ESTIMATORS["ridge"](), features, worth), tensors)
    assert (Runner(file)(tensors).argmax(1) == ~flat).all()
    assert onnx.load_from_string(file).graph.input[0].type.tensor_type.shape.dim[2].dim_value == 48


def test_files_have_the_interface_of_the_runtime(lessons):
    features, worth = lessons
    file = learned_file(fit_stages(ESTIMATORS["logistic"](), features, worth), features)
    model = onnx.load_from_string(file)
    assert [i.name for i in model.graph.input] == ["features"]
    assert [o.name for o in model.graph.output] == ["scores"]
    opsets = {o.domain: o.version for o in model.opset_import}
    assert set(opsets) == {"", "ai.onnx.ml"}
    assert opsets[""] == 17
    assert opsets["ai.onnx.ml"] <= 3
    assert model.ir_version == 8
