"""Hypothesis strategies of exits and memories."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from trimtab_runtime.definitions import exits
from trimtab_runtime.definitions.exits import Centres, Exits, ExitThresholds, Memory, Prior, Tap

hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
finite = st.floats(allow_nan=False, allow_infinity=False)
kinds = st.sets(st.sampled_from(exits.TAP_KINDS)).map(
    lambda chosen: tuple(kind for kind in exits.TAP_KINDS if kind in chosen)
)
taps = st.builds(Tap, name=st.text(max_size=8), segment=hexes, kinds=kinds)
exit_plans = st.builds(
    Exits,
    taps=st.lists(taps, min_size=1, max_size=3, unique_by=lambda tap: tap.name).map(tuple),
    last=hexes,
    arrays=hexes,
)
thresholds = st.builds(ExitThresholds, **dict.fromkeys(exits.EXIT_KINDS, st.none() | finite))
centres = st.builds(
    Centres,
    measure=st.sampled_from(exits.CENTRE_MEASURES),
    window=st.integers(0, 10**6),
    hot_share=st.floats(0, 1, exclude_min=True),
    update=st.sampled_from(exits.CENTRE_UPDATES),
)
priors = st.builds(
    Prior,
    decay=st.floats(0, 1, exclude_min=True, exclude_max=True),
    smoothing=st.floats(1e-6, 1e6),
    weight=st.floats(0, 1e6),
    final=st.floats(0, 1e6),
)
entries = st.integers(0, exits.MAX_ENTRIES)
memories = st.builds(
    Memory,
    thumbnails=entries,
    instances=entries,
    centres=st.none() | centres,
    prior=st.none() | priors,
)


@st.composite
def memories_for(draw: st.DrawFn, asked: set[str]) -> Memory:
    """A memory that has what taps with these kinds need, and nothing that they cannot use."""
    return Memory(
        thumbnails=draw(entries),
        instances=draw(st.integers(1, exits.MAX_ENTRIES)) if "instances" in asked else 0,
        centres=draw(centres) if "centres" in asked else None,
        prior=draw(st.none() | priors),
    )


def thresholds_for(own: Any) -> st.SearchStrategy[ExitThresholds]:
    """Thresholds of these kinds of exit and of no others."""
    return st.builds(ExitThresholds, **dict.fromkeys(own, st.none() | finite))
