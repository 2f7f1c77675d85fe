"""The pages and their navigation."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from trimtab.dashboard import addresses, login, markup, store_cache
from trimtab.dashboard.pages.compare import compare_page
from trimtab.dashboard.pages.devices import devices_page
from trimtab.dashboard.pages.front import front_page
from trimtab.dashboard.pages.jobs import jobs_page
from trimtab.dashboard.pages.overview import overview_page
from trimtab.dashboard.pages.plan import plan_page
from trimtab.dashboard.pages.start import start_page
from trimtab.planner.jobs.store_location import StoreLocation
from trimtab_runtime.errors import TrimtabError

_ICON = Path(__file__).with_name("icon.svg")
_PAGES = {
    "overview": ("Overview", overview_page),
    "jobs": ("Jobs", jobs_page),
    "front": ("Front", front_page),
    "plan": ("Plan", plan_page),
    "compare": ("Compare", compare_page),
    "devices": ("Devices & models", devices_page),
    "start": ("New job", start_page),
}


def run(here: StoreLocation, first: str = "overview") -> None:
    """The page of the address (of an address without one, the `first`) on a store."""
    icon = _ICON.read_text(encoding="utf-8")
    st.set_page_config("Trimtab", page_icon=icon, layout="wide")
    markup.style()
    login.require()
    store_cache.use(here)
    pages = {
        name: st.Page(page, title=title, url_path=name, default=name == first)
        for name, (title, page) in _PAGES.items()
    }
    addresses.know(pages)
    page = st.navigation(list(pages.values()), position="top")
    st.set_page_config(f"{page.title} \N{MIDDLE DOT} Trimtab")
    try:
        page.run()
    except TrimtabError as error:
        markup.problem("This page cannot be shown", str(error))
