"""Streamlit's own OpenID Connect, where it is configured."""

from __future__ import annotations

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError


def require() -> None:
    """Ask who is there, if [auth] is configured; nothing is shown before."""
    try:
        configured = "auth" in st.secrets
    except StreamlitSecretNotFoundError:
        return
    if not configured or st.user.is_logged_in:
        return
    st.title("Trimtab")
    st.write("This dashboard can start jobs, so you must log in.")
    st.button("Log in", type="primary", on_click=st.login)
    st.stop()
