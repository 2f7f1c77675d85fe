"""Techniques beyond single models and cascades. A new one is a package in this folder, and an
entry below."""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.planner.techniques.base import Technique
from trimtab.planner.techniques.early_exits.plans import ExitPlans
from trimtab.planner.techniques.routing.plans import RoutedPlans
from trimtab.planner.techniques.slimming.variants import SlimmedVariants

#: In the order in which they generate plans. Variants bear the name of their technique and a
#: number, as 'slim1'.
TECHNIQUES: Mapping[str, Technique] = {
    "slim": Technique(lambda spec: bool(spec.slimming), variants=SlimmedVariants),
    "exits": Technique(lambda spec: spec.exits or spec.memory, plans=ExitPlans),
    "routing": Technique(lambda spec: spec.routing, plans=RoutedPlans),
}
