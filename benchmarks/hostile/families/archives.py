"""Bundles that are damaged or forged, and caches that somebody prepared or a disk spoiled."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh

from benchmarks._options import ROOT
from benchmarks.hostile.cases import Attempt, Case, Harmed
from trimtab.planner.bundles.signing import check_signature, sign_bundle, signature_of
from trimtab_runtime import Plan
from trimtab_runtime.bundles.archive import open_bundle
from trimtab_runtime.errors import TrimtabError

_BUNDLE = ROOT / "tests" / "trimtab_runtime" / "fixtures" / "protocol_2.pyz"
_CUTS, _FLIPS, _PROGRAMS = 10, 16, 4
_VICTIMS = b"a victim's"
_OF_OTHERS = "belongs to or is writable by others"
_SHORT = r"its end is missing|no manifest\.json inside: it was cut short"
#: Where three bytes are others: within a file, in a header of it, or in the list of them all.
_UNSOUND = (
    r"not a sound bundle|is damaged: its sha256|its end is missing|no manifest\.json inside|"
    "is not in the manifest|is missing|unsafe path|by an unknown method|unpacks to|occurs twice|"
    "is longer than it says"
)


def cases(seed: int) -> Iterator[Case]:
    """Rows by hand, then bundles cut and altered at random, as a library and as a program."""
    for name, (forge, refused) in _FORGED.items():
        yield Case(name, partial(_forged, forge), refused)
    for name, spoil in _SPOILT.items():
        yield Case(f"cache: {name}", partial(_spoilt, spoil))
    yield Case("cache: parent of others", _unsafe_parent, _OF_OTHERS)
    if os.getuid() == 0:  # nobody else can make what looks like a stranger's
        yield Case("cache: link to a victim's folder", _linked_cache, _OF_OTHERS)
    for name, (alter, refused) in _SIGNATURES.items():
        yield Case(f"signature: {name}", partial(_signed, alter), refused)
    for number in range(_CUTS):
        yield Case(f"cut {number}", _cut, _SHORT)
    for number in range(_FLIPS):
        yield Case(f"altered {number}", _altered, _UNSOUND)
    for number in range(_PROGRAMS):
        yield Case(f"program cut {number}", _program, _SHORT)


def _loaded(path: Path) -> None:
    """Raises `Harmed` where a bundle is taken and then does not answer as it should."""
    problems = Plan.load(str(path)).selftest()
    if problems:
        raise Harmed(f"it was loaded, and {problems[0]}")


def _content() -> dict[str, bytes]:
    with zipfile.ZipFile(_BUNDLE) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


Forge = Callable[[dict[str, bytes], zipfile.ZipFile], Any]


def _forged(forge: Forge, attempt: Attempt) -> None:
    path = attempt.folder / "forged.pyz"
    content = _content()
    with zipfile.ZipFile(path, "w") as archive:
        forge(content, archive)
        for name, data in content.items():
            archive.writestr(name, data)
    outside = attempt.folder.parent / "escaped"
    try:
        _loaded(path)
    finally:
        if outside.exists():
            raise Harmed(f"{outside} was written")


def _manifest(change: Callable[[dict[str, Any]], Any]) -> Forge:
    def forge(content: dict[str, bytes], archive: zipfile.ZipFile) -> None:
        data = json.loads(content["manifest.json"])
        change(data)
        content["manifest.json"] = json.dumps(data).encode()

    return forge


def _text(text: bytes) -> Forge:
    return lambda content, archive: content.__setitem__("manifest.json", text)


def _more(name: str, data: bytes = b"x", mode: int = 0) -> Forge:
    def forge(content: dict[str, bytes], archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, data)

    return forge


def _many(content: dict[str, bytes], archive: zipfile.ZipFile) -> None:
    for number in range(2000):
        content[f"extra/{number}"] = b""


def _bomb(content: dict[str, bytes], archive: zipfile.ZipFile) -> None:
    archive.writestr(zipfile.ZipInfo("bomb"), bytes(2**27), zipfile.ZIP_DEFLATED)


def _swapped(data: dict[str, Any]) -> None:
    data["structure"]["stages"][0]["variant"] = "0" * 64


#: How a bundle is written again, and by which rule it is refused.
_FORGED: dict[str, tuple[Forge, str]] = {
    "path above": (_more("../escaped"), r"unsafe path '\.\./escaped'"),
    "absolute path": (_more("/tmp/escaped"), "unsafe path '/tmp/escaped'"),
    "drive": (_more("C:escaped"), "unsafe path 'C:escaped'"),
    "backslash": (_more("..\\escaped"), "unsafe path"),
    "link": (_more("link", b"/etc/passwd", stat.S_IFLNK | 0o777), "link is a symbolic link"),
    "name twice": (_more("golden.npz"), r"golden\.npz occurs twice"),
    "2000 files": (_many, "at most 1000 files are allowed"),
    "bomb": (_bomb, "bomb unpacks to 134217728 bytes"),
    "manifest of no JSON": (_text(b"{"), "not JSON"),
    "manifest nested 100000 times": (_text(b"[" * 100000), r"not JSON \(maximum recursion"),
    "manifest of a number": (_text(b"1e999"), "protocol 3 expected, got None"),
    "manifest of text": (_text(b'"' + b"x" * 1000 + b'"'), "protocol 3 expected, got None"),
    "protocol of the future": (
        _manifest(lambda data: data.update(protocol=99)),
        "protocol 3 expected, got 99",
    ),
    "protocol true": (
        _manifest(lambda data: data.update(protocol=True)),
        "protocol 3 expected, got True",
    ),
    "no stages": (
        _manifest(lambda data: data["structure"].update(stages=[])),
        r"cannot have 0 stage\(s\)",
    ),
    "another variant": (_manifest(_swapped), "are not what the stages name"),
    "files of numbers": (
        _manifest(lambda data: data.update(files={"a": 1})),
        r"files\.a: expected str, got 1",
    ),
    "tolerance NaN": (
        _manifest(lambda data: data.update(tolerance=float("nan"))),
        "tolerance: expected a finite number",
    ),
    "point of nowhere": (
        _manifest(lambda data: data.update(point=10**9)),
        "point 1000000000 of 3",
    ),
    "unknown field": (_manifest(lambda data: data.update(run="os.system")), "unknown field 'run'"),
    "no model": (
        lambda content, archive: content.pop(
            next(name for name in content if name.startswith("models/"))
        ),
        r"models/\w+\.onnx is missing",
    ),
    "no golden": (lambda content, archive: content.pop("golden.npz"), r"golden\.npz is missing"),
    "no manifest": (
        lambda content, archive: content.pop("manifest.json"),
        r"no manifest\.json inside",
    ),
}


def _spoilt(spoil: Callable[[Path, Path], Any], attempt: Attempt) -> None:
    """Something happens to what was unpacked; it must be mended, and nothing else touched."""
    _, folder = open_bundle(str(_BUNDLE))
    victim = attempt.folder / "victim"
    victim.write_bytes(_VICTIMS)
    model = next(path for path in sorted((folder / "models").iterdir()))
    spoil(model, victim)
    _loaded(_BUNDLE)
    if victim.read_bytes() != _VICTIMS or Path(os.path.realpath(model)) != model:
        raise Harmed("a link was followed")


def _zeros(model: Path, victim: Path) -> None:
    content, found = model.read_bytes(), model.stat()
    half = len(content) // 2
    model.write_bytes(content[:half] + bytes(len(content) - half))
    os.utime(model, (found.st_atime, found.st_mtime))


def _instead(make: Callable[[Path, Path], Any]) -> Callable[[Path, Path], Any]:
    def spoil(model: Path, victim: Path) -> None:
        model.unlink()
        make(model, victim)

    return spoil


def _linked_folder(model: Path, victim: Path) -> None:
    elsewhere = victim.parent / "elsewhere"
    shutil.move(str(model.parent), elsewhere)
    (elsewhere / model.name).write_bytes(_VICTIMS)
    model.parent.symlink_to(elsewhere)


def _linked_whole(model: Path, victim: Path) -> None:
    folder = model.parent.parent
    elsewhere = victim.parent / "whole"
    shutil.move(str(folder), elsewhere)
    (elsewhere / "golden.npz").write_bytes(_VICTIMS)
    folder.symlink_to(elsewhere)


#: What happens to an unpacked model.
_SPOILT: dict[str, Callable[[Path, Path], Any]] = {
    "zeros": _zeros,
    "emptied": lambda model, victim: model.write_bytes(b""),
    "longer": lambda model, victim: model.open("ab").write(b"x"),
    "link": _instead(lambda model, victim: model.symlink_to(victim)),
    "hard link": _instead(lambda model, victim: os.link(victim, model)),
    "pipe": _instead(lambda model, victim: os.mkfifo(model)),
    "folder": _instead(lambda model, victim: model.mkdir()),
    "link to /dev/zero": _instead(lambda model, victim: model.symlink_to("/dev/zero")),
    "folder of models is a link": _linked_folder,
    "whole folder is a link": _linked_whole,
    "removed": lambda model, victim: shutil.rmtree(model.parent.parent),
}


def _unsafe_parent(attempt: Attempt) -> None:
    parent = attempt.folder / "shared"
    parent.mkdir()
    parent.chmod(0o777)
    os.environ["TRIMTAB_CACHE"] = str(parent / "mine")
    _loaded(_BUNDLE)
    raise Harmed("a cache was made where anybody can take its place")


def _linked_cache(attempt: Attempt) -> None:
    """In a folder as /tmp, where a stranger's link may lead to what is the user's own."""
    own = attempt.folder / "own"
    own.mkdir(mode=0o700)
    (attempt.folder / "cache").symlink_to(own)
    os.chown(attempt.folder / "cache", 54321, 54321, follow_symlinks=False)
    os.environ["TRIMTAB_CACHE"] = str(attempt.folder / "cache")
    try:
        _loaded(_BUNDLE)
    finally:
        if any(own.iterdir()):
            raise Harmed("a stranger's link was followed")


def _signed(alter: Callable[[Path, Path], Any], attempt: Attempt) -> None:
    bundle, signers = attempt.folder / "plan.pyz", attempt.folder / "signers"
    shutil.copyfile(_BUNDLE, bundle)
    key = asyncssh.generate_private_key("ssh-ed25519")
    sign_bundle(bundle, key)
    signers.write_bytes(b"me " + key.export_public_key())
    check_signature(bundle, signers, "me")
    alter(bundle, signers)
    check_signature(bundle, signers, "me")
    raise Harmed("the signature was taken")


def _by_another(bundle: Path, signers: Path) -> None:
    sign_bundle(bundle, asyncssh.generate_private_key("ssh-ed25519"))


#: What happens to a signed bundle, and by which rule it is refused.
_SIGNATURES: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "another file": (
        lambda bundle, signers: bundle.open("ab").write(b"x"),
        "not one of 'me' over this very file",
    ),
    "another key": (_by_another, "not one of 'me' over this very file"),
    "removed": (
        lambda bundle, signers: signature_of(bundle).unlink(),
        "there is no signature to be read",
    ),
    "nonsense": (
        lambda bundle, signers: signature_of(bundle).write_bytes(b"\xff" * 1000),
        "no SSH signature",
    ),
    "nobody allowed": (
        lambda bundle, signers: signers.write_bytes(b""),
        "no list of allowed signers",
    ),
    "a list of nonsense": (
        lambda bundle, signers: signers.write_bytes(b"\0\xff" * 100),
        "no list of allowed signers",
    ),
}


def _cut(attempt: Attempt) -> None:
    path, content = attempt.folder / "cut.pyz", _BUNDLE.read_bytes()
    path.write_bytes(content[: int(attempt.rng.integers(0, len(content)))])
    _loaded(path)


def _altered(attempt: Attempt) -> None:
    path, content = attempt.folder / "altered.pyz", bytearray(_BUNDLE.read_bytes())
    for place in attempt.rng.integers(0, len(content), 3):
        content[place] ^= int(attempt.rng.integers(1, 256))
    path.write_bytes(content)
    _loaded(path)


def _program(attempt: Attempt) -> None:
    """`python cut.pyz`: what Python itself says of a file that is no program is its own."""
    path, content = attempt.folder / "cut.pyz", _BUNDLE.read_bytes()
    path.write_bytes(content[: int(attempt.rng.integers(len(content) // 2, len(content)))])
    done = attempt.command([sys.executable, str(path), "selftest"])
    if done.status == 0:
        raise Harmed("it passed its own test")
    try:
        open_bundle(str(path))
    except TrimtabError:
        raise
    raise Harmed("it was taken")
