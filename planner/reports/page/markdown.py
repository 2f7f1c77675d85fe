"""A report as Markdown, for a pull request or an issue: without pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trimtab.planner.reports.page.blocks import (
    Bars,
    Block,
    Code,
    Page,
    Paragraphs,
    Photographs,
    Picture,
    Table,
)

#: What Markdown or HTML would take for markup.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|&~$@])")


def as_markdown(page: Page) -> str:
    """The page; texts in it are shown as they are."""
    parts = [f"# {_text(page.title)}", _text(page.subtitle)]
    for section in page.sections:
        parts.append(f"## {_text(section.title)}")
        parts += [text for block in section.blocks for text in _block(block)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Paragraphs):
        mark = "**" if block.strong else ""
        yield from (f"{mark}{_text(line)}{mark}" for line in block.lines)
    elif isinstance(block, Table):
        yield _table(block)
    elif isinstance(block, Bars):
        rows = [[bar.label, bar.value] for bar in block.bars]
        yield _table(Table(["", "mean latency"], rows))
    elif isinstance(block, Photographs):
        named = (f"- {_text(each.caption)}" for each in block.photographs)
        yield "\n".join([_text(block.title), "", *named])
    elif isinstance(block, Code):
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
        yield f"{fence}\n{block.text}\n{fence}"
    elif isinstance(block, Picture):
        yield f"Picture in the HTML report: {_text(block.alt)}."


def _table(table: Table) -> str:
    rule = ["---", *(["---:" if table.numeric else "---"] * (len(table.head) - 1))]
    rows = [
        [f"**{_text(cell)}**" if number in table.marked and cell else _text(cell) for cell in row]
        for number, row in enumerate(table.rows)
    ]
    return "\n".join(
        f"| {' | '.join(row)} |" for row in (list(map(_text, table.head)), rule, *rows)
    )


def _text(text: str) -> str:
    """In one line, and literally."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
