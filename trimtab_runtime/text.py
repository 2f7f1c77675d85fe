"""Texts that a file brought along, as a terminal may show them."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text without control codes: each is shown as U+FFFD, but for the end of a line."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def printable_line(text: str) -> str:
    """As :func:`printable`, in one line."""
    return printable(text).replace("\n", "\N{REPLACEMENT CHARACTER}")
