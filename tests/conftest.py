"""What all tests share."""

from __future__ import annotations

import property_tests
import pytest
from hypothesis import settings


def pytest_configure(config: pytest.Config) -> None:
    """Without the slow tests (`make test`), property tests draw few examples."""
    if "not slow" in config.option.markexpr:
        property_tests.leave_most_out()
    settings.register_profile("trimtab", property_tests.examples(100))
    settings.load_profile("trimtab")
