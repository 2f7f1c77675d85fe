"""Signatures of bundles: those of ours are OpenSSH's, and the other way round."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trimtab.planner.bundles.signing import (
    NAMESPACE,
    check_signature,
    read_key,
    sign_bundle,
    signature_of,
)
from trimtab_runtime.errors import BundleError

ME = "me@example.org"


def ssh_keygen(
    *arguments: object, given: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["ssh-keygen", *map(str, arguments)], input=given, capture_output=True, check=False
    )


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A bundle (to a signature any bytes are one), a key, and a list that allows it."""
    bundle, key, signers = tmp_path / "plan.pyz", tmp_path / "key", tmp_path / "allowed"
    bundle.write_bytes(bytes(range(256)) * 40)
    assert ssh_keygen("-q", "-t", "ed25519", "-N", "", "-f", key).returncode == 0
    signers.write_text(f"{ME} {key.with_suffix('.pub').read_text()}")
    return bundle, key, signers


def test_openssh_checks_what_we_signed(made: tuple[Path, Path, Path]) -> None:
    bundle, key, signers = made
    signature = sign_bundle(bundle, read_key(key))
    assert signature == signature_of(bundle)
    check_signature(bundle, signers, ME)
    call = ["-Y", "verify", "-f", signers, "-I", ME, "-n", NAMESPACE, "-s", signature]
    done = ssh_keygen(*call, given=bundle.read_bytes())
    assert done.returncode == 0, done.stderr


def test_we_check_what_openssh_signed(made: tuple[Path, Path, Path]) -> None:
    bundle, key, signers = made
    assert ssh_keygen("-Y", "sign", "-f", key, "-n", NAMESPACE, bundle).returncode == 0
    check_signature(bundle, signers, ME)


def test_another_file_key_name_or_purpose_is_refused(made: tuple[Path, Path, Path]) -> None:
    bundle, key, signers = made
    with pytest.raises(BundleError, match=r"no signature .*export --sign"):
        check_signature(bundle, signers, ME)
    sign_bundle(bundle, read_key(key))
    with pytest.raises(BundleError, match="altered, signed by another key"):
        check_signature(bundle, signers, "you@example.org")
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[:-1] + b"\0")
    with pytest.raises(BundleError, match="altered, signed by another key"):
        check_signature(bundle, signers, ME)
    bundle.write_bytes(whole)
    stranger = bundle.with_name("stranger")
    ssh_keygen("-q", "-t", "ed25519", "-N", "", "-f", stranger)
    sign_bundle(bundle, read_key(stranger))
    with pytest.raises(BundleError, match="altered, signed by another key"):
        check_signature(bundle, signers, ME)
    signature_of(bundle).unlink()
    ssh_keygen("-Y", "sign", "-f", key, "-n", "file", bundle)
    with pytest.raises(BundleError, match="for 'file', not for 'trimtab-bundle'"):
        check_signature(bundle, signers, ME)


@pytest.mark.parametrize("content", [b"", b"x", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n", b"\xff"])
def test_what_is_no_signature_is_told(made: tuple[Path, Path, Path], content: bytes) -> None:
    bundle, _, signers = made
    signature_of(bundle).write_bytes(content)
    with pytest.raises(BundleError, match="no SSH signature"):
        check_signature(bundle, signers, ME)


def test_keys_that_cannot_be_used(made: tuple[Path, Path, Path]) -> None:
    bundle, _, signers = made
    locked = bundle.with_name("locked")
    ssh_keygen("-q", "-t", "ed25519", "-N", "open sesame", "-f", locked)
    for key in (signers, locked, bundle.with_name("missing")):
        with pytest.raises(BundleError, match=r"no private SSH key .*ssh-keygen -Y sign"):
            read_key(key)
