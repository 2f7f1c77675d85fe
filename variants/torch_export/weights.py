"""Loading weights into a PyTorch module, without running any code from the file."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.variants.files.base import first_line
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import torch

_NESTED = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")  # DataParallel, torch.compile
_COUNTER = "num_batches_tracked"  # of BatchNorm; unused in eval mode, absent in old checkpoints
_SHOWN = 5  # names listed in an error


def load_state(module: torch.nn.Module, path: Path, entry: str) -> None:
    """Load a state dict (.safetensors, or what torch.save writes) into `module`, every key of it.

    A dictionary under 'state_dict' is unpacked, and a 'module.' before every key removed. Raises
    ModelError when the file is missing, damaged or more than tensors, or when keys or shapes do
    not fit the module.
    """
    state = _without_prefix(_tensors(_read(path), path))
    wanted = module.state_dict()
    missing = sorted(key for key in wanted if key not in state and not key.endswith(_COUNTER))
    surplus = sorted(key for key in state if key not in wanted)
    wrong = sorted(k for k in state if k in wanted and state[k].shape != wanted[k].shape)
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''})"
        for what, keys in (
            ("keys are missing", missing),
            ("keys are unexpected", surplus),
            ("tensors have another shape", wrong),
        )
        if keys
    ]
    if problems:
        raise ModelError(f"{path.name} does not fit {entry}: {'; '.join(problems)}")
    module.load_state_dict(state, strict=False)


def _read(path: Path) -> Any:
    import torch

    if not path.is_file():
        raise ModelError(f"{path}: there is no such file")
    if path.suffix.lower() == ".safetensors":
        try:
            library = importlib.import_module("safetensors.torch")
        except ImportError:
            raise ModelError(f"{path.name}: needs safetensors: pip install safetensors") from None
        try:
            return library.load_file(str(path))
        except Exception as error:  # SafetensorError derives from Exception alone
            raise ModelError(f"{path.name}: damaged ({first_line(error)})") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path.name}: holds more than tensors, or is damaged; save the weights alone: "
            "torch.save(model.state_dict(), PATH)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path.name}: damaged ({first_line(error)})") from error


def _tensors(loaded: Any, path: Path) -> dict[str, torch.Tensor]:
    import torch

    if isinstance(loaded, Mapping):
        for key in _NESTED:
            if isinstance(loaded.get(key), Mapping):
                loaded = loaded[key]
                break
        if loaded and all(isinstance(value, torch.Tensor) for value in loaded.values()):
            return dict(loaded)
    raise ModelError(
        f"{path.name}: must hold a dictionary of tensors, alone or under "
        f"{', '.join(map(repr, _NESTED))}"
    )


def _without_prefix(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
