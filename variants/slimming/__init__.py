"""Slimming: regions of a network replaced by cheaper blocks, learned to give the same maps.

Read a file with :func:`read_network`, take what the rules :func:`propose`, learn blocks apart with
:func:`learn_alone` or together with :func:`slim`, and finish with :func:`distill` where that pays.
A region has one tensor in and one out; a block is an ONNX model. Everything raises
:class:`trimtab_runtime.errors.ModelError` where it cannot be done.
"""

from trimtab.variants.slimming.isolation.calls import (
    Progress,
    build_in_subprocess,
    learn_in_subprocess,
    learned_blocks,
    learning_facts_in_subprocess,
    learning_work,
    propose_in_subprocess,
)
from trimtab.variants.slimming.isolation.requests import (
    BuiltNetwork,
    LearnedBlock,
    Lesson,
    Proposals,
    Proposed,
    SlimmingSource,
)
from trimtab.variants.slimming.network.network import (
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
from trimtab.variants.slimming.proposal import Proposal, Rule
from trimtab.variants.slimming.rules import RULES, propose
from trimtab.variants.slimming.slim import Slimmed, SlimmedPart, Step, learn_alone, slim
from trimtab.variants.slimming.training.block import learn
from trimtab.variants.slimming.training.cache import Cache, FolderCache, TrainingImages
from trimtab.variants.slimming.training.distillation import Distilled, distill
from trimtab.variants.slimming.training.recipes import DistillRecipe, Learned, LearnRecipe

__all__ = [
    "RULES",
    "BuiltNetwork",
    "Cache",
    "DistillRecipe",
    "Distilled",
    "FolderCache",
    "LearnRecipe",
    "Learned",
    "LearnedBlock",
    "Lesson",
    "Network",
    "Progress",
    "Proposal",
    "Proposals",
    "Proposed",
    "Region",
    "Rule",
    "Slimmed",
    "SlimmedPart",
    "SlimmingSource",
    "Step",
    "TrainingImages",
    "build_in_subprocess",
    "distill",
    "extract",
    "is_region",
    "learn",
    "learn_alone",
    "learn_in_subprocess",
    "learned_blocks",
    "learning_facts_in_subprocess",
    "learning_work",
    "overlaps",
    "plain_network",
    "propose",
    "propose_in_subprocess",
    "read_network",
    "replace",
    "slim",
    "write_network",
]
