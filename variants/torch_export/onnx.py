"""PyTorch modules as ONNX files, by torch's own exporters."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.variants.files.quiet import quiet
from trimtab.variants.files.writing import strip_notes, write_model
from trimtab.variants.torch_export.user_code import told
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import torch


@contextmanager
def exporter_quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Exporters print their progress and warn about their own code; errors still raise. Gives the
    warnings."""
    with (
        quiet(),
        warnings.catch_warnings(record=True) as warned,
        redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("always")
        yield warned


def write_onnx(
    module: torch.nn.Module, image: torch.Tensor, out: Path, entry: str, folder: Path | str | None
) -> list[str]:
    """Write `out` whole or not at all, by torch.export; where that fails by the older exporter,
    which follows what the module does with one image. Returns what is to be told.

    Raises ModelError where neither can, or the file cannot be written.
    """
    import onnx

    notes = []
    with tempfile.TemporaryDirectory(prefix="trimtab-export-") as place:
        path = Path(place) / "model.onnx"
        try:
            _export(module, image, path, dynamo=True, external_data=False, verbose=False)
        except Exception as error:  # exporter and user code raise what they like
            reason = told(error.__cause__ or error, folder)
            notes = _older(module, image, path, entry, folder, reason)
        model = onnx.load(str(path))
    strip_notes(model)
    write_model(model, out)
    return notes


def _older(
    module: torch.nn.Module,
    image: torch.Tensor,
    path: Path,
    entry: str,
    folder: Path | str | None,
    reason: str,
) -> list[str]:
    from torch.jit import TracerWarning  # type: ignore[attr-defined]  # it has no __all__

    try:
        warned = _export(module, image, path, dynamo=False)
    except Exception as error:  # as above
        raise ModelError(
            f"{entry}: torch cannot export it to ONNX ({reason}; its older exporter: "
            f"{told(error, folder)}); avoid control flow that depends on the image's values, or "
            "export it yourself and name the .onnx file"
        ) from error
    notes = [f"torch's current exporter fails ({reason}); the older one is used"]
    traced = [each for each in warned if issubclass(each.category, TracerWarning)]
    if traced:
        first = traced[0]
        notes.append(
            f"the older exporter keeps what depends on the values of an image as it is for one "
            f"image: {first.filename}, line {first.lineno}"
        )
    return notes


def _export(
    module: torch.nn.Module, image: torch.Tensor, path: Path, **options: Any
) -> list[warnings.WarningMessage]:
    import torch

    options = {"input_names": ["image"], "output_names": ["scores"], **options}
    with exporter_quiet() as warned:
        torch.onnx.export(module, (image,), str(path), **options)
    return warned
