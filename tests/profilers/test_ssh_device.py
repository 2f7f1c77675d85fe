"""Devices behind SSH: who is let in, what travels, and what it takes there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ssh_server import SSHD, SshServer

from trimtab.profilers import (
    Listener,
    LocalDevice,
    RecordedDevice,
    RecordingDevice,
    SshTarget,
    parse_ssh,
)
from trimtab.profilers.ssh import Patience, SshDevice, UnknownHostKey, remember_host
from trimtab.profilers.ssh import device as device_module
from trimtab.profilers.ssh.preparing import clean, survey
from trimtab_runtime.errors import DeviceError, WorkloadError
from trimtab_runtime.probe.requests import FingerprintRequest

MB = 2**20


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    """One for each test: what these do to it, others shall not meet."""
    if SSHD is None:
        pytest.skip("there is no sshd here (Debian: apt-get install openssh-server)")
    found = SshServer(tmp_path / "sshd")
    found.use_environment()
    monkeypatch.setenv("HOME", str(found.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    yield found
    found.stop()


def target(server: SshServer, **changes: Any) -> SshTarget:
    return SshTarget(**{**vars(server.target), **changes})


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ssh://pi@192.0.2.7", SshTarget("192.0.2.7", "pi")),
        ("ssh://board", SshTarget("board")),
        ("ssh://pi@Line-Camera:22", SshTarget("Line-Camera", "pi", 22)),
        ("ssh://pi@[2001:db8::7]:2222", SshTarget("2001:db8::7", "pi", 2222)),
        ("ssh://pi@board:22/data/trimtab/", SshTarget("board", "pi", 22, "/data/trimtab")),
    ],
)
def test_addresses_are_read_and_written(address: str, expected: SshTarget) -> None:
    assert parse_ssh(address) == expected
    assert parse_ssh(expected.address) == expected


@pytest.mark.parametrize(
    "address",
    [
        "ssh://",
        "ssh://pi@",
        "ssh://h:port",
        "ssh://h?x=1",
        "ssh://h/a/../b",
        "ssh://h:99999",
        "ssh://-oProxyCommand=x",
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(DeviceError, match=r"ssh://\[user@\]host\[:port\]"):
        parse_ssh(address)


def test_a_password_is_refused_and_not_told() -> None:
    with pytest.raises(DeviceError, match="no place in an address: log in with a key") as told:
        parse_ssh("ssh://pi:geheim@192.0.2.7")
    assert "geheim" not in str(told.value)


def test_an_unknown_host_is_named_by_its_key_and_may_be_remembered(server: SshServer) -> None:
    with SshDevice(target(server, host_key=None)) as device:
        with pytest.raises(UnknownHostKey, match=r"nobody has confirmed, SHA256:") as unknown:
            device.connection.open()
        assert unknown.value.fingerprint == server.fingerprint
        remember_host(unknown.value)
        assert device.home == str(server.device)
    known = server.home / ".ssh" / "known_hosts"
    assert known.read_text().startswith(f"[127.0.0.1]:{server.port} ssh-ed25519 ")


def test_a_host_with_another_key_is_refused(server: SshServer) -> None:
    wrong = "SHA256:" + "A" * 43
    with (
        SshDevice(target(server, host_key=wrong)) as device,
        pytest.raises(DeviceError, match=f"must show the host key {wrong}, but shows SHA256:"),
    ):
        device.fingerprint()
    other = SshServer(server.folder / "other")
    key = (other.folder / "host_key").read_bytes()
    other.stop()
    with SshDevice(target(server, host_key=None)) as device:
        with pytest.raises(UnknownHostKey) as unknown:
            device.connection.open()
        remember_host(unknown.value)
        server.stop()
        (server.folder / "host_key").write_bytes(key)
        server.start()
        with pytest.raises(DeviceError, match=r"is not the known one, .*ssh-keygen -R") as told:
            device.connection.open()
        assert not isinstance(told.value, UnknownHostKey)


def test_a_user_whose_key_is_not_taken_is_told_what_to_do(server: SshServer) -> None:
    (server.folder / "authorized_keys").write_text("")
    with (
        SshDevice(server.target) as device,
        pytest.raises(DeviceError, match=r"rejected all SSH keys .*`ssh-copy-id -p \d+ "),
    ):
        device.fingerprint()


def test_a_device_that_is_not_there_is_said_at_once(server: SshServer) -> None:
    server.stop()
    with (
        SshDevice(server.target) as device,
        pytest.raises(DeviceError, match=r"cannot be reached: .*111"),
    ):
        device.fingerprint()
    server.start()


class Counting(Listener):
    """How many bytes went to the device."""

    def __init__(self) -> None:
        self.sent, self.steps = 0, 0

    def sending(self, done_bytes: int, total_bytes: int) -> None:
        self.steps += 1
        if done_bytes == total_bytes:
            self.sent += total_bytes


def test_artefacts_travel_once(
    server: SshServer, tracing: Any, on_device: Any, models: Any, photos: list[str]
) -> None:
    sizes = [Path(path).stat().st_size for path in [models["small"][0], *photos]]
    for number in range(2):
        with SshDevice(server.target) as device:
            device.listener = counting = Counting()
            for _ in range(2):
                device.probe(on_device(device, tracing("small")))
        assert (counting.sent > sum(sizes)) == (number == 0)
    kept = [path.name for path in (server.device / "artefacts").iterdir()]
    assert len(kept) == len(photos) + 2  # the model, and the runtime
    assert all(len(name) == 64 for name in kept)


def test_a_file_cut_short_is_sent_again(
    server: SshServer, tracing: Any, on_device: Any, models: Any
) -> None:
    """What a loss of power leaves: an empty file, and parts of others."""
    with SshDevice(server.target) as device:
        request = on_device(device, tracing("small"))
        model = Path(request.stage.model)
        model.touch()
        (model.parent / f".{model.name}.part").write_bytes(b"half")
        assert device.probe(request).arrays["outputs"].shape == (12, 4)
        assert model.read_bytes() == models["small"][0].read_bytes()


def test_a_file_that_changes_meanwhile_is_refused(
    server: SshServer, tracing: Any, on_device: Any, tmp_path: Path, photos: list[str]
) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(Path(photos[0]).read_bytes())
    with SshDevice(server.target) as device:
        request = on_device(device, tracing("small", [str(image)]))
        image.write_bytes(Path(photos[1]).read_bytes())
        with pytest.raises(DeviceError, match=r"image\.png was changed while a job was using it"):
            device.probe(request)


def test_the_longest_unused_make_room(
    server: SshServer, tracing: Any, on_device: Any, tmp_path: Path
) -> None:
    """Whatever their dates say: clocks of boards without a battery jump."""
    with SshDevice(target(server, space_mb=3)) as device:
        device.probe(on_device(device, tracing("small")))
        folder = server.device / "artefacts"
        needed = {path.name for path in folder.iterdir()}
        for number, year in enumerate((1_000_000, 4_000_000_000, 2_000_000)):
            (folder / f"{number}").write_bytes(os.urandom(MB - 200_000))
            os.utime(folder / f"{number}", (year, year))
        extra = tmp_path / "extra.png"
        extra.write_bytes(os.urandom(MB))
        request = on_device(device, tracing("small", [str(extra)]))
        with pytest.raises(WorkloadError, match=r"extra\.png: cannot be read as an image"):
            device.probe(request)
        left = {path.name for path in folder.iterdir()}
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 3 * MB
        assert {"0", "2"} & left in (set(), {"2"})  # 1970 goes first
        assert "1" in left
        assert Path(request.stage.model).name in needed & left
        huge = tmp_path / "huge.png"
        huge.write_bytes(os.urandom(4 * MB))
        with pytest.raises(DeviceError, match=r"needs 4\.\d MB .* may have 3\.0 MB: raise device"):
            device.probe(on_device(device, tracing("small", [str(huge)])))


@pytest.fixture
def small_disk(server: SshServer) -> Iterator[Path]:
    """The device's folder on a disk of 24 MB."""
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(server.device)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    server.use_environment()
    yield server.device
    subprocess.run(["umount", "-l", str(server.device)], check=True)


