"""How a plan of several stages routes its inputs, as a table and in words."""

from __future__ import annotations

from pathlib import PurePath

from rich.table import Table

from planner.cli.tables import number, plain_table
from planner.explaining import Explanation


def route_table(found: Explanation) -> Table:
    """A line for each way through the stages."""
    inside = ["by heads"] if any(row.heads for row in found.routes) else []
    table = plain_table("enters", "answered by", "share", "right", *inside, "for example")
    for column in table.columns[2:-1]:
        column.justify = "right"
    for row in found.routes:
        names = (f"{place + 1} {found.stages[place].name}" for place in (row.enter, row.stop))
        examples = "  ".join(PurePath(path).name for path in row.examples)
        shares = [row.share, row.right, *([row.heads] if inside else [])]
        table.add_row(*names, *(f"{share:.1%}" for share in shares), examples)
    return table


def router_notes(found: Explanation) -> list[str]:
    """What routes and what it takes, and what a routed plan must be compared with."""
    router, notes = found.router, list[str]()
    if router is None:
        return notes
    if router.kind:
        seen = {
            "image": f"features of the image ({', '.join(router.names)})",
            "tensor": "the image through a tiny network",
            "tap": "the first tap of stage 1",
        }[router.kind]
        notes.append(
            f"Router: looks at {seen}; {number(router.router_ms)} ms, {router.time_share:.1%} of "
            f"the time; price {router.price:.3g} of a score per ms."
        )
    if router.scorers:
        notes.append(f"Learned deferral: {router.scorers} stage(s) with a scorer of their own.")
    rivals = dict(router.beside)
    oracle_ms = rivals.pop("oracle_ms", None)
    if rivals:
        told = ", ".join(f"{name} {number(value, 'top1')}" for name, value in rivals.items())
        notes.append(f"Right on test beside it: {told}.")
    if oracle_ms is not None:
        notes.append(f"The cheapest stage that is right would take {number(oracle_ms)} ms.")
    return notes
