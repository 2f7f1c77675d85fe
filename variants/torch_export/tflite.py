"""PyTorch modules as TFLite files, by litert-torch (the optional extra `trimtab[tflite]`)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.variants.files.base import first_line
from trimtab.variants.files.tflite import load_tflite
from trimtab.variants.torch_export.checks import check_scores, quiet
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import torch


def write_tflite(
    module: torch.nn.Module, image: torch.Tensor, expected: Any, out: Path, entry: str
) -> Path:
    """Write `out` whole or not at all: float32, images (1, height, width, channels).

    Raises ModelError when litert-torch is missing or cannot convert the module, when the file's
    scores of `image` (1, channels, height, width) are not `expected`, or it cannot be written.
    """
    pixels = image.permute(0, 2, 3, 1).contiguous()
    try:
        with tempfile.TemporaryDirectory(prefix="trimtab-export-", dir=out.parent) as folder:
            made = Path(folder) / out.name
            _convert(module, pixels, made, entry)
            check_scores(load_tflite(made).run(pixels.numpy()), expected, entry)
            os.replace(made, out)
    except OSError as error:
        raise ModelError(f"{out}: cannot be written ({first_line(error)})") from error
    return out


def _convert(module: torch.nn.Module, pixels: torch.Tensor, out: Path, entry: str) -> None:
    with quiet():
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
                f"{entry}: litert-torch cannot convert it to TFLite ({type(error).__name__}: "
                f"{first_line(error)}); convert it yourself and name the .tflite file"
            ) from error
