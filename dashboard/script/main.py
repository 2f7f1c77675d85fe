"""The script that the dashboard's server has Streamlit run for every visitor."""

from __future__ import annotations

from trimtab.dashboard.application import run
from trimtab.planner.jobs.store_location import StoreLocation

run(StoreLocation.from_environment())
