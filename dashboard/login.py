"""Streamlit's own OpenID Connect, where it is configured: who is there, and what they may do."""

from __future__ import annotations

import os

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

from trimtab.planner.jobs.dashboard_access import LOGIN


def require() -> None:
    """Ask who is there, if [auth] is configured; nothing is shown before. Nothing at all is shown
    where it should be and cannot be read."""
    if not _configured("auth"):
        if os.environ.get(LOGIN):
            st.error(
                "Everybody must log in here, but Streamlit finds no [auth] in its secrets; start "
                "`trimtab dashboard` again, which says what is missing."
            )
            st.stop()
        return
    if st.user.is_logged_in:
        return
    st.title("Trimtab")
    st.write("This dashboard can start jobs, so you must log in.")
    st.button("Log in", type="primary", on_click=st.login)
    st.stop()


def who() -> str | None:
    """Who is logged in; None where nobody has to, as the dashboard belongs to one account."""
    if not _configured("auth"):
        return None
    told = st.user.to_dict()
    # An address that nobody verified is anybody's.
    email = told.get("email") if told.get("email_verified", True) else None
    return str(email or told.get("sub") or "")


def is_administrator() -> bool:
    """Whether who is logged in stands among `administrators` in [trimtab] of the secrets."""
    named = who()
    if not named or not _configured("trimtab"):
        return False
    listed = st.secrets["trimtab"].get("administrators", [])
    return named in ([listed] if isinstance(listed, str) else list(listed))


def _configured(section: str) -> bool:
    try:
        return section in st.secrets
    except StreamlitSecretNotFoundError:
        return False
