"""What a PyTorch module told when it was exported, kept beside the file that was made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from trimtab.variants.metadata.description import Description


def write_module_file(exported: Path, found: Sequence[Description]) -> None:
    """Write what a module told, the strongest first."""
    _place(exported).write_text(json.dumps([asdict(each) for each in found]), encoding="utf-8")


def read_module_file(exported: Path) -> Iterator[Description]:
    """What was written for an exported file; nothing where nothing was."""
    place = _place(exported)
    if not place.is_file():
        return
    for each in json.loads(place.read_text("utf-8")):
        values = each["input"].items()
        fields = {name: tuple(v) if isinstance(v, list) else v for name, v in values}
        yield Description(each["source"], fields, tuple(each["labels"]), tuple(each["problems"]))


def _place(exported: Path) -> Path:
    return exported.with_name(f"{exported.name}.described.json")
