"""Addresses of views: a page and its parameters, so that a view can be shared."""

from __future__ import annotations

from typing import Any, NoReturn

import streamlit as st

_PAGES = "addresses.pages"


def know(pages: dict[str, Any]) -> None:
    """The pages of this run, by name."""
    st.session_state[_PAGES] = pages


def open_page(name: str, **parameters: str) -> NoReturn:
    """Go there."""
    st.switch_page(st.session_state[_PAGES][name], query_params=parameters)


def link(name: str, label: str, icon: str | None = None, **parameters: str) -> None:
    """A link with a label of ours."""
    page = st.session_state[_PAGES][name]
    st.page_link(page, label=label, icon=icon, query_params=parameters)


def parameter(name: str) -> str | None:
    """A parameter of the address; None where there is none, or it is empty."""
    return st.query_params.get(name) or None


def remember(**parameters: str | None) -> None:
    """Put parameters into the address, without going anywhere."""
    for name, value in parameters.items():
        if value is None:
            st.query_params.pop(name, None)
        elif st.query_params.get(name) != value:
            st.query_params[name] = value
