"""The router of a plan, and the routes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trimtab.db import PlanRecord
from trimtab.planner.reports.text import printable
from trimtab_runtime.definitions.plan import PlanDefinition


@dataclass(frozen=True)
class RouteView:
    """A route through the stages (from 0): its inputs `enter` at one stage and `stop` at another.
    `share` of all inputs, share of its own answered `right`, files of a few as `examples`, and the
    share answered by `heads` inside the stage."""

    enter: int
    stop: int
    share: float
    right: float
    examples: tuple[str, ...]
    heads: float = 0.0


@dataclass(frozen=True)
class RouterView:
    """A plan's router, by what it reads ('image', 'tensor', 'tap'; '' without
    one), the `names` of its features, the price of a millisecond in scores, what it takes, and its
    part of the plan's mean latency; `scorers` counts stages whose confidence is learned. `beside`
    holds the accuracy of simple alternatives, by name."""

    kind: str
    names: tuple[str, ...]
    price: float
    router_ms: float
    time_share: float
    scorers: int
    beside: Mapping[str, float]


def routes_of(plan: PlanRecord) -> tuple[RouteView, ...]:
    """The routes of a plan's inputs; none for a single model."""
    return tuple(
        RouteView(**{**found, "examples": tuple(map(printable, found["examples"]))})
        for found in plan.definition.get("routes", ())
    )


def router_of(plan: PlanRecord, definition: PlanDefinition) -> RouterView | None:
    """The router and scorers; None where only the largest probability decides."""
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
