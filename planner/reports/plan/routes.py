"""How a routed plan is explained: its router, and the ways that inputs take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trimtab.db import PlanRecord
from trimtab.planner.reports.text import printable
from trimtab_runtime.definitions.plan import PlanDefinition


@dataclass(frozen=True)
class RouteView:
    """A way through the stages (from 0), from where its inputs `enter` to where they
    `stop`: share of all inputs, share of its own that is right, files of a few, and the share that
    heads inside the stage answered."""

    enter: int
    stop: int
    share: float
    right: float
    examples: tuple[str, ...]
    heads: float = 0.0


@dataclass(frozen=True)
class RouterView:
    """What routes: a plan's router, by what it looks at ('image', 'tensor', 'tap'; '' without
    one), the `names` of its features, the price of a millisecond in scores, what it takes, and its
    part of the plan's mean latency; `scorers` counts stages whose confidence is learned. `beside`
    says what the plan must be compared with (route_table.py)."""

    kind: str
    names: tuple[str, ...]
    price: float
    router_ms: float
    time_share: float
    scorers: int
    beside: Mapping[str, float]


def routes_of(plan: PlanRecord) -> tuple[RouteView, ...]:
    """The ways that inputs take; none of a single model."""
    return tuple(
        RouteView(**{**found, "examples": tuple(map(printable, found["examples"]))})
        for found in plan.definition.get("routes", ())
    )


def router_of(plan: PlanRecord, definition: PlanDefinition) -> RouterView | None:
    """What routes; None where nothing does but the largest probability."""
    router, stages = definition.structure.router, definition.structure.stages
    scorers = sum(stage.scorer is not None for stage in stages)
    if router is None and not scorers:
        return None
    return RouterView(
        kind=router.kind if router else "",
        names=router.names if router else (),
        price=definition.price,
        router_ms=plan.definition.get("router_ms", 0.0),
        time_share=plan.definition.get("router_share", 0.0),
        scorers=scorers,
        beside={printable(n): v for n, v in plan.definition.get("beside", {}).items()},
    )
