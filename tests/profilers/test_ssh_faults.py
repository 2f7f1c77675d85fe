"""A device that is lost, killed, stopped, full or rebooted, for real: what is measured again, what
is given up, and that nothing is left running."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from processes import PATIENCE_S, has_ended
from ssh_server import SshServer

from trimtab.profilers import DeviceLost, Listener
from trimtab.profilers.device import Progress
from trimtab.profilers.ssh import Patience, SshDevice
from trimtab.profilers.ssh.preparing import clean
from trimtab_runtime.errors import DeviceError

pytestmark = pytest.mark.slow

PATIENT = Patience(first_s=0.1, longest_s=1.0, total_s=PATIENCE_S)


class Noting(Listener):
    """Counts troubles, and keeps what was said."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.texts: list[str] = []

    def trouble(self, kind: str, text: str) -> None:
        self.kinds[kind] += 1
        self.texts.append(text)


@pytest.fixture
def server(at_home: SshServer) -> SshServer:
    return at_home


@pytest.fixture
def device(server: SshServer) -> Iterator[SshDevice]:
    with SshDevice(server.target, patience=PATIENT) as found:
        found.listener = Noting()
        yield found
    assert server.probes() == []
    assert list((server.device / "runs").iterdir()) == []


def kinds(device: SshDevice) -> dict[str, int]:
    assert isinstance(device.listener, Noting)
    return dict(device.listener.kinds)


@pytest.fixture
def long_trace(device: SshDevice, on_device: Any, tracing: Any, photos: Sequence[str]) -> Any:
    """A trace that lasts some seconds, and the number of its images."""
    request = on_device(device, tracing("small"))
    return tracing("small", list(request.images) * 200), 2400


def first_times(count: int, act: Callable[[], object]) -> Progress:
    """Act at the first sign of life of so many attempts."""
    acted, last = [0], [sys.maxsize]

    def progress(done: int, total: int) -> None:
        begins, last[0] = done <= last[0], done
        if begins and acted[0] < count:
            acted[0] += 1
            act()

    return progress


def trace(
    device: SshDevice, long_trace: Any, on_device: Any, progress: Progress, **how: Any
) -> Any:
    request, count = long_trace
    found = device.probe(on_device(device, request), progress=progress, **how)
    assert found.arrays["outputs"].shape == (count, 4)
    return found


def test_a_cut_connection_is_taken_up_again(
    server: SshServer, device: SshDevice, long_trace: Any, on_device: Any
) -> None:
    before = server.starts()
    found = trace(device, long_trace, on_device, first_times(2, server.cut))
    assert kinds(device) == {"connection lost": 2}
    assert server.starts() == before + 3
    assert np.array_equal(found.arrays["outputs"][:12], found.arrays["outputs"][12:24])


def test_what_was_finished_is_fetched_and_not_measured_again(
    server: SshServer, device: SshDevice, tracing: Any, on_device: Any
) -> None:
    """The connection is cut when the answer lies there and nobody has taken it yet."""
    request = on_device(device, tracing("small"))
    before = server.starts()
    was_cut: list[bool] = []

    def cut_at_the_end(done: int, total: int) -> None:
        if done == total and not was_cut:  # it may be told again after the connection is back
            was_cut.append(True)
            (run,) = (server.device / "runs").iterdir()  # the probe itself may have ended
            while not (run / "result.json").exists():
                time.sleep(0.001)
            server.cut()

    assert device.probe(request, progress=cut_at_the_end).arrays["outputs"].shape == (12, 4)
    assert kinds(device) == {"connection lost": 1}
    assert server.starts() == before + 1


def test_a_probe_that_was_killed_once_is_asked_again(
    server: SshServer, device: SshDevice, long_trace: Any, on_device: Any
) -> None:
    kill = first_times(1, lambda: server.probes()[0].kill())
    trace(device, long_trace, on_device, kill)
    assert kinds(device) == {"probe repeated": 1}


def test_a_probe_that_is_killed_again_is_given_up(
    server: SshServer, device: SshDevice, long_trace: Any, on_device: Any
) -> None:
    kill = first_times(9, lambda: server.probes()[0].kill())
    with pytest.raises(DeviceError, match="was killed, most likely because memory ran out"):
        trace(device, long_trace, on_device, kill)
    assert kinds(device) == {"probe repeated": 1}
    assert device.fingerprint()["machine"]


def test_a_crash_of_its_own_is_not_tried_again(
    server: SshServer, device: SshDevice, long_trace: Any, on_device: Any
) -> None:
    crash = first_times(9, lambda: server.probes()[0].send_signal(signal.SIGSEGV))
    before = server.starts()
    with pytest.raises(DeviceError, match="the probe died of signal 11"):
        trace(device, long_trace, on_device, crash)
    assert server.starts() == before + 1
    assert kinds(device) == {}


