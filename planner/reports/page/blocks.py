"""What a report is made of, whatever it is written as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Paragraphs:
    """Sentences, each on a line of its own; `strong` ones are the first thing to read."""

    lines: Sequence[str]
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """Texts by rows; `marked` are numbers of rows that stand out. Columns after the first are
    numbers if `numeric`."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: frozenset[int] = frozenset()
    numeric: bool = True


@dataclass(frozen=True)
class Picture:
    """A PNG, and what it shows in words."""

    png: bytes
    alt: str


@dataclass(frozen=True)
class Bar:
    """From `start` to `end`, as fractions of the widest bar of all; `kind`: 'total', 'more' or
    'less'."""

    label: str
    value: str
    start: float
    end: float
    kind: str


@dataclass(frozen=True)
class Bars:
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Photograph:
    """A small JPEG and what is said of it."""

    jpeg: bytes
    caption: str


@dataclass(frozen=True)
class Photographs:
    """Those of one class."""

    title: str
    photographs: Sequence[Photograph]


@dataclass(frozen=True)
class Code:
    """What a person types or saves."""

    text: str


Block = Paragraphs | Table | Picture | Bars | Photographs | Code


@dataclass(frozen=True)
class Section:
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """`subtitle` says which job, where and when."""

    title: str
    subtitle: str
    sections: Sequence[Section] = field(default_factory=tuple)
