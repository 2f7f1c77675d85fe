"""What runs on a node of the cluster. It is named to the node, so Trimtab must be there too."""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trimtab.variants.isolation import Limits, call
from trimtab_runtime import __version__
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.fingerprint import fingerprint

#: What the bytes that a step makes depend on, beside its request.
PACKAGES = ("numpy", "onnx", "onnxruntime", "pillow", "scipy", "torch")
#: Files by the sha256 of their content.
Files = Mapping[str, bytes]


def about_node() -> dict[str, str]:
    """Versions of what steps compute with, and the instruction set."""
    found = {"trimtab": __version__, "python": ".".join(map(str, sys.version_info[:2]))}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {**found, "isa": fingerprint().get("isa", ""), "system": platform.system()}


def carried_out(work: Mapping[str, Any], *packs: Files) -> dict[str, Any]:
    """The answer of a step with the files that it wrote: {"told", "files"}; or {"error",
    "reason"}: the class of a TrimtabError and its text.

    `work["inputs"]` has the sha256 of each path that the request may name; `packs` have the files.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-step-") as temporary:
        place = Path(temporary)
        written = place / "written"
        written.mkdir()
        paths = {work["folder"]: str(written)}
        for path, sha256 in work["inputs"].items():
            paths[path] = str(_kept(place / sha256, Path(path).name, sha256, packs))
        task = getattr(importlib.import_module(work["module"]), work["name"])
        try:
            told = call(
                task,
                work["about"],
                _replaced(work["request"], paths),
                Limits(**work["limits"]),
                answering=lambda asked: None,
            )
        except TrimtabError as error:
            return {"error": type(error).__name__, "reason": str(error)}
        files = {one.name: one.read_bytes() for one in written.iterdir() if one.is_file()}
    return {"told": told, "files": files}


def _kept(folder: Path, name: str, sha256: str, packs: Sequence[Files]) -> Path:
    """A file of the packs under its name. Raises TrimtabError where it came damaged."""
    content = next(pack[sha256] for pack in packs if sha256 in pack)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise TrimtabError(f"{name} came to {platform.node()} with another content")
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def _replaced(value: Any, paths: Mapping[str, str]) -> Any:
    """JSON, with paths as they are here: a text that is one, or lies below one."""
    if isinstance(value, dict):
        return {name: _replaced(one, paths) for name, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, paths) for one in value]
    if not isinstance(value, str):
        return value
    if value in paths:
        return paths[value]
    above, _, name = value.rpartition(os.sep)
    return f"{paths[above]}{os.sep}{name}" if above in paths else value
