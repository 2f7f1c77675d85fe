"""Making routers and scorers: the published router, and any estimator that converts.

Whatever is made is one ONNX file with the interface of trimtab_runtime.definitions.routers,
trained on `fit` only, and never a pickle.
"""

from trimtab.variants.routers.chain import chain_file
from trimtab.variants.routers.deferral import answer_features, margin_file, scorer_file
from trimtab.variants.routers.features import eliminated, published_features, uncorrelated
from trimtab.variants.routers.inclusion import THETA, included
from trimtab.variants.routers.learned import (
    ESTIMATORS,
    best_estimator,
    fit_stages,
    learned_file,
    predicted,
    reduced,
)
from trimtab.variants.routers.tiny import TINY_INPUT, TinyNetwork, learn_filters
from trimtab.variants.routers.to_onnx import Graph, Runner, router_file

__all__ = [
    "ESTIMATORS",
    "THETA",
    "TINY_INPUT",
    "Graph",
    "Runner",
    "TinyNetwork",
    "answer_features",
    "best_estimator",
    "chain_file",
    "eliminated",
    "fit_stages",
    "included",
    "learn_filters",
    "learned_file",
    "margin_file",
    "predicted",
    "published_features",
    "reduced",
    "router_file",
    "scorer_file",
    "uncorrelated",
]
