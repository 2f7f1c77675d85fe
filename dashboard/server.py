"""`streamlit run` with the application imported beforehand: `python -m trimtab.dashboard.server
run ...`.

Imports take seconds on a small machine; so they are over before anybody is told the address. What
they made stays, and reading a front of thousands of plans makes no garbage: looking through all of
it for some took a third of that reading.
"""

from __future__ import annotations

import gc

import pandas  # noqa: F401  # every table needs it
from streamlit.web.cli import main

import trimtab.dashboard.application  # noqa: F401

if __name__ == "__main__":
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    main(prog_name="streamlit")