def _fill(place: Path, leave_bytes: int = 0) -> Path:
    filler = place / "filler"
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    with filler.open("wb") as file:
        file.write(bytes(max(0, free - leave_bytes)))
    return filler


def test_a_full_disk_is_told_and_does_not_last(
    server: SshServer, small_disk: Path, tracing: Any, on_device: Any, tmp_path: Path
) -> None:
    big = tmp_path / "big.png"
    big.write_bytes(os.urandom(8 * MB))
    with SshDevice(server.target) as device:
        device.fingerprint()
        filler = _fill(small_disk, 10 * MB)
        with pytest.raises(DeviceError, match=r"disk is full: 8\.\d MB are to be sent, .* 10\.\d"):
            device.probe(on_device(device, tracing("small", [str(big)])))
        filler.unlink()
        assert device.probe(on_device(device, tracing("small"))).arrays["outputs"].shape == (12, 4)


def test_a_disk_that_fills_up_while_a_probe_runs(
    server: SshServer, small_disk: Path, tracing: Any, on_device: Any
) -> None:
    fillers: list[Path] = []

    def fill(_: int, __: int) -> None:
        if not fillers:
            fillers.append(_fill(small_disk))

    with SshDevice(server.target) as device:
        request = on_device(device, tracing("small"))
        many = tracing("small", list(request.images) * 200)
        many = type(many)(request.stage, many.images, "")
        with pytest.raises(DeviceError, match="No space left on device"):
            device.probe(many, progress=fill)
        fillers[0].unlink()
        assert device.probe(many).arrays["outputs"].shape == (2400, 4)


