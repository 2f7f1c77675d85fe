"""Blocks that quantisation hurts, and what stays float for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_models import INPUT, make_net, texture_images, uneven, write_onnx

from trimtab.variants import (
    SCHEMES,
    NothingToGain,
    block_errors_alone,
    derive_variant,
    inspect_model,
    make_variant,
    quantise_w8a8,
)
from trimtab.variants.quantisation.mixed import MixedRecipe, kept_float, quantise_mixed
from trimtab.variants.quantisation.sensitivity import Block, BlockError, answer_error, blocks_of
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine
from trimtab_runtime.images.preprocess import Preprocessor


@pytest.fixture(scope="module")
def images() -> list[Any]:
    return list(texture_images(24, seed=11)[0])


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Variant]:
    """A network of which w8a8 leaves nothing."""
    path = write_onnx(tmp_path_factory.mktemp("hard") / "net.onnx", net=uneven(make_net()))
    return path, make_variant(path, inspect_model(path), INPUT, {}, "hard")


def top1(path: Path, variant: Variant) -> float:
    pixels, labels = texture_images(60, seed=3)
    engine = create_engine(str(path), variant, RuntimeOptions("onnxruntime"))
    found = [engine.run(Preprocessor(i).tensor(variant.input)).argmax() for i in pixels]
    return float((np.array(found) == labels).mean())


def test_what_w8a8_loses_is_back(hard, images, tmp_path):
    source, variant = hard
    whole, mixed = tmp_path / "whole.onnx", tmp_path / "mixed.onnx"
    quantise_w8a8(source, variant, images, whole)
    told = quantise_mixed(source, variant, images, mixed)
    as_float = top1(source, variant)
    assert top1(whole, derive_variant(whole, variant, "w")) < as_float - 0.2
    assert top1(mixed, derive_variant(mixed, variant, "m")) > as_float - 0.05
    assert told["agreement"] > told["w8a8_agreement"]
    assert told["error"] <= MixedRecipe().bound(told["w8a8_error"]) < told["w8a8_error"]
    assert len(told["float_blocks"]) == 2, "on both sides of the uneven tensor"


def test_the_blocks_at_fault_have_the_largest_errors(hard, images):
    source, variant = hard
    errors = [each.error for each in block_errors_alone(source, variant, images)]
    assert len(errors) == 3
    assert min(errors[:2]) > 20 * errors[2]


def test_where_w8a8_is_good_enough_there_is_no_mixed_variant(images, tmp_path):
    source = write_onnx(tmp_path / "net.onnx")
    variant = make_variant(source, inspect_model(source), INPUT, {}, "net")
    with pytest.raises(NothingToGain, match="w8a8 keeps the answers already"):
        quantise_mixed(source, variant, images, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_where_all_must_stay_float_there_is_none_either(hard, images, tmp_path):
    with pytest.raises(NothingToGain, match="nearly every block"):
        quantise_mixed(*hard, images, tmp_path / "out.onnx", MixedRecipe(least=1e-9, most=1e-9))


def test_every_node_is_of_one_block(hard):
    blocks = blocks_of(hard[0], 2)
    assert len(blocks) == 2
    names = [name for block in blocks for name in block.nodes]
    assert len(names) == len(set(names)) == 7
    assert sum(block.multiply_accumulates for block in blocks) > 0


def scored(*pairs: tuple[float, int]) -> list[BlockError]:
    return [BlockError(Block((f"n{i}",), work), error) for i, (error, work) in enumerate(pairs)]


def test_the_cheapest_blocks_stay_float():
    found = kept_float(scored((0.5, 100), (0.3, 10), (0.3, 10), (0.01, 1)), 0.55)
    assert [each.block.nodes[0] for each in found] == ["n1", "n2"]
    assert kept_float(scored((0.1, 5), (0.1, 5)), 0.2) == []


def test_a_shift_of_all_scores_is_no_error():
    right = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    assert answer_error(right + 3, right) < 1e-6
    assert answer_error(-right, right) == pytest.approx(4, rel=1e-3)


def test_schemes_for_wide_sums_are_for_devices_that_have_them():
    full = SCHEMES["w8a8-full"]
    assert full.runs_on("avx avx2 avx512_vnni") and full.runs_on("neon asimddp")
    assert not full.runs_on("avx avx2") and SCHEMES["w8a8"].runs_on("")
