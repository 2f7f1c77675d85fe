"""PyTorch modules, named by import path, exported to ONNX or TFLite."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.variants.files.base import first_line
from trimtab.variants.files.writing import strip_notes, write_model
from trimtab.variants.torch_export.checks import check_scores, quiet
from trimtab.variants.torch_export.importing import build, import_paths
from trimtab.variants.torch_export.tflite import write_tflite
from trimtab.variants.torch_export.weights import load_state
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import torch


def export_module(
    entry: str,
    arguments: Mapping[str, Any],
    state_dict: Path | str | None,
    size: int | tuple[int, int],
    out: Path,
    channels: int = 3,
    folder: Path | str | None = None,
) -> Path:
    """Build `package.module:callable` with `arguments`, load its weights, write `out`: ONNX, or
    TFLite where it ends in .tflite (by litert-torch, the extra `trimtab[tflite]`).

    The module gets float32 images (1, channels, height, width) and must give (1, classes). The
    file is float32, holds everything, and gave the same scores as torch on a random image within
    1e-4 of the largest one; TFLite takes images (1, height, width, channels). The same code and
    weights give the same bytes. `folder` is first on the import path meanwhile, and holds the
    module; without `state_dict` the weights are those the callable sets.

    Raises ModelError when the import, the call, the weights, the export or the comparison fails.
    Importing runs the code of the named module: it is done only because the specification says so.
    """
    height, width = (size, size) if isinstance(size, int) else size
    out = Path(out)
    with import_paths(folder):
        module = build(entry, arguments, folder)
        if state_dict is not None:
            load_state(module, Path(state_dict), entry)
        module = module.eval().float()
        image = _random_image((1, channels, height, width))
        expected = _forward(module, image, entry)
        if out.suffix == ".tflite":
            return write_tflite(module, image, expected, out, entry)
        model = _export(module, image, entry)
    strip_notes(model)
    check_scores(_run(model, image, entry), expected, entry)
    write_model(model, out)
    return out


def _random_image(shape: tuple[int, ...]) -> torch.Tensor:
    import torch

    values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(values)


def _forward(module: torch.nn.Module, image: torch.Tensor, entry: str) -> Any:
    """The module's scores (1, classes)."""
    import torch

    shape = tuple(image.shape)
    try:
        with torch.no_grad():
            answer = module(image)
    except Exception as error:  # whatever the user's code raises
        raise ModelError(
            f"{entry}: fails on an image {shape}: {type(error).__name__}: {first_line(error)}"
        ) from error
    if not isinstance(answer, torch.Tensor):
        raise ModelError(
            f"{entry}: must give one tensor (1, classes), got a {type(answer).__name__}; name a "
            "callable that wraps it and picks the scores"
        )
    found = tuple(answer.shape)
    if len(found) < 2 or found[0] != 1 or sum(axis != 1 for axis in found[1:]) != 1:
        raise ModelError(f"{entry}: must give (1, classes) for an image {shape}, got {found}")
    if not torch.isfinite(answer).all():
        raise ModelError(f"{entry}: answers a random image with NaN or infinity")
    return answer.numpy()


def _export(module: torch.nn.Module, image: torch.Tensor, entry: str) -> Any:
    import onnx
    import torch

    with tempfile.TemporaryDirectory(prefix="trimtab-export-") as folder:
        path = Path(folder) / "model.onnx"
        try:
            with quiet():
                torch.onnx.export(
                    module,
                    (image,),
                    str(path),
                    input_names=["image"],
                    output_names=["scores"],
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                )
        except Exception as error:  # exporter and user code raise what they like
            cause = error.__cause__ or error
            raise ModelError(
                f"{entry}: torch cannot export it to ONNX "
                f"({type(cause).__name__}: {first_line(cause)}); avoid control flow that depends "
                "on the image's values, or export it yourself and name the .onnx file"
            ) from error
        return onnx.load(str(path))


def _run(model: Any, image: torch.Tensor, entry: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    except Exception as error:  # onnxruntime's own errors share no public base class
        raise ModelError(
            f"{entry}: onnxruntime cannot run the export ({first_line(error)})"
        ) from error
    return found
