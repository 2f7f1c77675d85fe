"""The sliders that limit a front."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.dashboard.pages.front import slider_range


@given(st.floats(1e-3, 1e4), st.floats(1.01, 1e4))
def test_a_slider_ends_at_decimals_around_the_values(least, ratio):
    most = least * ratio
    low, high, step = slider_range(least, most)
    assert low - step * 1e-6 <= least < low + 1.001 * step
    assert high - 1.001 * step < most <= high + step * 1e-6
    assert 49 <= (high - low) / step <= 503
    # What an address says of an end is that end, not a little less.
    assert [float(f"{end:.9g}") for end in (low, high)] == [low, high]


def test_an_end_is_within_its_own_bounds():
    assert slider_range(0.0527, 0.12)[0] == 0.052
    assert 52 * 0.001 > 0.052  # which is why
