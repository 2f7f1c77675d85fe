"""A job that is killed at any moment loses nothing and ends where it would have."""

import pytest
from killing import Killing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def killing(tmp_path_factory):
    return Killing(tmp_path_factory.mktemp("killing"))


@pytest.mark.parametrize("kills", [25, 50, 75, 100])
def test_a_hundred_kills_change_nothing(killing, kills):
    tally = killing.go_on(kills)
    assert tally.problems == []
    assert (tally.lost, tally.repeated, tally.unequal) == (0, 0, 0)
    assert tally.kills == kills
    assert tally.jobs < tally.kills, "else kills come too late"
