"""Slimming: regions of a network replaced by cheaper blocks, learned to give the same maps.

Read a file with :func:`read_network`, take what the rules :func:`propose`, learn blocks apart with
:func:`learn_alone` or together with :func:`slim`, and finish with :func:`distill` where that pays.
A region has one tensor in and one out; a block is an ONNX model. Everything raises
:class:`trimtab_runtime.errors.ModelError` where it cannot be done.
"""

from variants.slimming.combining import Slimmed, SlimmedPart, Step, learn_alone, slim
from variants.slimming.distilling import Distilled, DistillRecipe, distill
from variants.slimming.keeping import Cache, FolderCache, Inputs
from variants.slimming.learning import Learned, LearnRecipe, learn
from variants.slimming.network import (
    Network,
    Region,
    extract,
    is_region,
    overlaps,
    plain_network,
    read_network,
    replace,
    write_network,
)
from variants.slimming.proposal import Proposal, Rule, propose
from variants.slimming.rules import RULES

__all__ = [
    "RULES",
    "Cache",
    "DistillRecipe",
    "Distilled",
    "FolderCache",
    "Inputs",
    "LearnRecipe",
    "Learned",
    "Network",
    "Proposal",
    "Region",
    "Rule",
    "Slimmed",
    "SlimmedPart",
    "Step",
    "distill",
    "extract",
    "is_region",
    "learn",
    "learn_alone",
    "overlaps",
    "plain_network",
    "propose",
    "read_network",
    "replace",
    "slim",
    "write_network",
]
