"""Weights that several models of a bundle have in common, which it holds once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx

from trimtab_runtime.bundles.manifest import Piece

#: Tensors below are not worth a piece of their own.
_LEAST_BYTES = 1024
#: A model is taken apart where this share of it lies in another one.
_WORTH = 0.5


def shared_pieces(models: Mapping[str, Path]) -> dict[str, tuple[Piece, ...]]:
    """Of the ONNX models of a bundle (by their names there), those that mostly lie in another one,
    in pieces: parts of that one, and bytes of their own."""
    known: dict[str, Piece] = {}
    found = {}
    for name, path in models.items():
        if not name.endswith(".onnx"):
            continue
        pieces = _pieces(path, known)
        taken = sum(piece.length for piece in pieces if piece.file)
        if taken >= _WORTH * path.stat().st_size:
            found[name] = pieces
            continue
        for digest, start, length in _tensors(path.read_bytes()):
            known.setdefault(digest, Piece(name, start, length))
    return found


def own_bytes(path: Path, pieces: tuple[Piece, ...]) -> bytes:
    """What of a model that is put together of `pieces` lies in no other."""
    content, at, found = path.read_bytes(), 0, bytearray()
    for piece in pieces:
        if not piece.file:
            found += content[at : at + piece.length]
        at += piece.length
    return bytes(found)


def _pieces(path: Path, known: Mapping[str, Piece]) -> tuple[Piece, ...]:
    content, pieces = path.read_bytes(), list[Piece]()
    at = own = 0

    def keep(end: int) -> None:
        nonlocal own
        if end > at:
            pieces.append(Piece("", own, end - at))
            own += end - at

    for digest, start, length in _tensors(content):
        if digest in known:
            keep(start)
            pieces.append(known[digest])
            at = start + length
    keep(len(content))
    return tuple(pieces)


def _tensors(content: bytes) -> list[tuple[str, int, int]]:
    """The sha256 of the values of a graph's larger tensors, and where in the file they lie."""
    found, at = [], 0
    for tensor in onnx.load_model_from_string(content).graph.initializer:
        values = tensor.raw_data
        start = content.find(values, at) if len(values) >= _LEAST_BYTES else -1
        if start >= 0:
            found.append((hashlib.sha256(values).hexdigest(), start, len(values)))
            at = start + len(values)
    return found
