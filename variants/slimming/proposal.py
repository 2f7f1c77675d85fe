"""Proposals: which region of a network could be replaced by which cheaper block."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from trimtab_runtime.errors import ModelError
from variants.slimming.network import Network, Region

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
"""Finds what it applies to in a network; a rule that applies nowhere gives nothing."""


def propose(network: Network, rules: Sequence[str] | None = None) -> list[Proposal]:
    """What the rules named (all without) propose, in network order: by where a region begins,
    then by where it ends, then in the order of `rules`. Regions may overlap; no two proposals
    have the same key.

    Raises ModelError for a rule that does not exist.
    """
    from variants.slimming.rules import RULES

    chosen = tuple(RULES) if rules is None else tuple(rules)
    unknown = [name for name in chosen if name not in RULES]
    if unknown:
        raise ModelError(f"no slimming rule {unknown[0]!r}; there are {', '.join(RULES)}")
    found = {p.key: p for name in chosen for p in RULES[name](network)}
    places = {network.image: -1}
    for index, node in enumerate(network.model.graph.node):
        places |= {name: index for name in node.output}
    return sorted(found.values(), key=lambda p: (places[p.region.start], places[p.region.end]))
