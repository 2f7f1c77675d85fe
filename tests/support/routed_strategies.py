"""Routers and scorers of any kind, drawn by Hypothesis."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from trimtab_runtime.definitions.plan import InputFormat
from trimtab_runtime.definitions.routers import FEATURE_KINDS, Router, Scorer
from trimtab_runtime.images.features import IMAGE_FEATURES

hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
scorers = st.builds(Scorer, model=hexes)
prices = st.floats(0, 1e30)


@st.composite
def routers(
    draw: st.DrawFn,
    formats: st.SearchStrategy[InputFormat],
    stages: int | None = None,
    kinds: tuple[str, ...] = tuple(FEATURE_KINDS),
) -> Router:
    """For so many stages, or any number."""
    kind, count = draw(st.sampled_from(kinds)), stages or draw(st.integers(2, 4))
    some = st.lists(st.sampled_from(IMAGE_FEATURES), min_size=1, max_size=7)
    return Router(
        model=draw(hexes),
        kind=kind,
        costs_ms=tuple(draw(st.lists(prices, min_size=count, max_size=count))),
        names=tuple(draw(some)) if kind == "image" else (),
        input=replace(draw(formats), dtype="float32") if kind == "tensor" else None,
    )
