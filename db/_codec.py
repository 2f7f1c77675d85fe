"""Between records and rows: :func:`encode` checks and cleans, :func:`decode` rebuilds.

Columns bear the names of the record's fields, so one pair serves every record.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import datetime
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from trimtab_runtime.errors import StoreError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")
Check = Callable[[Any, str], Any]
#: Of an integer in JSON: Python reads none of more than 4,300 digits.
_MOST_BITS = 13_288
_ODD_LETTERS = re.compile("[\0\ud800-\udfff]")


def encode(record: DataclassInstance) -> dict[str, Any]:
    """Column values of a record, by name.

    Raises StoreError, naming the field, for NaN and infinities, naive times, values that JSON
    does not carry, states that do not exist, and a failure without a reason. In texts, NUL and
    lone surrogates (which PostgreSQL refuses) become U+FFFD, so that no odd message of a failed
    process stops its failure from being recorded.
    """
    kind = type(record)
    values = {
        name: check(getattr(record, name), f"{kind.__name__}.{name}")
        for name, check in _checks(kind).items()
    }
    if values.get("state") == "failed" and "reason" in values and not values["reason"]:
        raise StoreError(f"{kind.__name__} with state 'failed' needs a reason, got none: {values}")
    return values


def encode_changes(kind: type[DataclassInstance], changes: dict[str, Any]) -> dict[str, Any]:
    """Column values of some fields of a record; the same checks."""
    checks = _checks(kind)
    if unknown := changes.keys() - checks.keys():
        raise StoreError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
    return {
        name: checks[name](value, f"{kind.__name__}.{name}") for name, value in changes.items()
    }


def decode(kind: type[R], columns: Iterable[Any]) -> R:
    """The record whose fields, in order, are `columns`."""
    return kind(*columns)


def field_names(kind: type[DataclassInstance]) -> list[str]:
    return [item.name for item in fields(kind)]


@cache
def _checks(kind: type[DataclassInstance]) -> dict[str, Check]:
    hints = get_type_hints(kind)
    return {name: _check_of(hints[name]) for name in field_names(kind)}


def _check_of(hint: Any) -> Check:
    if get_origin(hint) is UnionType:
        (inner,) = (part for part in get_args(hint) if part is not NoneType)
        check = _check_of(inner)
        return lambda value, where: None if value is None else check(value, where)
    if get_origin(hint) is Literal:
        return lambda value, where: _one_of(value, where, get_args(hint))
    simple: dict[Any, Check] = {str: _text, int: _integer, float: _number, datetime: _time}
    if hint is bool:
        return lambda value, where: bool(value)
    if hint in simple:
        return simple[hint]
    return _container_check(get_origin(hint))


def _container_check(container: type) -> Check:
    def check(value: Any, where: str) -> Any:
        if not isinstance(value, container):
            raise StoreError(f"{where} must be a {container.__name__}, got {value!r}")
        return _json(value, where)

    return check


def _one_of(value: Any, where: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise StoreError(f"{where} must be one of {', '.join(allowed)}, got {value!r}")
    return str(value)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise StoreError(f"{where} must be a text, got {value!r}")
    return _ODD_LETTERS.sub("\ufffd", value)


def _integer(value: Any, where: str) -> int:
    if not isinstance(value, Integral):
        raise StoreError(f"{where} must be an integer of 64 bits, got {value!r}")
    if not -(2**63) <= (whole := int(value)) < 2**63:
        raise StoreError(f"{where} must be an integer of 64 bits, got {whole.bit_length()} bits")
    return whole


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise StoreError(f"{where} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise StoreError(
            f"{where} must be finite, got {number}; leave a metric out while it is not known"
        )
    return number + 0.0  # SQLite knows no -0.0, and what is read is to be what was written


def _time(value: Any, where: str) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise StoreError(f"{where} must be a time with a zone, got {value!r}")
    return value


def _json(value: Any, where: str) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        if int(value).bit_length() > _MOST_BITS:
            raise StoreError(f"{where} must have at most 4000 digits, or nobody reads it again")
        return int(value)
    if isinstance(value, Real):
        return _number(value, where)
    if isinstance(value, list | tuple):
        return [_json(item, f"{where}[{place}]") for place, item in enumerate(value)]
    if isinstance(value, dict):
        if odd := [name for name in value if not isinstance(name, str)]:
            raise StoreError(f"{where} must have texts as keys, got {odd[0]!r}")
        return {name: _json(item, f"{where}.{name}") for name, item in value.items()}
    raise StoreError(f"{where} must be JSON, got {type(value).__name__}: {value!r}")
