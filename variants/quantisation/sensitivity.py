"""What quantising each part of a network alone does to its answers, without labels."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trimtab.variants.files import watchdog
from trimtab.variants.files.base import Array, first_line
from trimtab.variants.files.dataflow import multiply_accumulates, read_flow, tensor_shapes
from trimtab.variants.files.writing import write_model
from trimtab.variants.quantisation.static import QuantisationRecipe, StaticQuantiser
from trimtab.variants.quantisation.suitability import QUANTISED_LAYERS
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx

Floats = NDArray[np.float32]

#: Blocks of a network that are told apart at most, and images that they are scored on.
BLOCKS, SHOWN = 24, 48


@dataclass(frozen=True)
class Block:
    """Neighbouring nodes of a graph, by name, with the multiply-accumulates of one image."""

    nodes: tuple[str, ...]
    multiply_accumulates: int

    @property
    def label(self) -> str:
        """Its first and last layer."""
        first, last = self.nodes[0], self.nodes[-1]
        return first if first == last else f"{first} to {last}"


@dataclass(frozen=True)
class BlockError:
    """A block, and the error of the answers when it alone is quantised (:func:`answer_error`)."""

    block: Block
    error: float


class Scores:
    """What is known already of blocks that were quantised alone, and where it is kept. These know
    nothing, and keep nothing."""

    def known(self, block: Block, recipe: QuantisationRecipe, images: int) -> Score | None:
        """The score of a block, quantised by a recipe, on the first `images`; None: not known."""
        return None

    def keep(self, block: Block, recipe: QuantisationRecipe, images: int, score: Score) -> None:
        """Keep it."""


@dataclass(frozen=True)
class Score:
    """The `error` of a block (:func:`answer_error`); None where nothing of it can be quantised."""

    error: float | None


def blocks_of(plain: Path, most: int) -> list[Block]:
    """The nodes of a plain float graph in at most `most` blocks of as many layers (Conv, Gemm,
    MatMul) each, in their order; what follows a layer belongs to it."""
    flow = read_flow(plain)
    shapes = tensor_shapes(flow, None)
    nodes = list(flow.nodes)
    starts = [i for i, node in enumerate(nodes) if node.op_type in QUANTISED_LAYERS]
    bounds = [starts[len(starts) * k // most] for k in range(most)] if starts else []
    bounds = sorted({0, *bounds[1:]})
    found = []
    for start, end in zip(bounds, [*bounds[1:], len(nodes)], strict=True):
        part = nodes[start:end]
        work = sum(multiply_accumulates(node, shapes) or 0 for node in part)
        found.append(Block(tuple(node.name for node in part), work))
    return found


def answers(model: onnx.ModelProto | Path, images: Sequence[Array]) -> Floats:
    """The scores (n, classes) of a graph with one input and one output on `images`, tensors of
    its own shape. Raises ModelError where onnxruntime cannot run it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    try:
        session = onnxruntime.InferenceSession(source, options, ["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        found = []
        for image in images:
            watchdog.step()
            found.append(session.run(None, {given.name: image})[0].reshape(-1))
    except Exception as error:  # onnxruntime's errors share no public base class
        raise ModelError(f"onnxruntime cannot run it ({first_line(error)})") from error
    return np.stack(found).astype(np.float32)


def answer_error(found: Floats, right: Floats) -> float:
    """The mean square of how far scores (n, classes) are off, as a share of the variance of the
    right ones; a shift of all scores of an image does not count."""
    off = found - right
    off = off - off.mean(1, keepdims=True)
    spread = right - right.mean(1, keepdims=True)
    return float(np.square(off).mean() / max(float(np.square(spread).mean()), 1e-12))


def agreement(found: Floats, right: Floats) -> float:
    """The share of images of which the highest score is that of the same class."""
    return float((found.argmax(1) == right.argmax(1)).mean())


def block_errors(
    quantiser: StaticQuantiser,
    blocks: Sequence[Block],
    images: Sequence[Array],
    right: Floats,
    scores: Scores,
) -> list[BlockError]:
    """The error of every block that can be quantised alone, in order; each is kept in `scores`
    before the next is looked at."""
    found = []
    for block in blocks:
        score = scores.known(block, quantiser.recipe, len(images))
        if score is None:
            score = _score(quantiser, block, blocks, images, right)
            scores.keep(block, quantiser.recipe, len(images), score)
        if score.error is not None:
            found.append(BlockError(block, score.error))
    return found


def _score(
    quantiser: StaticQuantiser,
    block: Block,
    blocks: Sequence[Block],
    images: Sequence[Array],
    right: Floats,
) -> Score:
    others = [name for other in blocks if other is not block for name in other.nodes]
    watchdog.step()
    try:
        model = quantiser.quantised(others)
    except ModelError:  # nothing of this block can be quantised
        return Score(None)
    return Score(answer_error(answers(model, images), right))


def block_errors_alone(
    source: Path,
    variant: Variant,
    images: Sequence[Path | str | Array],
    recipe: QuantisationRecipe | None = None,
    blocks: int = BLOCKS,
    scores: Scores | None = None,
) -> list[BlockError]:
    """The error of each of at most `blocks` blocks of the float ONNX file `source` when it alone
    is quantised, on the first :data:`SHOWN` of the images it is calibrated on. Raises what
    :class:`StaticQuantiser` raises."""
    with StaticQuantiser(source, variant, images, recipe or QuantisationRecipe()) as quantiser:
        shown = list(islice(quantiser.tensors(), SHOWN))
        right = answers(quantiser.plain, shown)
        parts = blocks_of(quantiser.plain, blocks)
        return block_errors(quantiser, parts, shown, right, scores or Scores())


@dataclass(frozen=True)
class Int8Blocks:
    """A network before and after w8a8, both made plain: names of the files, its `blocks`, the
    error of each when it alone is quantised (None: nothing of it can be), and of all of it
    together, on so many `images`."""

    plain: str
    quantised: str
    blocks: tuple[Block, ...]
    errors: tuple[float | None, ...]
    error: float
    agreement: float
    images: int


def int8_blocks(
    source: Path,
    variant: Variant,
    images: Sequence[Path | str | Array],
    folder: Path,
    scores: Scores | None = None,
) -> Int8Blocks:
    """What w8a8 does to the float ONNX file `source`; both files are written into `folder`. Raises
    what :class:`StaticQuantiser` raises."""
    with StaticQuantiser(source, variant, images, QuantisationRecipe()) as quantiser:
        shown = list(islice(quantiser.tensors(), SHOWN))
        right = answers(quantiser.plain, shown)
        model = quantiser.quantised()
        whole = answers(model, shown)
        parts = blocks_of(quantiser.plain, BLOCKS)
        scored = block_errors(quantiser, parts, shown, right, scores or Scores())
        write_model(model, folder / "int8.onnx")
        shutil.copyfile(quantiser.plain, folder / "float.onnx")
    errors = {each.block: each.error for each in scored}
    return Int8Blocks(
        plain="float.onnx",
        quantised="int8.onnx",
        blocks=tuple(parts),
        errors=tuple(errors.get(block) for block in parts),
        error=answer_error(whole, right),
        agreement=agreement(whole, right),
        images=len(shown),
    )