def test_a_probe_that_was_stopped_is_killed_and_asked_again(
    server: SshServer, device: SshDevice, long_trace: Any, on_device: Any
) -> None:
    held: list[psutil.Process] = []

    def stop() -> None:
        held.extend(server.probes())
        held[-1].suspend()

    trace(device, long_trace, on_device, first_times(1, stop), stall_s=20.0)
    assert has_ended(held[0])
    assert kinds(device) == {"probe repeated": 1}


def test_a_stopped_probe_behind_a_cut_connection_is_killed_first(
    server: SshServer, device: SshDevice, long_trace: Any, on_device: Any
) -> None:
    """It does not see that its standard input closed."""
    held: list[psutil.Process] = []

    def stop_and_cut() -> None:
        held.extend(server.probes())
        held[-1].suspend()
        server.cut()

    trace(device, long_trace, on_device, first_times(1, stop_and_cut))
    assert has_ended(held[0])
    assert kinds(device) == {"connection lost": 1}


def test_a_silent_connection_is_noticed(
    server: SshServer, device: SshDevice, long_trace: Any, on_device: Any
) -> None:
    """As when a cable is pulled: nobody says goodbye. The probe itself goes on."""
    frozen: list[psutil.Process] = []
    asking = dataclasses.replace(PATIENT, keep_alive_s=1.0)

    def freeze() -> None:
        frozen.extend(server.sessions())
        for process in frozen:
            process.suspend()

    with SshDevice(server.target, patience=asking) as watchful:
        watchful.listener = Noting()
        try:
            trace(watchful, long_trace, on_device, first_times(1, freeze))
        finally:
            for process in frozen:
                process.kill()
        # A busy machine may be as silent without us.
        assert kinds(watchful).keys() == {"connection lost"}


def test_a_server_that_comes_back_is_waited_for(
    server: SshServer, device: SshDevice, long_trace: Any, on_device: Any
) -> None:
    started: list[threading.Timer] = []

    def stop() -> None:
        server.stop()
        started.append(threading.Timer(2.0, server.start))
        started[-1].start()

    trace(device, long_trace, on_device, first_times(1, stop))
    started[0].join()
    assert kinds(device) == {"connection lost": 1}


def test_a_server_that_stays_away_is_lost(
    server: SshServer, long_trace: Any, on_device: Any
) -> None:
    brief = Patience(first_s=0.1, longest_s=0.5, total_s=1.0)
    try:
        with (
            SshDevice(server.target, patience=brief) as device,
            pytest.raises(DeviceLost, match=r"cannot be reached.*run the same command again"),
        ):
            trace(device, long_trace, on_device, first_times(1, server.stop))
    finally:
        server.start()
    with SshDevice(server.target) as device:
        assert device.running() == []
        clean(device)
    assert list((server.device / "runs").iterdir()) == []


def test_a_caller_that_gives_up_leaves_no_probe(
    device: SshDevice, long_trace: Any, on_device: Any
) -> None:
    def interrupt(_: int, __: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trace(device, long_trace, on_device, interrupt)


@pytest.fixture
def namespaces() -> list[str]:
    """The command that runs another in a mount namespace of its own."""
    command = ["unshare", "--mount", "--propagation", "private"]
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("only root on Linux can show a server another boot")
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not allowed here")
    return command


@pytest.fixture
def reboot(server: SshServer, namespaces: list[str], tmp_path: Path) -> Iterator[Any]:
    """reboot(cpu=): the server starts anew where Linux tells another boot, on another CPU."""

    def again(cpu: str = "") -> None:
        server.stop()
        (tmp_path / "boot_id").write_text("00000000-0000-4000-8000-000000000000\n")
        binds = [("boot_id", "/proc/sys/kernel/random/boot_id")]
        if cpu:
            told = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            lines = [f"model name\t: {cpu}" if t.startswith("model name") else t for t in told]
            (tmp_path / "cpuinfo").write_text("\n".join(lines) + "\n", encoding="utf-8")
            binds.append(("cpuinfo", "/proc/cpuinfo"))
        mounts = [f"mount --bind {tmp_path / name} {place}" for name, place in binds]
        script = " && ".join([*mounts, 'exec "$@"'])
        server.start(*namespaces, "sh", "-c", script, "sh")

    yield again
    server.stop()
    server.start()


def test_after_a_reboot_it_is_measured_again(
    server: SshServer, device: SshDevice, long_trace: Any, on_device: Any, reboot: Any
) -> None:
    device.fingerprint()
    before = server.starts()
    trace(device, long_trace, on_device, first_times(1, reboot))
    assert kinds(device) == {"connection lost": 1, "rebooted": 1}
    assert server.starts() == before + 3  # half a trace, a fingerprint, a trace


def test_a_device_that_came_back_as_another_is_no_use(
    device: SshDevice, long_trace: Any, on_device: Any, reboot: Any
) -> None:
    device.fingerprint()
    with pytest.raises(DeviceLost, match=r"not what it was .*\(cpu: .* is now Other CPU\)"):
        trace(device, long_trace, on_device, first_times(1, lambda: reboot("Other CPU")))
