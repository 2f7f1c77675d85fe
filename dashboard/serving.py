"""`streamlit run` with the application imported beforehand: `python -m dashboard.serving run ...`.

Imports take seconds on a small machine; so they are over before anybody is told the address.
"""

from __future__ import annotations

import pandas  # noqa: F401  # every table needs it
from streamlit.web.cli import main

import dashboard.application  # noqa: F401

if __name__ == "__main__":
    main(prog_name="streamlit")
