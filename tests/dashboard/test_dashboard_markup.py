"""Texts of users stay texts."""

import pytest

from trimtab.dashboard.charts.figures import wrapped
from trimtab.dashboard.markup import Markup, div, escape, tag


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", '" onload="x', "a & b", "'", "\x1b[31m"]
)
def test_whatever_is_not_markup_is_escaped(evil):
    made = tag("div", evil, cls=evil, title=evil)
    inner = made.removeprefix("<div ").removesuffix("</div>")
    assert isinstance(made, Markup)
    assert evil not in inner
    assert "<script" not in inner
    assert '" onload="' not in inner


def test_markup_is_kept():
    assert div(div("a"), "<b>") == "<div><div>a</div>&lt;b&gt;</div>"


def test_pictures_get_escaped_names_in_lines():
    assert wrapped("<i>one</i> two three", 10) == "&lt;i&gt;one&lt;/i&gt;<br>two three"
    assert escape("<br>") not in wrapped("one two", 4)
