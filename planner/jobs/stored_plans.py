"""Plans as a store holds them: what another version wrote is told, not tripped over."""

from __future__ import annotations

from typing import Any, TypeVar

from trimtab.db import PlanRecord
from trimtab_runtime.codec import DecodeError, decode
from trimtab_runtime.definitions.plan import OperatingPoint, PlanDefinition, Variant
from trimtab_runtime.errors import StoreError

T = TypeVar("T")


def plan_definition(plan: PlanRecord) -> PlanDefinition:
    """What a plan is. Raises StoreError where this version does not understand it."""
    return _stored(plan, PlanDefinition, _field(plan, "plan"))


def plan_variants(plan: PlanRecord) -> list[Variant]:
    """The variants of its stages, in their order. Raises StoreError."""
    stages = _stored(plan, list[dict[str, Any]], _field(plan, "stages"))
    return [_stored(plan, Variant, stage.get("variant")) for stage in stages]


def plan_points(plan: PlanRecord) -> list[OperatingPoint] | None:
    """Its family, the fastest first; None where an earlier version kept none. Raises
    StoreError."""
    known = plan.definition.get("points")
    return None if known is None else _stored(plan, list[OperatingPoint], known)


def _field(plan: PlanRecord, name: str) -> Any:
    if name not in plan.definition:
        raise _unknown(plan, f"{name}: missing")
    return plan.definition[name]


def _stored(plan: PlanRecord, kind: type[T], data: Any) -> T:
    try:
        return decode(kind, data)
    except DecodeError as error:
        raise _unknown(plan, str(error)) from None


def _unknown(plan: PlanRecord, why: str) -> StoreError:
    return StoreError(
        f"plan {plan.key[:8]} was written by another version of Trimtab ({why}); use that "
        "version, or run its job again in a new store"
    )
