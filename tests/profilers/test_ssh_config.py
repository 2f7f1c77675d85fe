"""What `ssh` reaches, `ssh://` reaches: aliases, files of host keys, jump hosts; and devices that
can never do, which are told with what to do about it."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from ssh_server import SFTP, SSHD, SshServer

from trimtab.profilers import SshTarget, parse_ssh
from trimtab.profilers.ssh import SshDevice, UnknownHostKey, remember_host
from trimtab.profilers.ssh.preparing import prepare, survey
from trimtab_runtime.errors import DeviceError

pytestmark = pytest.mark.slow

needs_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh client here")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    if SSHD is None:
        pytest.skip("there is no sshd here (Debian: apt-get install openssh-server)")
    found = SshServer(tmp_path_factory.mktemp("board"))
    found.use_environment()
    yield found
    found.stop()


@pytest.fixture
def configured(board: SshServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SshTarget]:
    """configured(*lines): the alias Line-Camera for the board, with lines of ~/.ssh/config."""
    monkeypatch.setenv("HOME", str(board.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    ssh = board.home / ".ssh"
    for left in ssh.glob("known_*"):
        left.unlink()

    def write(*lines: str) -> SshTarget:
        own = [f"HostName 127.0.0.1\n  Port {board.port}\n  User {getpass.getuser()}", *lines]
        (ssh / "config").write_text("\n  ".join(["Host Line-Camera", *own]) + "\n")
        return parse_ssh(f"ssh://Line-Camera{board.device}")

    return write


def known(server: SshServer) -> str:
    """The line of a server's key."""
    public = server.host_key.export_public_key("openssh").decode().split()
    return f"[127.0.0.1]:{server.port} {' '.join(public[:2])}\n"


def confirmed(target: SshTarget) -> list[str]:
    """Reach a device, confirming each unknown key; the names of the hosts that had one."""
    names = []
    with SshDevice(target) as device:
        for _ in range(4):
            try:
                device.connection.open()
            except UnknownHostKey as unknown:
                names.append(unknown.known.name)
                remember_host(unknown)
            else:
                assert device.connection.shell("echo reached").out == "reached\n"
                return names
    raise AssertionError(f"{names} were confirmed, and still not known")


def test_an_alias_in_capitals_is_found(
    board: SshServer, configured: Callable[..., SshTarget]
) -> None:
    target = configured()
    assert target.host == "Line-Camera"
    (board.home / ".ssh" / "known_hosts").write_text(known(board))
    assert confirmed(target) == []
    with SshDevice(target) as device:
        assert device.fingerprint()["cores"]


def test_keys_are_kept_where_the_configuration_says(
    board: SshServer, configured: Callable[..., SshTarget]
) -> None:
    target = configured("UserKnownHostsFile ~/.ssh/known_boards %d/.ssh/known_more")
    assert confirmed(target) == ["Line-Camera"]
    assert (board.home / ".ssh" / "known_boards").read_text() == known(board)
    assert confirmed(target) == []
    assert not (board.home / ".ssh" / "known_hosts").exists()
    configured("UserKnownHostsFile ~/.ssh/known_others ~/.ssh/known_boards")
    assert confirmed(target) == []  # the second file is read too
    configured("HostKeyAlias the-camera", "UserKnownHostsFile ~/.ssh/known_alias")
    assert confirmed(target) == ["Line-Camera"]
    assert (board.home / ".ssh" / "known_alias").read_text().startswith("the-camera ssh-ed25519 ")
    assert confirmed(target) == []


def test_a_file_that_keeps_nothing_is_told_and_not_asked_for_ever(
    board: SshServer, configured: Callable[..., SshTarget]
) -> None:
    target = configured("UserKnownHostsFile /dev/null")
    with SshDevice(target) as device, pytest.raises(UnknownHostKey) as unknown:
        device.connection.open()
    with pytest.raises(DeviceError, match=r"keeps nothing: write its key as device\.host_key"):
        remember_host(unknown.value)
    told = parse_ssh(target.address, host_key=board.fingerprint)
    assert confirmed(told) == []


@needs_ssh
def test_keys_that_nobody_is_to_be_asked_about_are_taken(
    board: SshServer, configured: Callable[..., SshTarget]
) -> None:
    target = configured("UserKnownHostsFile /dev/null", "StrictHostKeyChecking no")
    assert confirmed(target) == []
    configured("StrictHostKeyChecking accept-new")
    assert confirmed(target) == []
    file = board.home / ".ssh" / "known_hosts"
    assert file.read_text() == known(board)
    place, kind, _ = known(board).split()
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key("openssh").decode()
    file.write_text(f"{place} {kind} {other.split()[1]}\n")
    with SshDevice(target) as device, pytest.raises(DeviceError, match="is not the known one"):
        device.connection.open()


