"""Proposals: which region of a network could be replaced by which cheaper block."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from trimtab.variants.slimming.network.network import Network, Region

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, eq=False)
class Proposal:
    """A cheaper block for a region, not yet learned.

    `block` has the input `input`, shaped like `region.start`, and the output `output`, shaped
    like `region.end`, float32, for one image, with initial weights; its opset is the network's.
    `note` is for people: what is there, an arrow, what would take its place; activations are not
    named in it.
    """

    rule: str
    region: Region
    block: onnx.ModelProto
    note: str

    @cached_property
    def key(self) -> str:
        """sha256 (hexadecimal) over the rule, the region and the block with its weights."""
        said = json.dumps([self.rule, self.region.start, self.region.end])
        content = self.block.SerializeToString(deterministic=True)
        return hashlib.sha256(said.encode() + b"\0" + content).hexdigest()


Rule = Callable[[Network], Iterable[Proposal]]
