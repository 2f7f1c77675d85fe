"""The rules that propose cheaper blocks. A new one is a function beside these, named below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trimtab.variants.files.watchdog import step
from trimtab.variants.slimming.network.network import Network
from trimtab.variants.slimming.proposal import Proposal, Rule
from trimtab.variants.slimming.rules.branch import branch
from trimtab.variants.slimming.rules.lrn import lrn
from trimtab.variants.slimming.rules.normalisation import normalisation
from trimtab.variants.slimming.rules.prune import prune
from trimtab.variants.slimming.rules.residual import residual
from trimtab.variants.slimming.rules.streamline import streamline
from trimtab.variants.slimming.rules.tucker import tucker
from trimtab_runtime.errors import ModelError

RULES: Mapping[str, Rule] = {
    "streamline": streamline,
    "branch": branch,
    "normalisation": normalisation,
    "lrn": lrn,
    "residual": residual,
    "tucker": tucker,
    "prune": prune,
}


def propose(network: Network, rules: Sequence[str] | None = None) -> list[Proposal]:
    """What the rules named (all without) propose, in network order: by where a region begins,
    then by where it ends, then in the order of `rules`. Regions may overlap; no two proposals
    have the same key.

    Raises ModelError for a rule that does not exist.
    """
    chosen = tuple(RULES) if rules is None else tuple(rules)
    unknown = [name for name in chosen if name not in RULES]
    if unknown:
        raise ModelError(f"no slimming rule {unknown[0]!r}; there are {', '.join(RULES)}")
    found: dict[str, Proposal] = {}
    for name in chosen:
        for proposal in RULES[name](network):
            found[proposal.key] = proposal
            step()
    places = {network.image: -1}
    for index, node in enumerate(network.model.graph.node):
        places |= {name: index for name in node.output}
    return sorted(found.values(), key=lambda p: (places[p.region.start], places[p.region.end]))


__all__ = ["RULES", "propose"]
