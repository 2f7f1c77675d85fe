"""A variant that was built and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab_runtime.codec import encode
from trimtab_runtime.definition import Variant


@dataclass(frozen=True)
class Built:
    """A variant that lies in the store: `key` names its lineage, `path` is its file here."""

    key: str
    member: str
    precision: str
    variant: Variant
    path: Path


def io_of(variant: Variant) -> dict[str, Any]:
    """A variant's formats as they enter the keys of what is known of it."""
    return {"input": encode(variant.input), "output": encode(variant.output)}
