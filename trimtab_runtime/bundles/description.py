"""A plan as plain data, for people and programs."""

from __future__ import annotations

from typing import Any

from trimtab_runtime.bundles.manifest import Manifest
from trimtab_runtime.codec import encode
from trimtab_runtime.definitions.exits import Memory
from trimtab_runtime.definitions.plan import OperatingPoint, Stage


def describe(manifest: Manifest, point: OperatingPoint) -> dict[str, Any]:
    """What a plan is, at one of its operating points."""
    structure = manifest.structure
    names = {variant.sha256: variant.name for variant in manifest.variants}
    found = {
        "name": manifest.name,
        "protocol": manifest.protocol,
        "route": structure.route,
        "rule": structure.rule,
        "stages": [_stage(stage, names[stage.variant]) for stage in structure.stages],
        "thresholds": list(point.thresholds),
        "predicted": dict(point.metrics),
        "points": len(manifest.points),
        "classes": len(manifest.labels),
        "requires": list(manifest.requires),
        "planned_on": dict(manifest.device),
    }
    if manifest.provenance is not None:
        found["provenance"] = encode(manifest.provenance)
    if manifest.largest_pixels is not None:
        found["largest_pixels"] = manifest.largest_pixels
    if structure.router is not None:
        router = structure.router
        found["router"] = {
            "kind": router.kind,
            "features": list(router.names),
            "costs_ms": list(router.costs_ms),
            "price": point.price,
        }
    if structure.stops_early:
        kinds = {kind: getattr(point.exits, kind) for kind in structure.exit_kinds}
        found["exits"] = {"thresholds": kinds, "memory": _memory(structure.memory)}
    return found


def _stage(stage: Stage, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "variant": name,
        "engine": stage.options.engine,
        "threads": stage.options.threads,
    }
    if stage.scorer is not None:
        found["scorer"] = stage.scorer.model
    if stage.exits is not None:
        found["taps"] = [{"name": tap.name, "kinds": list(tap.kinds)} for tap in stage.exits.taps]
    return found


def _memory(memory: Memory) -> dict[str, Any]:
    """Capacities and settings; None for what is not kept."""
    centres, prior = memory.centres, memory.prior
    return {
        "thumbnails": memory.thumbnails,
        "instances": memory.instances,
        "centres": None if centres is None else _all(centres),
        "prior": None if prior is None else _all(prior),
    }


def _all(settings: Any) -> dict[str, Any]:
    """Every field, those with their defaults too."""
    return {name: encode(value) for name, value in vars(settings).items()}
