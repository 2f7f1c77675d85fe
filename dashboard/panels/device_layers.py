"""Where a variant's time goes, operator by operator: measured on demand, on this machine."""

from __future__ import annotations

import streamlit as st

from trimtab.dashboard import markup, store_cache, tables
from trimtab.dashboard.charts import figures
from trimtab.planner.reports.layer_profile import LayerProfile
from trimtab.planner.reports.layers import layers_of, why_no_layers
from trimtab.planner.reports.measurements import MeasuredVariant


@st.cache_resource(show_spinner="Measuring layers, which takes some seconds", max_entries=32)
def _layers(location: str, key: str, _measured: MeasuredVariant) -> LayerProfile:
    return layers_of(store_cache.store(), _measured.record)


def show_layers(measured: MeasuredVariant) -> None:
    import pandas as pd

    markup.section("Layers", "the time of each operator; operators without weights are orange")
    why = why_no_layers(store_cache.store(), measured.record)
    if why is not None:
        markup.problem("Layers cannot be measured", why, "info")
        return
    key = measured.record.key
    wanted = f"layers-{key}"
    if not st.session_state.get(wanted):
        if st.button(
            "Measure the layers", icon=":material/stacked_bar_chart:", key="measure-layers"
        ):
            st.session_state[wanted] = True
            st.rerun()
        st.caption(
            "Takes some seconds on this machine; no job may run meanwhile. Not kept in the store."
        )
        return
    found = _layers(store_cache.here().store, key, measured)
    for text in found.warnings:
        markup.problem("Disturbed", text, "warn")
    frame = pd.DataFrame([vars(each) for each in found.operators])
    st.plotly_chart(figures.layers_picture(frame), config=figures.CONFIG, key="layers-picture")
    st.caption(
        f"{found.median_ms:.3g} ms a run, median of {found.runs}; operators without weights take "
        f"{found.share_without_weights:.0%}"
    )
    tables.behind(frame, f"layers-{key[:8]}")
