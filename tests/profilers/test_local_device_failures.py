"""What goes wrong on a device reaches the caller as an error, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import has_ended

from trimtab.profilers import LocalDevice
from trimtab.profilers.device import probe_error
from trimtab_runtime.errors import (
    BundleError,
    DeviceError,
    EngineError,
    InferenceError,
    ModelError,
    TrimtabError,
    WorkloadError,
)
from trimtab_runtime.probe.requests import VerifyRequest


@pytest.fixture(autouse=True)
def nothing_is_left(scratch: Path) -> Any:
    yield
    assert list(scratch.iterdir()) == []
    assert probes() == []


def probes() -> list[psutil.Process]:
    """Children of this process that are probes."""
    found = []
    for child in psutil.Process().children():
        try:
            if "trimtab_runtime.probe" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize("kind", ["measuring", "tracing"])
def test_nan_reaches_the_caller(
    device: LocalDevice, kind: str, request: pytest.FixtureRequest
) -> None:
    make = request.getfixturevalue(kind)
    with pytest.raises(InferenceError, match=r"nan .*NaN"):
        device.probe(make("nan"))


def test_a_trace_names_the_image(device: LocalDevice, tracing: Any, photos: Sequence[str]) -> None:
    with pytest.raises(InferenceError, match=r"NaN or infinity for .*00.png"):
        device.probe(tracing("nan"))


@pytest.mark.parametrize("name", ["small", "bytes"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_corrupt_model(
    device: LocalDevice, tracing: Any, tmp_path: Path, name: str, damage: str
) -> None:
    asked = tracing(name)
    path = tmp_path / Path(asked.stage.model).name
    if damage == "truncated":
        shutil.copy(asked.stage.model, path)
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ModelError, match=rf"{name}: .* cannot load it"):
        stage = dataclasses.replace(asked.stage, model=str(path))
        device.probe(dataclasses.replace(asked, stage=stage))


def test_a_size_that_the_model_does_not_take(device: LocalDevice, tracing: Any) -> None:
    asked = tracing("small")
    fmt = dataclasses.replace(asked.stage.variant.input, size=(8, 16))
    wrong = dataclasses.replace(asked.stage.variant, input=fmt)
    stage = dataclasses.replace(asked.stage, variant=wrong)
    with pytest.raises(InferenceError, match="small: "):
        device.probe(dataclasses.replace(asked, stage=stage))


def test_a_missing_provider(device: LocalDevice, measuring: Any) -> None:
    with pytest.raises(EngineError, match="has no TensorrtExecutionProvider here"):
        device.probe(measuring("small", provider="TensorrtExecutionProvider"))


def test_an_unreadable_image(device: LocalDevice, tracing: Any, tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("no image")
    with pytest.raises(WorkloadError, match=r"note\.png: cannot be read as an image"):
        device.probe(tracing("small", [str(tmp_path / "note.png")]))


def test_a_bundle_that_is_none(device: LocalDevice, tmp_path: Path, photos: Sequence[str]) -> None:
    (tmp_path / "plan.pyz").write_text("no bundle")
    with pytest.raises(BundleError, match=r"plan\.pyz: its end is missing"):
        device.probe(VerifyRequest(str(tmp_path / "plan.pyz"), tuple(photos), ""))


@pytest.fixture
def endless(photos: Sequence[str]) -> list[str]:
    """Images for many seconds; the first progress comes after one."""
    return list(photos) * 3000


def while_running(act: Callable[[psutil.Process], object]) -> Callable[[int, int], None]:
    """A progress callback that does something to the probe once, at its first sign of life."""
    done = threading.Event()

    def progress(_: int, __: int) -> None:
        if not done.is_set():
            done.set()
            (probe,) = probes()
            act(probe)

    return progress


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGKILL, "the probe was killed, most likely because memory ran out"),
        (signal.SIGSEGV, "the probe died of signal 11"),
    ],
)
def test_a_probe_that_dies_in_the_middle(
    device: LocalDevice, tracing: Any, endless: Any, number: signal.Signals, message: str
) -> None:
    kill = while_running(lambda probe: probe.send_signal(number))
    with pytest.raises(DeviceError, match=message):
        device.probe(tracing("small", endless), progress=kill)


def test_a_probe_that_hangs_is_killed(device: LocalDevice, tracing: Any, endless: Any) -> None:
    held: list[psutil.Process] = []

    def stop(probe: psutil.Process) -> None:
        held.append(probe)
        probe.suspend()

    for stall_s in (5, 40, 200):  # more where a busy machine did not let it begin
        with pytest.raises(DeviceError, match=f"the probe gave no sign of life for {stall_s} s"):
            device.probe(tracing("small", endless), stall_s=stall_s, progress=while_running(stop))
        if held:
            break
    assert has_ended(held[0])


def test_a_probe_that_never_says_anything_is_killed(
    device: LocalDevice, tracing: Any, endless: Any
) -> None:
    with pytest.raises(DeviceError, match="no sign of life for 0 s"):
        device.probe(tracing("small", endless), stall_s=0.01)


def test_a_caller_that_gives_up_leaves_no_probe(
    device: LocalDevice, tracing: Any, endless: Any
) -> None:
    def interrupt(_: int, __: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        device.probe(tracing("small", endless), progress=interrupt)


def test_an_interpreter_that_cannot_run_the_probe(tracing: Any) -> None:
    with pytest.raises(DeviceError, match="the probe ended with status 1"):
        LocalDevice(shutil.which("false") or "false").probe(tracing("small"))


def test_the_end_of_what_it_printed_is_told(
    device: LocalDevice, tracing: Any, tmp_path: Path
) -> None:
    (tmp_path / "trimtab_runtime").mkdir()
    (tmp_path / "trimtab_runtime" / "__init__.py").write_text("import broken_on_purpose")
    with pytest.raises(DeviceError, match=r"status 1: (?s:.*)No module named 'broken_on_purpose'"):
        device.probe(tracing("small"), bundle=str(tmp_path))


def test_an_interpreter_that_is_missing(tracing: Any) -> None:
    with pytest.raises(DeviceError, match=r"cannot be started: .*/no/such/python"):
        LocalDevice("/no/such/python").probe(tracing("small"))


@pytest.mark.parametrize(
    "kind", [BundleError, DeviceError, EngineError, InferenceError, ModelError, WorkloadError]
)
def test_what_a_probe_raises_keeps_its_class(kind: type[TrimtabError]) -> None:
    found = probe_error(kind.__name__, "why")
    assert type(found) is kind
    assert str(found) == "why"


def test_other_errors_are_the_devices() -> None:
    out = probe_error("MemoryError", "")
    assert type(out) is DeviceError
    assert "ran out of memory; take a smaller model" in str(out)
    for name in ("ValueError", "annotations", "NoSuchError", "StoreError", "SpecificationError"):
        assert type(probe_error(name, "why")) is DeviceError
