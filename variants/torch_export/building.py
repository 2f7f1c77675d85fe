"""Importing the module that a specification names, and building it."""

from __future__ import annotations

import importlib
import inspect
import sys
import sysconfig
from collections.abc import Mapping
from importlib.machinery import all_suffixes
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from trimtab.variants.torch_export.user_code import told
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import torch


#: Where any Python keeps what is installed beside its library.
_PACKAGES = ("site-packages", "dist-packages")


def module_file(entry: str, folder: Path | str) -> Path:
    """The file of the module of `package.module:callable` below `folder`. Nothing is imported.

    Raises ModelError where there is none: a specification may come from somebody else, and what
    it names must not be anything that happens to be installed (`os:system`).
    """
    module_name, _ = _parts(entry)
    root = Path(folder).resolve()
    _refuse_installed(entry, root)
    *packages, name = module_name.split(".")
    place = root.joinpath(*packages)
    for stem in (place / name / "__init__", place / name):
        for suffix in all_suffixes():
            file = stem.with_name(stem.name + suffix)
            if file.is_file():
                _refuse_installed(entry, file.resolve())  # a link may lead there
                return file
    raise ModelError(
        f"{entry}: there is no module {module_name} in {root}; a module that is installed is "
        "named by a file of yours there that imports it"
    )


def build(
    entry: str, arguments: Mapping[str, Any], folder: Path | str | None = None
) -> torch.nn.Module:
    """Import `package.module:callable` and call it. With a `folder` it must be a module of that
    folder (:func:`module_file`). Raises ModelError saying which step failed, and where in the code
    of `folder`."""
    import torch

    target = _resolve(entry, folder)
    if isinstance(target, torch.nn.Module) and not arguments:
        return target
    if not callable(target) or isinstance(target, torch.nn.Module):
        raise ModelError(f"{entry}: is a {type(target).__name__}, no class or function to call")
    try:
        module = target(**arguments)
    except Exception as error:  # whatever the user's code raises
        raise ModelError(
            f"{entry}: calling it with {dict(arguments)} failed: {told(error, folder)}"
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{entry}: must make a torch.nn.Module, made a {type(module).__name__}")
    return module


def _resolve(entry: str, folder: Path | str | None) -> Any:
    """What is named; its module must be one of `folder`, where there is one."""
    module_name, attribute = _parts(entry)
    file = None if folder is None else module_file(entry, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # importing runs the user's code
        raise ModelError(
            f"{entry}: importing {module_name} failed: {told(error, folder)}"
        ) from error
    origin = getattr(found, "__file__", None) or module_name
    if file is not None and not (Path(origin).exists() and file.samefile(origin)):
        raise ModelError(
            f"{entry}: Python has a module {module_name} of its own ({origin}); rename {file}"
        )
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ModelError(f"{entry}: there is no {part} in {origin}")
        found = getattr(found, part)
        if file is not None and _not_the_users(found):
            raise ModelError(
                f"{entry}: {part} is a module or belongs to Python itself; name a function or a "
                f"class of {file}"
            )
    return found


def _parts(entry: str) -> tuple[str, str]:
    """Module and attribute."""
    module_name, colon, attribute = entry.partition(":")
    parts = [*module_name.split("."), *attribute.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise ModelError(f"a module is named 'package.module:callable', got {entry!r}")
    return module_name, attribute


def _not_the_users(found: Any) -> bool:
    """Whether it is something of the standard library, or another module, that the user's module
    has imported."""
    if isinstance(found, ModuleType):
        return True
    if not (inspect.isroutine(found) or inspect.isclass(found)):
        return False
    home = getattr(found, "__module__", None) or "builtins"
    return home.partition(".")[0] in sys.stdlib_module_names


def _refuse_installed(entry: str, place: Path) -> None:
    """Raises ModelError where a file or folder is of what is installed: of this Python, or of
    another one."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    own = {Path(sysconfig.get_path(name)).resolve() for name in names}
    for folder in (place, *place.parents):
        library = (folder / "os.py").is_file() and (folder / "importlib").is_dir()
        if library or folder in own or folder.name in _PACKAGES:
            raise ModelError(
                f"{entry}: {place} belongs to Python itself; a module is taken from a folder of "
                "yours"
            )
