"""The rules that propose cheaper blocks. A new one is a function beside these, named below."""

from __future__ import annotations

from collections.abc import Mapping

from variants.slimming.proposal import Rule
from variants.slimming.rules.branch import branch
from variants.slimming.rules.lrn import lrn
from variants.slimming.rules.normalisation import normalisation
from variants.slimming.rules.prune import prune
from variants.slimming.rules.residual import residual
from variants.slimming.rules.streamline import streamline
from variants.slimming.rules.tucker import tucker

RULES: Mapping[str, Rule] = {
    "streamline": streamline,
    "branch": branch,
    "normalisation": normalisation,
    "lrn": lrn,
    "residual": residual,
    "tucker": tucker,
    "prune": prune,
}

__all__ = ["RULES"]
