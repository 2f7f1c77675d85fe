"""PyTorch modules as TFLite files, by litert-torch (the optional extra `trimtab[tflite]`)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.variants.files.base import first_line
from trimtab.variants.torch_export.onnx import exporter_quiet
from trimtab.variants.torch_export.user_code import told
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import torch


def write_tflite(
    module: torch.nn.Module, image: torch.Tensor, out: Path, entry: str, folder: Path | str | None
) -> list[str]:
    """Write `out` whole or not at all: float32, images (1, height, width, channels), for a module
    that takes `image` (1, channels, height, width). Returns what is to be told: nothing.

    Raises ModelError when litert-torch is missing or cannot convert the module, or the file cannot
    be written.
    """
    pixels = image.permute(0, 2, 3, 1).contiguous()
    try:
        with tempfile.TemporaryDirectory(prefix="trimtab-export-", dir=out.parent) as place:
            made = Path(place) / out.name
            _convert(module, pixels, made, entry, folder)
            os.replace(made, out)
    except OSError as error:
        raise ModelError(f"{out}: cannot be written ({first_line(error)})") from error
    return []


def _convert(
    module: torch.nn.Module,
    pixels: torch.Tensor,
    out: Path,
    entry: str,
    folder: Path | str | None,
) -> None:
    with exporter_quiet():
        try:
            import litert_torch
        except ImportError:
            raise ModelError(
                f"{entry}: TFLite is written by litert-torch, which is not installed: "
                "pip install 'trimtab[tflite]' (700 MB), or leave `format: tflite` out"
            ) from None
        try:
            last = litert_torch.to_channel_last_io(module, args=[0])
            litert_torch.convert(last, (pixels,)).export(str(out))
        except Exception as error:  # converter and user code raise what they like
            raise ModelError(
                f"{entry}: litert-torch cannot convert it to TFLite ({told(error, folder)}); "
                "convert it yourself and name the .tflite file"
            ) from error
