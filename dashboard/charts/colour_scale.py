"""Colours of a metric: viridis, as matplotlib has it, and the bar that explains it."""

from __future__ import annotations

from typing import Any

import numpy as np

from trimtab.dashboard.charts.figures import GREY

_VIRIDIS = np.array(
    [
        (68, 1, 84), (72, 40, 120), (62, 73, 137), (49, 104, 142), (38, 130, 142),
        (31, 158, 137), (53, 183, 121), (110, 206, 88), (181, 222, 43), (253, 231, 37),
    ]
)  # fmt: skip


def positions(values: Any, scale: tuple[float, float]) -> Any:
    """Where values (n,) lie on a scale from its least to its largest, 0 to 1."""
    return (values - scale[0]) / max(scale[1] - scale[0], 1e-12)


def hue(share: float) -> str:
    """Viridis; grey for what is not known."""
    if np.isnan(share):
        return GREY
    at = np.linspace(0, 1, len(_VIRIDIS))
    return "#" + "".join(f"{round(np.interp(share, at, part)):02x}" for part in _VIRIDIS.T)


def colour_bar(scale: tuple[float, float], text: str) -> dict[str, Any]:
    """The bar that says what colours mean, its ends in the colour `text`; the points have theirs
    already."""
    return {
        "type": "continuous",
        "seriesIndex": [],
        "min": scale[0],
        "max": scale[1],
        "inRange": {"color": [hue(share) for share in np.linspace(0, 1, len(_VIRIDIS))]},
        "text": [f"{value:.4g}" for value in reversed(scale)],
        "textStyle": {"color": text},
        "right": 0,
        "top": "middle",
        "itemWidth": 10,
        "itemHeight": 200,
    }
