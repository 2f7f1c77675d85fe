"""What an operator of ONNX is made a torch function from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx
import torch
from numpy.typing import NDArray

from trimtab_runtime.errors import ModelError

Function = Callable[..., torch.Tensor]
"""Takes the inputs of a node that were not read as constants, in their order."""
Reader = Callable[[Any], torch.Tensor]
"""Reads a constant back from the function that was made of it."""


@dataclass
class Node:
    """One node of a graph, for the function that makes it run in torch.

    `attributes` by name; `constants` are the graph's initialisers, `shapes` those of all tensors
    as the file has them, with one image. What :meth:`read` took is not passed to the function; a
    constant that was not read is passed as a tensor, learnable unless it is a single number.
    """

    proto: onnx.NodeProto
    constants: Mapping[str, NDArray[Any]]
    shapes: Mapping[str, tuple[int, ...]]
    read_inputs: set[int] = field(default_factory=set)
    readers: dict[str, Reader] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.attributes: dict[str, Any] = {}
        for attribute in self.proto.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            self.attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value

    def get(self, name: str, default: Any) -> Any:
        """An attribute, or what stands for it where it is not set."""
        return self.attributes.get(name, default)

    def name_of(self, index: int) -> str:
        """Name of an input; '' where it is left out."""
        return str(self.proto.input[index]) if index < len(self.proto.input) else ""

    def is_constant(self, index: int) -> bool:
        return self.name_of(index) in self.constants

    def read(self, index: int, reader: Reader | None = None) -> NDArray[Any] | None:
        """An input that must be constant; None where it is left out.

        `reader` finds it, in the constant's own shape, in the function that was made, after
        learning. Raises ModelError when it is computed.
        """
        name = self.name_of(index)
        self.read_inputs.add(index)
        if not name:
            return None
        if name not in self.constants:
            raise ModelError(f"{self}: its input {name!r} is computed, not constant")
        if reader is not None:
            self.readers[name] = reader
        return self.constants[name]

    def numbers(self, index: int, attribute: str) -> list[int] | None:
        """Integers that older operator sets keep in an attribute and newer ones in an input."""
        if attribute in self.attributes:
            return list(self.attributes[attribute])
        values = self.read(index)
        return None if values is None else [int(v) for v in values.reshape(-1)]

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """Shape of an input. Raises ModelError where it is not known."""
        return self._known(self.name_of(index))

    def made_shape(self) -> tuple[int, ...]:
        """Shape of the first output. Raises ModelError where it is not known."""
        return self._known(self.proto.output[0])

    def axis(self, value: int, rank: int | None = None) -> int:
        """An axis counted from the front. Raises ModelError for the images' own axis."""
        rank = len(self.shape()) if rank is None else rank
        axis = value + rank if value < 0 else value
        if axis == 0:
            raise ModelError(f"{self}: works along the axis of the images")
        return axis

    def refuse(self, reason: str) -> ModelError:
        """The error that says why this node cannot run."""
        return ModelError(f"{self}: {reason}")

    def _known(self, name: str) -> tuple[int, ...]:
        if name not in self.shapes:
            raise self.refuse(f"the shape of {name!r} is not known")
        return self.shapes[name]

    def __str__(self) -> str:
        return f"{self.proto.op_type} {self.proto.output[0]!r}"
