"""Importing the module that a specification names, and building it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.variants.torch_export.user_code import told
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import torch


def build(
    entry: str, arguments: Mapping[str, Any], folder: Path | str | None = None
) -> torch.nn.Module:
    """Import `package.module:callable` and call it. Raises ModelError saying which step failed,
    and where in the code of `folder`."""
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
    module_name, colon, attribute = entry.partition(":")
    parts = [*module_name.split("."), *attribute.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise ModelError(f"a module is named 'package.module:callable', got {entry!r}")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # importing runs the user's code
        raise ModelError(
            f"{entry}: importing {module_name} failed: {told(error, folder)}"
        ) from error
    origin = getattr(found, "__file__", None) or module_name
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ModelError(f"{entry}: there is no {part} in {origin}")
        found = getattr(found, part)
    return found
