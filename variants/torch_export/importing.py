"""Importing the module that a specification names, and building it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.variants.files.base import first_line
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import torch


@contextmanager
def import_paths(folder: Path | str | None) -> Iterator[None]:
    """`folder` first on sys.path. Afterwards the path is as before, and modules that only `folder`
    made importable are forgotten: another job may have modules of the same names. (What lies in
    an environment below the folder stays.)"""
    if folder is None:
        yield
        return
    root = Path(folder).resolve()
    before_path, before_modules = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before_path
        # A place above the folder does not make its modules importable by these names.
        elsewhere = [path for path in map(_resolved, before_path) if path.is_relative_to(root)]
        for name in set(sys.modules) - before_modules:
            origin = getattr(sys.modules[name], "__file__", None)
            if not origin or not Path(origin).is_absolute():  # torch.ops says "_ops.py"
                continue
            file = _resolved(origin)
            if file.is_relative_to(root) and not any(map(file.is_relative_to, elsewhere)):
                del sys.modules[name]


def _resolved(path: str) -> Path:
    return Path(path).resolve()


def build(entry: str, arguments: Mapping[str, Any]) -> torch.nn.Module:
    """Import `package.module:callable` and call it. Raises ModelError saying which step failed."""
    import torch

    target = _resolve(entry)
    if isinstance(target, torch.nn.Module) and not arguments:
        return target
    if not callable(target) or isinstance(target, torch.nn.Module):
        raise ModelError(f"{entry}: is a {type(target).__name__}, no class or function to call")
    try:
        module = target(**arguments)
    except Exception as error:  # whatever the user's code raises
        raise ModelError(
            f"{entry}: calling it with {dict(arguments)} failed: {type(error).__name__}: "
            f"{first_line(error)}"
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{entry}: must make a torch.nn.Module, made a {type(module).__name__}")
    return module


def _resolve(entry: str) -> Any:
    module_name, colon, attribute = entry.partition(":")
    parts = [*module_name.split("."), *attribute.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise ModelError(f"a module is named 'package.module:callable', got {entry!r}")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # importing runs the user's code
        raise ModelError(
            f"{entry}: importing {module_name} failed: {type(error).__name__}: {first_line(error)}"
        ) from error
    origin = getattr(found, "__file__", None) or module_name
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ModelError(f"{entry}: there is no {part} in {origin}")
        found = getattr(found, part)
    return found
