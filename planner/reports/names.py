"""What plans and their stages are called for people: 'Lite0 int8 (2 threads), 12 % go on to Lite1
when unsure'. The short form, which one can type and which scripts read, is the plan's label."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.db import PlanRecord
from trimtab.planner.reports.text import printable

#: Quantisation schemes, by how they are written in a specification.
SCHEME_WORDS = {
    "w8a8": "int8",
    "w8a8-full": "int8 (full range)",
    "w8a8-mixed": "int8 mixed",
    "w8a8-searched": "int8 searched",
    "w8": "int8 weights",
}
#: What answers early, by how plans name it.
_EARLY_WORDS = {
    "instances": "recent vectors",
    "centres": "class centroids",
    "heads": "exit heads",
}
_SLIMMED = re.compile(r"slim(\d+)")
_SIZE = re.compile(r"(\d+(?:x\d+)?)px")


def plan_name(plan: PlanRecord) -> str:
    """A plan in words; its short form where an earlier version kept too little of it."""
    try:
        structure, stages = plan.definition["plan"]["structure"], plan.definition["stages"]
        return _worded(structure, stages, plan.definition.get("rival", ""))
    except (KeyError, TypeError):
        return printable(plan.label)


def stage_name(variant: str, options: Mapping[str, Any]) -> str:
    """A variant (by its name) with its options, as plain data: 'Lite0 int8 (2 threads)'."""
    return f"{variant_name(variant)} ({_options(options)})"


def variant_name(variant: str) -> str:
    """A variant in words: 'lite0 w8a8' is 'Lite0 int8'."""
    words = printable(variant).split(" ")
    made = []
    if words[-1] in SCHEME_WORDS and len(words) > 1:
        made.append(SCHEME_WORDS[words.pop()])
    if len(words) > 1 and (size := _SIZE.fullmatch(words[-1])):
        words.pop()
        made.insert(0, f"at {size[1]} px")
    if len(words) > 1 and (slimmed := _SLIMMED.fullmatch(words[-1])):
        words.pop()
        made.insert(0, f"slimmed {slimmed[1]}")
    member = " ".join(words)
    if member == member.lower():
        member = member[:1].upper() + member[1:]
    return " ".join([member, *made])


def share(value: float) -> str:
    """A share in percent with as many digits as it deserves: '12 %', '0.2 %'."""
    percent = 100 * value
    if 0 < percent < 0.05:
        return "under 0.1 %"
    digits = 1 if 0 < percent < 0.95 else 0
    return f"{percent:.{digits}f} %"


def _worded(structure: Mapping[str, Any], stages: Sequence[Any], rival: str) -> str:
    own = structure["stages"]
    options = [stage.get("options", {}) for stage in own]
    names = [variant_name(stage["variant"]["name"]) for stage in stages]
    same = all(_options(each) == _options(options[0]) for each in options)
    if not same:
        pairs = zip(stages, options, strict=True)
        names = [stage_name(stage["variant"]["name"], each) for stage, each in pairs]
    reach = [share(stage["reach"]) for stage in stages]
    if structure.get("router"):
        parts = zip(reach, names, strict=True)
        text = f"router: {', '.join(f'{part} run {name}' for part, name in parts)}"
    else:
        text = names[0] + "".join(
            f", {part} go on to {name}" for part, name in zip(reach[1:], names[1:], strict=True)
        )
        text += _when(structure) if len(names) > 1 else ""
    if same:
        text += f" ({_options(options[0])})"
    return text + _early(structure, rival)


def _when(structure: Mapping[str, Any]) -> str:
    """What sends an input on."""
    if any(stage.get("scorer") for stage in structure["stages"]):
        return " when a learned score is low"
    averaged = structure.get("rule", "last") == "mean"
    return " when unsure on average" if averaged else " when unsure"


def _early(structure: Mapping[str, Any], rival: str) -> str:
    """What answers before a network's end."""
    if rival:
        return f", {printable(rival)}"
    taps = [
        tap for stage in structure["stages"] for tap in (stage.get("exits") or {}).get("taps", ())
    ]
    kinds = {kind for tap in taps for kind in tap.get("kinds", ())}
    told = [word for kind, word in _EARLY_WORDS.items() if kind in kinds]
    places = f"{len(taps)} exit point{'s' * (len(taps) != 1)}"
    words = [f"{' and '.join(told)} at {places}"] if told else []
    if (structure.get("memory") or {}).get("thumbnails"):
        words.insert(0, "recent frames")
    return f", with {' and '.join(words)}" if words else ""


def _options(options: Mapping[str, Any]) -> str:
    """Threads, and what differs from an engine's default options."""
    threads = options.get("threads", 1)
    words = ["1 thread" if threads == 1 else f"{threads} threads"]
    if options.get("spinning"):
        words.append("busy-wait")
    if (provider := options.get("provider", "default")) != "default":
        words.append(printable(provider))
    if (level := options.get("graph_optimisation", "all")) != "all":
        words.append(f"{level} graph optimisation")
    return ", ".join(words)
