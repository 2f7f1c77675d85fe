"""Members that are PyTorch modules: exported, and held against the modules on the job's images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from trimtab.db import Level
from trimtab.planner.specification.sections import ModelSpec
from trimtab.variants import ExportedModule, exported_module, module_source
from trimtab.workloads import Item
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import ModelError
from trimtab_runtime.images.preprocess import Preprocessor, decode_image

#: Images of `fit` that a file and its module are compared on.
COMPARED = 16


def exported_member(model: ModelSpec, folder: Path) -> AbstractContextManager[ExportedModule]:
    """The module of a member as a file in `folder`. Raises ModelError."""
    torch, size = model.torch, model.input.size
    assert torch is not None
    assert size is not None  # ModelSpec asks for it
    source = module_source(
        torch.entry,
        torch.arguments,
        torch.state,
        size,
        channels=1 if model.input.colour == "gray" else 3,
        folder=torch.folder,
    )
    return exported_module(source, folder / f"model.{torch.format}")


def compared(
    exported: ExportedModule, path: Path, variant: Variant, items: Sequence[Item]
) -> list[tuple[Level, str]]:
    """What is to be told of the file at `path`, which was made of a module, with images fed as the
    `variant` is. Raises ModelError where it answers them differently from the module."""
    notes: list[tuple[Level, str]] = [("warning", text) for text in exported.notes]
    if not items:
        return notes
    tensors = [Preprocessor(decode_image(str(i.path))).tensor(variant.input) for i in items]
    if variant.input.layout == "nhwc":  # modules take channels first
        tensors = [np.ascontiguousarray(tensor.transpose(0, 3, 1, 2)) for tensor in tensors]
    found = exported.agreement(path, tensors)
    if found.refused:
        difference = found.text(" of fit")
        raise ModelError(
            f"the exported file answers differently from the module, {difference}; export it "
            "yourself and name the file"
        )
    if not found.exact:
        notes.append(
            ("warning", f"the exported file differs from the module {found.text(' of fit')}")
        )
    return notes
