"""Scores of blocks are kept one by one, and never made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sample_models import INPUT, make_net, texture_images, uneven, write_onnx

from trimtab.db import Store
from trimtab.planner.cache.scores import ScoreCache
from trimtab.variants import (
    block_errors_in_subprocess,
    inspect_model,
    make_variant,
    quantise_in_subprocess,
)
from trimtab.workloads import Item


class Interrupted(Exception):
    """What a kill is to a step."""


class Counting:
    """A cache of scores that counts those it is to keep, and is interrupted after some."""

    def __init__(self, cache: ScoreCache, most: int = 99) -> None:
        self.cache, self.most, self.kept = cache, most, 0

    def __call__(self, asked: dict[str, Any]) -> Any:
        found = self.cache(asked)
        self.kept += "score" in asked
        if self.kept >= self.most:
            raise Interrupted
        return found


def test_a_kill_loses_no_score_that_was_made(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / "net.onnx", net=uneven(make_net()))
    variant = make_variant(source, inspect_model(source), INPUT, {}, "net")
    images = []
    for number, pixels in enumerate(texture_images(12, seed=2)[0]):
        images.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(images[-1])
    items = [Item(path, path.name, None, None, path.stem, 1) for path in images]
    with Store.open(tmp_path / "trimtab.db") as store:
        cache = ScoreCache(store, variant, "net", items)
        with pytest.raises(Interrupted):
            block_errors_in_subprocess(source, variant, images, scores=Counting(cache, 2))
        rest, again = Counting(cache), Counting(cache)
        found = block_errors_in_subprocess(source, variant, images, scores=rest)
        assert rest.kept == 1 and len(found) == 3  # of three blocks
        # Another step over the same blocks finds them all, and says the same.
        out = tmp_path / "mixed.onnx"
        told = quantise_in_subprocess("w8a8-mixed", source, variant, images, out, scores=again)
        assert again.kept == 0
        errors = {each.block.label: each.error for each in found}
        assert told["float_blocks"].items() <= errors.items()
        # Other images are another matter.
        fewer = Counting(ScoreCache(store, variant, "net", items[:6]))
        block_errors_in_subprocess(source, variant, images[:6], scores=fewer)
        assert fewer.kept == 3