def test_unknown_keys_of_jump_hosts_are_asked_about_too(
    board: SshServer, configured: Callable[..., SshTarget], tmp_path: Path
) -> None:
    target = configured("ProxyJump bastion")
    bastion = SshServer(tmp_path / "bastion")
    try:
        shutil.copy(board.folder / "authorized_keys", bastion.folder / "authorized_keys")
        config = board.home / ".ssh" / "config"
        own = f"Host bastion\n  HostName 127.0.0.1\n  Port {bastion.port}\n"
        config.write_text(config.read_text() + own)
        assert confirmed(target) == ["bastion", "Line-Camera"]
        assert confirmed(target) == []
        named = parse_ssh(target.address, host_key=board.fingerprint)
        assert confirmed(named) == []  # that is the device's key, and not the jump host's
        (bastion.folder / "authorized_keys").write_text("")
        with (
            SshDevice(target) as device,
            pytest.raises(DeviceError, match=r"^bastion, before ssh://Line-Camera.*`ssh-copy-id"),
        ):
            device.connection.open()
    finally:
        bastion.stop()


# ---- devices that can never do ----------------------------------------------------------------

_FORCED = "ForceCommand sh -c '{}'"
_RUN = 'eval "$SSH_ORIGINAL_COMMAND"'
_GREETING = _FORCED.format(f'echo "Welcome to line 3"; {_RUN}')
_GREETING_BUT_FOR_SFTP = _FORCED.format(
    f'case "$SSH_ORIGINAL_COMMAND" in *sftp*) ;; *) echo "Hi 3 a=b";; esac; {_RUN}'
)
_SFTP_SERVER = next(
    (path for path in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server")
     if os.path.exists(path)), None)  # fmt: skip


@pytest.fixture
def odd(board: SshServer, configured: Callable[..., SshTarget]) -> Iterator[Callable[..., Any]]:
    """odd(*lines): the board, its server with other lines in its configuration."""

    def change(*lines: str) -> SshTarget:
        board.stop()
        board.configure(*lines)
        board.start()
        return board.target

    configured()
    yield change
    change(SFTP)


@pytest.mark.skipif(_SFTP_SERVER is None, reason="there is no program sftp-server here")
def test_a_shell_that_greets_is_no_trouble_unless_sftp_goes_through_it(
    odd: Callable[..., SshTarget],
) -> None:
    with SshDevice(odd(f"Subsystem sftp {_SFTP_SERVER}", _GREETING_BUT_FOR_SFTP)) as device:
        assert device.fingerprint()["cores"]
        assert device.running() == []
        assert survey(device).used_mb >= 0
    target = odd(f"Subsystem sftp {_SFTP_SERVER}", _GREETING)
    with (
        SshDevice(target) as device,
        pytest.raises(DeviceError, match=r"SFTP does not begin, .* 'Welcome to line 3' first; .*"),
    ):
        device.fingerprint()


def test_a_device_without_sftp_is_told_at_once_what_to_enable(
    odd: Callable[..., SshTarget],
) -> None:
    with (
        SshDevice(odd()) as device,
        pytest.raises(DeviceError, match=r"offers no SFTP, .*Subsystem sftp internal-sftp"),
    ):
        device.fingerprint()


def test_a_user_without_a_shell_is_told_at_once(odd: Callable[..., SshTarget]) -> None:
    target = odd(SFTP, "ForceCommand echo This account is not available.; exit 1")
    with (
        SshDevice(target) as device,
        pytest.raises(DeviceError, match=r"runs no commands \(exit status 1: This account is"),
    ):
        device.fingerprint()


def test_a_folder_where_no_program_may_run_is_told_with_another(
    board: SshServer, configured: Callable[..., SshTarget], tmp_path: Path
) -> None:
    configured()
    folder = tmp_path / "mounted"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "noexec,size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        target = SshTarget(**{**vars(board.target), "folder": str(folder / "ours")})
        with SshDevice(target) as device:
            assert "mounted noexec; name another in the address" in survey(device).missing[0]
            with pytest.raises(DeviceError, match="mounted noexec"):
                prepare(device, ["onnxruntime"], print)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
