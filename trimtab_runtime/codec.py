"""JSON to frozen dataclasses and back; a wrong value is named by its path."""

from __future__ import annotations

import collections.abc
import dataclasses
import hashlib
import json
import math
import types
import typing
from typing import Any, TypeVar, Union

T = TypeVar("T")
_UNIONS = (Union, getattr(types, "UnionType", Union))  # X | None, from Python 3.10 on


class DecodeError(ValueError):
    """`path: what is wrong` of the first field that does not fit its type."""


def encode(value: Any) -> Any:
    """Turn dataclasses, tuples and dictionaries into what :mod:`json` writes.

    Fields that hold their default are left out, so that a type may grow without changing the
    content name of what was written before.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if field.default is dataclasses.MISSING or item != field.default:
                found[field.name] = encode(item)
        return found
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def canonical(value: Any) -> str:
    """The one text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(encode(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(value: Any) -> str:
    """sha256 (hex) of the canonical text."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def decode(kind: type[T], data: Any, path: str = "") -> T:
    """Build a `kind` from parsed JSON. Raises :class:`DecodeError` with the path of the field."""
    return typing.cast(T, _decode(kind, data, path))


def _decode(kind: Any, data: Any, path: str) -> Any:
    if kind is Any:
        return data
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin in _UNIONS:
        if data is None and type(None) in arguments:
            return None
        return _decode(next(a for a in arguments if a is not type(None)), data, path)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, data, path)
    if origin in (tuple, list):
        return _decode_sequence(origin, arguments, data, path)
    if origin in (dict, collections.abc.Mapping):
        if not isinstance(data, dict):
            raise DecodeError(f"{path}: expected an object, got {data!r}")
        return {key: _decode(arguments[1], item, f"{path}.{key}") for key, item in data.items()}
    return _decode_scalar(kind, data, path)


def _decode_scalar(kind: Any, data: Any, path: str) -> Any:
    number = isinstance(data, (int, float)) and not isinstance(data, bool)
    if kind is float and number:
        try:
            found = float(data)
        except OverflowError:  # a whole number beyond the largest float
            found = math.inf
        if not math.isfinite(found):
            raise DecodeError(f"{path}: expected a finite number, got {data!r}")
        return found
    if isinstance(data, kind) and (kind is bool or not isinstance(data, bool)):
        return data
    raise DecodeError(f"{path}: expected {kind.__name__}, got {data!r}")


def _decode_sequence(origin: Any, arguments: Any, data: Any, path: str) -> Any:
    if not isinstance(data, (list, tuple)):
        raise DecodeError(f"{path}: expected a list, got {data!r}")
    if origin is list or arguments[-1] is Ellipsis:
        kinds = [arguments[0]] * len(data)
    else:
        kinds = list(arguments)
        if len(kinds) != len(data):
            raise DecodeError(f"{path}: expected {len(kinds)} items, got {len(data)}")
    items = (_decode(k, item, f"{path}[{i}]") for i, (k, item) in enumerate(zip(kinds, data)))
    return origin(items)


def _decode_dataclass(kind: Any, data: Any, path: str) -> Any:
    if not isinstance(data, dict):
        raise DecodeError(f"{path or kind.__name__}: expected an object, got {data!r}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise DecodeError(f"{path or kind.__name__}: unknown field {unknown[0]!r}")
    values = {}
    for name, field in fields.items():
        where = f"{path}.{name}" if path else name
        if name in data:
            values[name] = _decode(hints[name], data[name], where)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise DecodeError(f"{where}: missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise DecodeError(f"{path or kind.__name__}: {error}") from None
