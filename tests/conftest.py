"""What all tests share."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import property_tests
import pytest
from hypothesis import settings

from trimtab.profilers import InProcessDevice, RecordOrReplayDevice, SteadyDevice


def pytest_configure(config: pytest.Config) -> None:
    """Without the slow tests (`make test`), property tests draw few examples."""
    if "not slow" in config.option.markexpr:
        property_tests.leave_most_out()
    settings.register_profile("trimtab", property_tests.examples(100))
    settings.load_profile("trimtab")


def pytest_collection_finish() -> None:
    """What is there now stays to the end: whoever collects garbage, as each measurement of memory
    does, need not look through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this machine was asked in this session by any worker, and answered."""
    folder = tmp_path_factory.getbasetemp()
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "machine.jsonl"


@pytest.fixture(scope="session")
def machine(recording: Path) -> RecordOrReplayDevice:
    """This machine as a device, with times and memory that do not depend on what else it does, and
    without a process a request. What another test asked before is answered from the recording, so
    that of all jobs over the same models and images one measures them."""
    return RecordOrReplayDevice(SteadyDevice(InProcessDevice()), recording)
