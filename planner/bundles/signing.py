"""Who made a bundle: SSH signatures, as `ssh-keygen -Y` makes and checks them.

The signature stands in a file of its own, `plan.pyz.sig`, over all bytes of the bundle.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path

import asyncssh
from asyncssh.sshsig import read_allowed_signers

from trimtab_runtime.errors import BundleError

#: What such signatures are for: one for a mail or a commit is none for a bundle.
NAMESPACE = "trimtab-bundle"
_HASH = "sha512"
_MAGIC = b"SSHSIG"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


def signature_of(bundle: Path) -> Path:
    """Where the signature of a bundle lies."""
    return bundle.with_name(f"{bundle.name}.sig")


def read_key(key: Path) -> asyncssh.SSHKey:
    """A private SSH key without a passphrase. Raises BundleError."""
    try:
        return asyncssh.read_private_key(str(key))
    except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise BundleError(
            f"{key}: no private SSH key that can be read ({error}); for one with a passphrase or "
            f"in an agent, export without --sign, then: ssh-keygen -Y sign -f {key} -n "
            f"{NAMESPACE} plan.pyz"
        ) from error


def sign_bundle(bundle: Path, private: asyncssh.SSHKey) -> Path:
    """Sign a bundle, in the file that :func:`signature_of` names. Raises BundleError, and OSError
    where the file cannot be written."""
    digest = _digest(bundle)
    made = asyncssh.create_sshsig(
        private, digest, is_hashed=True, hash_name=_HASH, namespace=NAMESPACE
    )
    target = signature_of(bundle)
    target.write_bytes(made)
    return target


def check_signature(bundle: Path, signers: Path, identity: str) -> None:
    """Raises BundleError unless the bundle bears a signature of a key that the file `signers`
    (allowed_signers, see `man ssh-keygen`) allows to `identity`."""
    place = signature_of(bundle)
    try:
        content = place.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{place}: there is no signature to be read ({error.strerror}); trimtab export --sign "
            "writes it, and it must lie beside the bundle"
        ) from error
    try:
        allowed = read_allowed_signers(str(signers))
    except (OSError, ValueError) as error:
        raise BundleError(f"{signers}: no list of allowed signers ({error})") from error
    purpose = _namespace(place, content)
    if purpose != NAMESPACE:
        raise BundleError(f"{place}: a signature for {purpose!r}, not for {NAMESPACE!r}")
    try:
        digest = _digest(bundle)
        valid = asyncssh.validate_sshsig(digest, content, identity, allowed, is_hashed=True)
    except (asyncssh.Error, ValueError) as error:
        raise BundleError(f"{place}: no sound signature ({error})") from error
    if not valid:
        raise BundleError(
            f"{bundle}: its signature is not one of {identity!r} over this very file: it was "
            f"altered, signed by another key, or {signers} does not allow that key"
        )


def _digest(bundle: Path) -> bytes:
    try:
        with bundle.open("rb") as stream:
            return hashlib.file_digest(stream, _HASH).digest()
    except OSError as error:
        raise BundleError(f"{bundle}: cannot be read ({error.strerror})") from error


def _namespace(place: Path, content: bytes) -> str:
    """What a signature says it is for: PROTOCOL.sshsig of OpenSSH."""
    try:
        text = content.decode("ascii").strip()
        if not text.startswith(_BEGIN) or not text.endswith(_END):
            raise ValueError("it is not armoured")
        raw = base64.b64decode("".join(text[len(_BEGIN) : -len(_END)].split()), validate=True)
        if not raw.startswith(_MAGIC):
            raise ValueError("another format")
        rest = raw[len(_MAGIC) + 4 :]  # behind the version
        for _ in range(2):  # the public key, then the namespace
            size = int.from_bytes(rest[:4], "big")
            found, rest = rest[4 : 4 + size], rest[4 + size :]
        return found.decode()
    except (ValueError, binascii.Error) as error:
        raise BundleError(f"{place}: no SSH signature ({error}); sign the bundle again") from error
