"""Devices: fingerprints, measurement quality of variants, and layer profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from trimtab.dashboard import addresses, markup, store_cache, tables
from trimtab.dashboard.charts import figures
from trimtab.dashboard.panels.device_layers import show_layers
from trimtab.db import DeviceRecord
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.reports.front_frame import front_of
from trimtab.planner.reports.measurements import (
    MeasuredVariant,
    measured_variants,
    same_elsewhere,
    samples_of,
)
from trimtab.planner.reports.places import device_name
from trimtab.planner.reports.speedup import LATENCY
from trimtab.planner.reports.text import printable
from trimtab_runtime.errors import PlanningError

if TYPE_CHECKING:
    import pandas as pd

_SPREAD = "10th to 90th percentile of warm-cache samples, relative to the median"
_DRIFT = "change of the reference work from the first half to the second; it is corrected for"
_WARM = "median right after a run of itself"
_COLD = "median after other work has used the caches"
_VARIATION = "interquartile range of the reference work, relative to its median"
_EXPLAINED = (
    "share of the variance of the inferences that the reference work beside them explains; as far "
    "as that, times are moved to the common pace"
)
_SHOWN = (
    *("machine", "cpu", "cores", "cpu_quota", "isa", "memory_gb"),
    *("os", "governor", "python", "numpy"),
)


def devices_page() -> None:
    markup.heading("Devices and models")
    devices = store_cache.store().list_devices() if store_cache.exists() else []
    if not devices:
        markup.empty("Nothing has been measured yet", "Start a job to measure this device.")
        addresses.link("start", "Start a job", ":material/add:")
        return
    device = _choose(devices)
    _fingerprint(device)
    measured = measured_variants(store_cache.store(), device.key)
    frame = _quality(device, measured)
    _one(device, measured, frame)
    _elsewhere(devices)


def _choose(devices: list[DeviceRecord]) -> DeviceRecord:
    wanted = addresses.parameter("device") or ""
    keys = [device.key for device in devices]
    first = next((n for n, key in enumerate(keys) if wanted and key.startswith(wanted)), 0)
    if len(keys) > 1:
        opened = store_cache.store()
        chosen = st.selectbox(
            "Device",
            keys,
            index=first,
            format_func=lambda key: f"{device_name(opened, key)} · {key[:8]}",
            label_visibility="collapsed",
        )
        first = keys.index(chosen)
    addresses.remember(device=keys[first][:12])
    return devices[first]


def _fingerprint(device: DeviceRecord) -> None:
    told = {str(k): printable(str(v)) for k, v in device.fingerprint.items() if v}
    names = [n for n in _SHOWN if n in told] + sorted(set(told) - set(_SHOWN))
    facts = [
        markup.div(markup.div(name, cls="tt-label"), markup.div(told[name])) for name in names
    ]
    markup.section(
        f"{printable(device.address)} · {device.key[:8]}",
        "fingerprint; measurements with different fingerprints are kept apart",
    )
    markup.show(markup.div(*facts, cls="tt-facts"))


def _quality(device: DeviceRecord, measured: list[MeasuredVariant]) -> pd.DataFrame:
    """A line a measurement of a variant alone."""
    import pandas as pd

    frame = pd.DataFrame(
        [
            {
                "variant": m.variant,
                "options": m.options,
                "hot_ms": m.hot_ms,
                "beside_ms": m.beside_ms,
                "spread": None if m.spread is None else 100 * m.spread,
                "drift": None if m.drift is None else 100 * m.drift,
                "unsteadiness": None if m.unsteadiness is None else 100 * m.unsteadiness,
                "explained": None if m.explained is None else 100 * m.explained,
                "load_ms": m.load_ms,
                "peak_mb": m.peak_mb,
                "notes": m.failure or "; ".join(m.warnings),
                "key": m.record.key,
            }
            for m in measured
        ],
        columns=["variant", "options", "hot_ms", "beside_ms", "spread", "drift", "unsteadiness",
                 "explained", "load_ms", "peak_mb", "notes", "key"],
    )  # fmt: skip
    disturbed = sum(bool(m.warnings) for m in measured)
    failed = sum(m.failure is not None for m in measured)
    markup.section(
        "Measurement quality",
        f"{len(measured)} measurements of variants, {disturbed} disturbed, {failed} failed; "
        "select one to see its samples",
    )
    return frame


def _one(device: DeviceRecord, measured: list[MeasuredVariant], frame: pd.DataFrame) -> None:
    """The table, and the samples and layers of the measurement that is selected in it."""
    import pandas as pd

    if frame.empty:
        markup.empty(
            "No single variant has been measured on this device", "A job measures them first."
        )
        return
    column = st.column_config
    event = tables.table(
        frame,
        f"measured-{device.key[:8]}",
        {
            "variant": column.TextColumn("Variant", width="medium"),
            "options": column.TextColumn("Runs on"),
            "hot_ms": column.NumberColumn("Warm cache, ms", format="%.3g", help=_WARM),
            "beside_ms": column.NumberColumn("Cold cache, ms", format="%.3g", help=_COLD),
            "spread": column.NumberColumn("Spread", format="%.0f %%", help=_SPREAD),
            "drift": column.NumberColumn("Drift", format="%+.1f %%", help=_DRIFT),
            "unsteadiness": column.NumberColumn(
                "Run-to-run variation", format="%.0f %%", help=_VARIATION
            ),
            "explained": column.NumberColumn(
                "Explained by reference", format="%.0f %%", help=_EXPLAINED
            ),
            "load_ms": column.NumberColumn("Load, ms", format="%.0f"),
            "peak_mb": column.NumberColumn("Peak, MB", format="%.0f"),
            "notes": column.TextColumn("Warnings", width="large"),
        },
        column_order=[name for name in frame if name != "key"],
        on_select="rerun",
        selection_mode="single-row",
    )  # fmt: skip
    rows = event["selection"]["rows"]
    wanted = addresses.parameter("measurement") or ""
    named = [n for n, key in enumerate(frame["key"]) if wanted and key.startswith(wanted)]
    number = rows[0] if rows else named[0] if named else 0
    one = measured[number]
    if rows:
        addresses.remember(measurement=one.record.key[:12])
    markup.section(f"{one.variant}, {one.options}", "raw samples, in the order of measurement")
    for text in one.warnings:
        markup.problem("Disturbed", text, "warn")
    if one.failure is not None:
        markup.problem("Failed", one.failure)
        return
    samples = pd.DataFrame(samples_of(one.record))
    if not samples.empty:
        st.plotly_chart(
            figures.samples_picture(samples), config=figures.CONFIG, key="samples-picture"
        )
        tables.behind(samples, f"samples-{one.record.key[:8]}")
    show_layers(one)


def _elsewhere(devices: list[DeviceRecord]) -> None:
    """The same job on several devices."""
    import pandas as pd

    markup.section(
        "The same job on several devices", "jobs whose specifications differ only in the device"
    )
    jobs = [job for job in store_cache.store().list_jobs() if summary_of(job).get("plans")]
    groups = {}
    for job in jobs:
        found = same_elsewhere(jobs, job)
        if len(found) > 1:
            groups[tuple(sorted(each.id for each in found))] = found
    if not groups:
        markup.empty(
            "No job ran on a second device yet",
            "Run the same specification on another device to compare them.",
        )
        return
    options = list(groups)
    chosen = st.selectbox("Job", options, format_func=lambda ids: printable(groups[ids][0].name))
    rows, fronts = [], {}
    for job in groups[chosen]:
        name = f"{device_name(store_cache.store(), job.device_key)} · {(job.device_key or '')[:6]}"
        try:
            found_front = store_cache.front(job)
        except PlanningError as error:
            markup.problem(name, str(error), "info")
            continue
        view, frame = found_front.view, found_front.frame
        axes = (view.cost, view.quality)
        if any(metric not in frame for metric in axes):
            continue
        fronts[name] = frame[front_of(frame, axes, (frame["feasible"] == "yes").to_numpy())]
        for role, key in (("chosen", view.chosen), ("baseline", view.baseline)):
            row = view.row(key)
            if row is not None:
                latency = row.figure(LATENCY)
                rows.append(
                    {
                        "device": name,
                        "role": role,
                        "plan": row.label,
                        "latency_ms": latency.shown,
                        "quality_test": row.figure(view.quality).test,
                        "speedup": row.speedup.value if row.speedup else None,
                    }
                )
    if fronts:
        st.plotly_chart(
            figures.devices_picture(fronts, axes), config=figures.CONFIG, key="devices-picture"
        )
    tables.table(pd.DataFrame(rows), "devices-compared")
