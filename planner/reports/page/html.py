"""A report as one HTML file: styles and pictures are in it, and it has no script."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from trimtab.planner.reports.page.blocks import Page


def as_html(page: Page) -> str:
    """The page; every text in it is escaped."""
    place = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=place,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    environment.tests["of"] = lambda block, name: type(block).__name__ == name
    return environment.get_template("page.html.j2").render(page=page)
