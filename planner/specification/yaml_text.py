"""Pieces of the text of a specification."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

#: What marks a line that is not known from the files.
GUESS = "  # GUESS:"


def relative(path: Path, here: Path) -> str:
    """Relative where it lies below the specification, so that both may be moved together."""
    full, base = path.resolve(), here.resolve()
    inside = full.is_relative_to(base)
    return full.relative_to(base).as_posix() if inside else full.as_posix()


def scalar(text: str) -> str:
    """A YAML scalar, quoted where it must be."""
    try:
        if yaml.safe_load(f"x: {text} # y") == {"x": text}:
            return text
    except yaml.YAMLError:
        pass
    return json.dumps(text)


def comment(text: str) -> str:
    return " ".join(text.split())
