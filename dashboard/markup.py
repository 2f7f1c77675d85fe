"""Small pieces of HTML in which every text is escaped, and how they look.

Names, labels and reasons are the user's. They reach a page as text (st.text, a table, a select
box) or through `tag`, which escapes whatever is not markup made here; never through Markdown.
"""

from __future__ import annotations

import html
from pathlib import Path

import streamlit as st

from trimtab.planner.reports.text import printable

_STYLE = Path(__file__).with_name("style.css")


class Markup(str):
    """HTML that was made here."""

    __slots__ = ()


def escape(text: object) -> str:
    """Any text as HTML that shows it literally."""
    return html.escape(printable(str(text)))


def tag(
    name: str,
    *inner: object,
    cls: str = "",
    style: str = "",
    title: str = "",
    scope: str = "",
) -> Markup:
    """An element; what is in it is escaped unless it is markup. `scope` is that of a header."""
    attributes = {"class": cls, "style": style, "title": title, "scope": scope}
    told = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items() if value)
    parts = (str(part) if isinstance(part, Markup) else escape(part) for part in inner)
    return Markup(f"<{name}{told}>{''.join(parts)}</{name}>")


def div(*inner: object, cls: str = "", style: str = "", title: str = "") -> Markup:
    return tag("div", *inner, cls=cls, style=style, title=title)


def span(*inner: object, cls: str = "", style: str = "", title: str = "") -> Markup:
    return tag("span", *inner, cls=cls, style=style, title=title)


def show(markup: Markup) -> None:
    st.html(markup)


def style() -> None:
    """To be called once a run."""
    st.html(_STYLE)


def heading(text: str, *chips: Markup, above: str = "") -> None:
    """The title of a page."""
    small = [div(above, cls="tt-above")] if above else []
    row = [div(*chips, cls="tt-chips")] if chips else []
    show(div(*small, tag("h1", text, cls="tt-title"), *row))


def section(text: str, note: str = "") -> None:
    """The title of a part of a page."""
    show(div(tag("h2", text), *([tag("p", note)] if note else []), cls="tt-section"))


def chip(text: str, kind: str = "", title: str = "") -> Markup:
    """A small label; `kind` good, bad, warn, live or nothing."""
    return span(text, cls=f"tt-chip {kind and f'tt-{kind}'}".strip(), title=title)


def card(label: str, value: str, note: str = "", kind: str = "") -> Markup:
    """A figure with its name above and what to know of it below."""
    return div(
        div(label, cls="tt-label"),
        div(value, cls="tt-value"),
        div(note, cls="tt-note"),
        cls=f"tt-card {kind and f'tt-card-{kind}'}".strip(),
    )


def cards(*found: Markup) -> None:
    show(div(*found, cls="tt-cards"))


def lines(texts: list[str] | tuple[str, ...], cls: str = "tt-list") -> Markup:
    return tag("ul", *(tag("li", text) for text in texts), cls=cls)


def problem(title: str, text: str, kind: str = "bad") -> None:
    """Something that is wrong, or not there, and what to do about it."""
    body = [div(line) for line in text.splitlines()]
    show(div(tag("b", title), *body, cls=f"tt-problem tt-problem-{kind}"))


def empty(title: str, text: str) -> None:
    """Nothing to show yet, and what to do next."""
    show(div(div(title, cls="tt-empty-title"), div(text), cls="tt-empty"))
