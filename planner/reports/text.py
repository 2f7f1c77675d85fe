"""Figures as text."""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.planner.reports.figures import MetricValues
from trimtab_runtime.metrics import find_metric
from trimtab_runtime.text import printable

__all__ = [
    "UNKNOWN",
    "cell",
    "number",
    "printable",
    "split_name",
    "validation_gap",
    "with_interval",
]


#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def cell(value: object) -> object:
    """A value as a cell of a CSV file: a text that a spreadsheet would compute stays a text."""
    if not isinstance(value, str):
        return value
    return f"'{printable(value)}" if value.startswith(_FORMULA) else printable(value)


def device_text(address: str, fingerprint: Mapping[str, str]) -> str:
    """A device in a few words."""
    quota = fingerprint.get("cpu_quota")
    cores = f"{f'{quota} of ' if quota else ''}{fingerprint.get('cores', '?')} cores"
    return f"{address} ({fingerprint.get('cpu', 'unknown')}, {cores})"


#: What people call the splits.
_SPLITS = {"fit": "calibration", "tune": "validation", "test": "test"}
UNKNOWN = "\N{EN DASH}"  # what nobody measured is neither zero nor nothing


def number(value: float | None, metric: str | None = None) -> str:
    """A figure with as many digits as it deserves: fractions three, the rest three significant."""
    if value is None:
        return UNKNOWN
    if metric is not None and find_metric(metric).kind == "quality":
        return f"{value:.3f}"
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def with_interval(figure: MetricValues, between: str = " ") -> str:
    """A test value with its 95 % interval."""
    text = number(figure.test, figure.metric)
    if figure.low is None or figure.high is None:
        return text
    return f"{text}{between}({figure.low:.3f}\N{EN DASH}{figure.high:.3f})"


def cost_text(figure: MetricValues, between: str = " ") -> str:
    """A cost, measured or else predicted; with the 95 % interval of what was measured."""
    text = number(figure.shown, figure.metric)
    if figure.measured is None or figure.low is None or figure.high is None:
        return text
    low, high = (number(value, figure.metric) for value in (figure.low, figure.high))
    return f"{text}{between}({low}\N{EN DASH}{high})"


def half_width(low: float, high: float) -> str:
    """Half of an interval, relative to its middle."""
    return f"\N{PLUS-MINUS SIGN}{(high - low) / (high + low):.1%}"


def validation_gap(figure: MetricValues) -> str:
    """The validation-to-test gap in percentage points with its 95 % interval: the lead over the
    baseline by the conservative estimate, less the lead on test."""
    if figure.optimism is None or figure.optimism_low is None or figure.optimism_high is None:
        return UNKNOWN
    low, high = 100 * figure.optimism_low, 100 * figure.optimism_high
    return f"{100 * figure.optimism:+.1f} points (95 % CI {low:+.1f} to {high:+.1f})"


def split_name(split: str) -> str:
    """What people call a split."""
    return _SPLITS[split]
