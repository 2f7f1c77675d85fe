"""Errors that another process tells by the name of their class."""

from __future__ import annotations

import pytest

from trimtab_runtime.errors import BundleError, DeviceError, EngineError, ModelError, told_error


@pytest.mark.parametrize(
    ("name", "kinds", "expected"),
    [
        ("EngineError", (), EngineError),
        ("EngineError", (BundleError, EngineError), EngineError),
        ("EngineError", (BundleError,), DeviceError),  # not one that may be told
        ("ValueError", (), DeviceError),
        ("told_error", (), DeviceError),  # no class
        ("", (), DeviceError),
    ],
)
def test_an_error_keeps_its_class_where_that_may_be_told(
    name: str, kinds: tuple[type[ModelError], ...], expected: type[Exception]
) -> None:
    found = told_error(name, "why", DeviceError, kinds)
    assert (type(found), str(found)) == (expected, "why")
