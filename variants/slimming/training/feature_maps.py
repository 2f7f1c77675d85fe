"""Feature maps of a network at one tensor after another, upwards, without beginning anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trimtab.variants.files.base import first_line
from trimtab.variants.files.watchdog import step
from trimtab.variants.slimming.network.network import Network, between
from trimtab.variants.slimming.training.batches import FEWEST
from trimtab.variants.slimming.training.cache import TrainingImages
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx

Map = NDArray[np.float32]


class Activations:
    """Feature maps of some of the inputs at one tensor.

    Moving to a tensor that follows from the present one alone runs only what lies between, and
    frees each map as it is used; otherwise the images are fed again. Holds the maps of one tensor.
    """

    def __init__(self, inputs: TrainingImages) -> None:
        self._inputs = inputs
        self._tensor = ""
        self._maps: dict[int, Map] = {}

    def move(self, network: Network, tensor: str, indices: Sequence[int]) -> list[Map]:
        """float32 maps (C, H, W) of the inputs with these indices at a tensor of the network.

        The network may have changed since the last call, but not below the tensor of that call.
        Raises ModelError when onnxruntime refuses, or an input has not the network's shape.
        """
        wanted = set(indices)
        self._maps = {i: m for i, m in self._maps.items() if i in wanted}
        if self._tensor != tensor:
            self._advance(network, tensor)
        missing = wanted - self._maps.keys()
        if missing:
            run = _runner(network, network.image, tensor)
            for index, image in some(self._inputs, missing, network):
                self._maps[index] = run(image)
        self._tensor = tensor
        return [self._maps[index] for index in indices]

    def _advance(self, network: Network, tensor: str) -> None:
        try:
            run = _runner(network, self._tensor, tensor) if self._maps else None
        except ModelError:
            run = None
        held, self._maps = self._maps, {}
        if run is not None:
            for index in sorted(held):
                self._maps[index] = run(held.pop(index))


def count_inputs(inputs: TrainingImages) -> int:
    """How many there are. Raises ModelError where they are too few to learn from."""
    count = sum(1 for _ in inputs.feeds())
    if count < FEWEST:
        raise ModelError(
            f"a block needs at least {FEWEST} inputs to be learned, got {count}; give more in "
            "`fit`"
        )
    return count


def chosen(count: int, bytes_each: int, max_bytes: int, seed: int) -> list[int]:
    """Indices of a seeded sample of as many inputs as fit, in order; at least 8."""
    most = max(FEWEST, max_bytes // max(1, bytes_each))
    order = np.random.default_rng(seed).permutation(count)[:most]
    return sorted(int(index) for index in order)


def some(inputs: TrainingImages, wanted: set[int], network: Network) -> Iterator[tuple[int, Map]]:
    """The images with these indices, (C, H, W)."""
    shape = network.shapes[network.image]
    for index, image in enumerate(inputs.feeds()):
        if index in wanted:
            if image.shape != shape or image.dtype != np.float32:
                raise ModelError(
                    f"inputs must be float32 {shape}, got {image.dtype} {image.shape}"
                )
            yield index, image[0]


def _runner(network: Network, start: str, end: str) -> Callable[[Map], Map]:
    if start == end:
        return np.copy
    session = open_session(between(network, start, end))

    def run(x: Map) -> Map:
        step()
        made: Map = session.run(None, {"input": x[None]})[0][0]
        return made

    return run


def open_session(model: onnx.ModelProto) -> Any:
    """An onnxruntime session with all optimisations and threads, which does not spin beside torch.

    Raises ModelError when onnxruntime refuses the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own errors share no public base class
        raise ModelError(f"onnxruntime cannot load it ({first_line(error)})") from error


def run_all(session: Any, images: Iterable[Map]) -> Map:
    """float32 (n, ...) of images (C, H, W)."""
    made = []
    for image in images:
        step()
        made.append(session.run(None, {"input": image[None]})[0])
    return np.concatenate(made)
