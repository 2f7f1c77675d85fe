"""Where learning stands, as bytes without pickles.

Importing this imports torch: import it inside functions.
"""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import torch

from trimtab.variants.slimming.training.loop import State, learned_tensors

_NUMBERS = ("error_before", "best_error", "best_epoch", "epoch")


def pack_state(state: State) -> bytes:
    """A state as an .npz of arrays."""
    numbers = json.dumps({name: getattr(state, name) for name in _NUMBERS})
    arrays = {"numbers": np.frombuffer(numbers.encode(), np.uint8)}
    for part, weights in (("best", state.best), ("present", state.present)):
        arrays |= {f"{part}/{name}": value.numpy() for name, value in weights.items()}
    for number, memory in state.optimiser.items():
        arrays |= {f"adam/{number}/{name}": value.numpy() for name, value in memory.items()}
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpack_state(value: bytes | None, module: torch.nn.Module) -> State | None:
    """What :func:`pack_state` made bytes of; None where there is nothing, it is damaged, or not of
    this module."""
    if value is None:
        return None
    try:
        with np.load(io.BytesIO(value), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        numbers = json.loads(arrays.pop("numbers").tobytes())
        state = State(best={}, **{name: numbers[name] for name in _NUMBERS})
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
        return None
    for name, array in arrays.items():
        part, _, rest = name.partition("/")
        if part == "adam":
            number, _, what = rest.partition("/")
            state.optimiser.setdefault(int(number), {})[what] = torch.from_numpy(array)
        else:
            (state.best if part == "best" else state.present)[rest] = torch.from_numpy(array)
    shapes = {name: value.shape for name, value in learned_tensors(module).items()}
    kept = [{name: v.shape for name, v in part.items()} for part in (state.best, state.present)]
    return state if kept == [shapes, shapes] else None