def test_idle_artefacts_leave_a_full_disk(
    server: SshServer, small_disk: Path, tracing: Any, on_device: Any
) -> None:
    with SshDevice(server.target) as device:
        device.fingerprint()
        _fill(small_disk, 11 * MB)
        (small_disk / "artefacts" / ("0" * 64)).write_bytes(bytes(10 * MB))
        assert device.probe(on_device(device, tracing("small"))).arrays["outputs"].shape == (12, 4)
        assert not (small_disk / "artefacts" / ("0" * 64)).exists()


def test_what_was_recorded_over_ssh_is_answered_here(
    server: SshServer, tracing: Any, on_device: Any, tmp_path: Path
) -> None:
    file = tmp_path / "recording.jsonl"
    with RecordingDevice(SshDevice(server.target), file) as device:
        first = device.probe(on_device(device, tracing("small")))
    again = RecordedDevice(file).probe(tracing("small"))
    assert (again.arrays["outputs"] == first.arrays["outputs"]).all()


def test_two_jobs_on_one_device_are_told_of(
    server: SshServer, tracing: Any, on_device: Any
) -> None:
    class Noting(Listener):
        told: list[str] = []  # noqa: RUF012  # one test, one object

        def trouble(self, kind: str, text: str) -> None:
            self.told.append(kind)

    noting = Noting()

    def second(done: int, total: int) -> None:
        if noting.told or done == total:
            return
        (probe,) = server.probes()
        probe.suspend()  # else it may have ended before a busy machine looks
        try:
            with SshDevice(server.target, patience=Patience()) as other:
                other.listener = noting
                other.fingerprint()
        finally:
            probe.resume()

    with SshDevice(server.target) as device:
        request = on_device(device, tracing("small"))
        many = type(request)(request.stage, request.images * 400, "")
        device.probe(many, progress=second)
    assert "not alone" in noting.told


def test_nothing_in_the_folder_of_an_address_is_run(server: SshServer) -> None:
    """Neither in what is looked at, nor in what is cleaned up."""
    marks = [server.folder / "one", server.folder / "two"]
    folder = f"{server.device}/q$(touch {marks[0]})`touch {marks[1]}`;'\" *"
    with SshDevice(target(server, folder=folder)) as device:
        assert device.running() == []
        assert device.home == folder
        clean(device)
        survey(device)
        clean(device, everything=True)
    assert not any(mark.exists() for mark in marks)
    assert server.device.exists()


def test_a_device_is_known_by_its_host_key(server: SshServer) -> None:
    with SshDevice(server.target) as device:
        assert device.fingerprint()
        assert device.identity() == server.fingerprint
        assert device.identity() != LocalDevice().identity() != ""


def test_the_device_gets_nothing_of_the_users(
    server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their configuration wants to send to every host."""
    config = "Host *\n  ForwardAgent yes\n  SendEnv LC_*\n  SetEnv LC_SECRET=two\n"
    (server.home / ".ssh" / "config").write_text(config)
    with (server.folder / "sshd_config").open("a") as file:
        file.write("AcceptEnv LC_*\n")
    server.stop()
    server.start()
    monkeypatch.setenv("LC_SECRET", "one")
    with SshDevice(server.target) as device:
        assert device.home
        told = device.connection.shell("env").out
    assert "LC_SECRET" not in told
    assert "SSH_AUTH_SOCK" not in told


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", "more than 1 MB"),
        ("head -c 3000000 /dev/zero", "more than 1 MB"),
    ],
)
def test_a_short_command_that_floods_is_stopped(server: SshServer, script: str, told: str) -> None:
    with SshDevice(server.target) as device:
        assert device.home
        with pytest.raises(DeviceError, match=told):
            device.connection.shell(script)
        assert device.connection.shell("echo fine").out == "fine\n"


def test_a_result_without_end_is_not_fetched(server: SshServer) -> None:
    """What lies in the run's folder is the device's to choose."""
    python = server.device / "env" / "bin" / "python"
    python.write_text("#!/bin/sh\nln -s /dev/zero result.json\n")
    with (
        SshDevice(server.target) as device,
        pytest.raises(DeviceError, match=r"result\.json: more than 16 MB"),
    ):
        device.probe(FingerprintRequest())


@pytest.mark.parametrize("said", ["", "one line", "relative\nboot", "\n\n"])
def test_a_shell_that_says_something_else_is_told(
    server: SshServer, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(device_module, "open_script", lambda folder: f"printf '{said}'")
    with (
        SshDevice(server.target) as device,
        pytest.raises(DeviceError, match="where the path of its folder"),
    ):
        device.fingerprint()
