"""Keeping what was learned, so that a killed run goes on and combinations share blocks."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trimtab.variants.slimming.training.recipes import Learned
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx

_VERSION = 1  # of how things are learned; what was kept under another one is not found again


class Cache(Protocol):
    """Where learned things are kept: bytes under a sha256 in hexadecimal.

    What was put is got whole or not at all, in this process or a later one. Putting under a key
    that is there replaces it.
    """

    def get(self, key: str) -> bytes | None:
        """What was put under a key; None where nothing was."""

    def put(self, key: str, value: bytes) -> None:
        """Keep it."""


class FolderCache:
    """A cache of one file a key. Raises ModelError when the folder cannot be used."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)

    def get(self, key: str) -> bytes | None:
        try:
            return (self._folder / key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ModelError(f"{self._folder}: cannot be read ({error.strerror})") from error

    def put(self, key: str, value: bytes) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".making-", dir=self._folder)
            with os.fdopen(handle, "wb") as file:
                file.write(value)
            os.replace(name, self._folder / key)
        except OSError as error:
            raise ModelError(f"{self._folder}: cannot be written ({error.strerror})") from error


@dataclass(frozen=True)
class TrainingImages:
    """What is learned from: `feeds` begins anew at each call, and gives the same preprocessed
    images, float32 (1, C, H, W), in the same order. `key` tells them from all others."""

    feeds: Callable[[], Iterator[NDArray[np.float32]]]
    key: str


def key_of(**parts: Any) -> str:
    """sha256 in hexadecimal of what JSON can say."""
    said = json.dumps({"version": _VERSION, **parts}, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def model_key(model: onnx.ModelProto) -> str:
    """sha256 in hexadecimal of a model."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def pack(learned: Learned) -> bytes:
    """A learned block as bytes: a line of JSON, and the ONNX model."""
    numbers = {
        "error_before": learned.error_before,
        "error": learned.error,
        "epochs": learned.epochs,
    }
    content: bytes = learned.block.SerializeToString(deterministic=True)
    return json.dumps(numbers).encode() + b"\n" + content


def unpack(value: bytes | None) -> Learned | None:
    """What :func:`pack` made bytes of; None where there is nothing, or it is damaged."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if value is None:
        return None
    line, _, content = value.partition(b"\n")
    try:
        numbers: Mapping[str, Any] = json.loads(line)
        block = onnx.load_from_string(content)
        return Learned(block, numbers["error_before"], numbers["error"], numbers["epochs"])
    except (ValueError, KeyError, TypeError, DecodeError):
        return None
