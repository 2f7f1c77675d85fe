"""Where in a specification file a field stands that an error names.

Reading a specification file, and telling what is wrong with its fields."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trimtab_runtime.errors import SpecificationError
from trimtab_runtime.images.decoding import open_regular

#: What pydantic adds to a path where a field has alternatives.
_ALTERNATIVES = ("constrained-", "tuple[", "function-")
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def field_line(text: str, path: str) -> int | None:
    """The line, from 0, of the field at a path such as `models[1].input.size`, or of as much of
    the path as there is; None where nothing of it is."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return None
    line = None
    for number, name in _STEP.findall(path):
        if number and isinstance(node, yaml.SequenceNode) and int(number) < len(node.value):
            node = node.value[int(number)]
            line = node.start_mark.line
        elif name and isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == name), None)
            if found is None:
                break
            line, node = found[0].start_mark.line, found[1]
        else:
            break
    return line


#: Bytes of a file; and, once aliases are written out, characters and values. A specification
#: needs a small part of each: what has more was made to be expensive.
MAX_BYTES, MAX_EXPANDED = 2**18, 2**20
_MAX_MERGED = 1000  # fields of one mapping
_SHOWN_LINES, _SHOWN_CHARACTERS, _SHOWN_VALUE, _SHOWN_BITS = 20, 400, 60, 64
#: Fields that a specification cannot do without, as they may be written.
_EXAMPLES: Mapping[str, str] = {
    "name": "name: line-camera",
    "models": "models: [{path: small.onnx}, {path: large.onnx}]",
    "workload": "workload: {images: photos/}",
    "images": "images: photos/",
    "objectives": "objectives: {top1: max, latency_mean_ms: min}",
    "entry": "entry: package.module:Network",
}
#: What a field must be, by the type of pydantic's error; others in pydantic's words.
_RULES = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list, e.g. `[a, b]`"),
    **dict.fromkeys(
        ("dict_type", "model_type", "dataclass_type"), "must have fields, e.g. `{name: value}`"
    ),
    "string_type": "must be a text",
    "path_type": "must be a path",
    "string_pattern_mismatch": "has not the expected form",
}
#: What PyYAML raises on texts that it takes for a number, date or set and cannot read as such.
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


class _Loader(yaml.SafeLoader):
    """A SafeLoader whose merges (`<<: [*a, *a]`) cannot grow without bounds, and that takes no
    field for two: of `minutes: 1` and `minutes: 90` YAML's own rule would drop one in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"{_step(key.value)} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MAX_MERGED:
            raise yaml.MarkedYAMLError(problem="too many fields", problem_mark=node.start_mark)


def read_fields(path: Path) -> dict[Any, Any]:
    """The fields of a YAML file. Raises SpecificationError, whose text begins with the path."""
    try:
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise SpecificationError(
                f"{path}: larger than {MAX_BYTES} bytes, which no specification is"
            )
        data = yaml.load(content.decode("utf-8-sig"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecificationError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise SpecificationError(f"{path}: not valid YAML ({_where(error)})") from None
    except RecursionError:
        raise SpecificationError(f"{path}: nested too deeply") from None
    except _UNREADABLE as error:
        raise SpecificationError(f"{path}: a value cannot be read ({error})") from None
    if not isinstance(data, dict):
        what = "the file is empty" if data is None else f"got a {type(data).__name__}"
        raise SpecificationError(
            f"{path}: {what}; a specification has fields such as `name: demo`"
        )
    return data


def _where(error: yaml.YAMLError) -> str:
    """The problem with its place, on one line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    found = getattr(error, "problem", None) or getattr(error, "context", None)
    return f"{found}, line {mark.line + 1}, column {mark.column + 1}"


def check_bounded(fields: dict[Any, Any]) -> None:
    """Raises SpecificationError for fields that grow beyond all measure where YAML's aliases (or
    Python's references) are written out, or that contain themselves."""
    for name, value in fields.items():
        left, todo = MAX_EXPANDED, [value]
        while todo:
            found = todo.pop()
            if isinstance(found, dict):
                todo += [*found.keys(), *found.values()]
            elif isinstance(found, (list, tuple, set, frozenset)):
                todo += found
            left -= 1 + (len(found) if isinstance(found, (str, bytes)) else 0)
            if left < 0 or len(todo) > MAX_EXPANDED:
                raise SpecificationError(f"{_step(name)}: too large once aliases are written out")


def told(error: ValidationError, whole: type[BaseModel]) -> str:
    """A line for each wrong field of a `whole`, beginning with its path."""
    problems = error.errors(include_url=False)
    lines = list(dict.fromkeys(_lines(problems, whole)))
    more = len(lines) - _SHOWN_LINES
    return "\n".join(lines[:_SHOWN_LINES] + ([f"... and {more} more"] if more > 0 else []))


def _lines(problems: Sequence[ErrorDetails], whole: type[BaseModel]) -> Iterator[str]:
    for problem in problems:
        loc = problem["loc"]
        if problem["type"] == "too_short" and any(
            len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in problems
        ):
            continue  # pydantic's, about a list whose items it refused
        path = ""
        for part in loc:
            if isinstance(part, str) and part.startswith(_ALTERNATIVES):
                continue
            step = _step(part)
            path += step if not path or step.startswith("[") else f".{step}"
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            line = f"{path}: unknown field{nearest(str(loc[-1]), _names_at(whole, loc[:-1]))}"
        else:
            message = _message(problem)
            ours = problem["type"] == "value_error"  # which names the field that it is about
            line = message if ours and not path else f"{path or 'specification'}: {message}"
        yield line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}..."


def _names_at(whole: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """Names of the fields that there are at a place of a `whole`."""
    kinds: list[Any] = [whole]
    for part in place:
        if isinstance(part, str):
            kinds = [
                _types_of_fields(kind)[part] for kind in kinds if part in _types_of_fields(kind)
            ]
        kinds = [inner for kind in kinds for inner in _parts(kind)]
    return [name for kind in kinds for name in _types_of_fields(kind)]


def _types_of_fields(kind: Any) -> dict[str, Any]:
    """Of a section, which is a pydantic model or dataclass; empty for any other type."""
    fields = getattr(kind, "model_fields", None) or getattr(kind, "__pydantic_fields__", {})
    return {name: field.annotation for name, field in fields.items()}


def _parts(kind: Any) -> list[Any]:
    """The sections in a type: its own, or those of which it is a union, a list or a mapping."""
    if _types_of_fields(kind):
        return [kind]
    return [part for inner in get_args(kind) for part in _parts(inner)]


def _message(problem: ErrorDetails) -> str:
    """What is wrong with a field, without its path."""
    kind, value = problem["type"], problem["input"]
    name = next((part for part in problem["loc"][::-1] if isinstance(part, str)), "specification")
    if kind == "value_error":  # one of ours
        return problem["msg"].removeprefix("Value error, ")
    if kind == "missing":
        example = f", e.g. `{_EXAMPLES[name]}`" if name in _EXAMPLES else ""
        return f"`{name}` is missing{example}"
    if value is None:
        return f"`{name}` is empty; give a value, or remove the field"
    if kind == "literal_error":
        return f"unknown value {_shortened(value)}; choose one of {problem['ctx']['expected']}"
    if kind in ("too_short", "string_too_short"):
        return f"`{name}` must not be empty"
    rule = problem["msg"].replace("Input should be", "must be").replace("Input should", "must")
    return f"{_RULES.get(kind, rule[:1].lower() + rule[1:])}, got {_shortened(value)}"


def _shortened(value: object) -> str:
    """A value as Python writes it; a long text cut, and of what may be huge only the type."""
    if isinstance(value, str):
        return ascii(value) if len(value) <= _SHOWN_VALUE else f"{value[:_SHOWN_VALUE]!a}..."
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= _SHOWN_BITS):
        return str(value)
    return f"a value of type {type(value).__name__}"


def _step(part: object) -> str:
    """A field by its name, an item by its number, anything odd as Python writes it."""
    if isinstance(part, str) and part.replace("-", "_").isidentifier() and len(part) < 100:
        return part
    text = ascii(part)
    return f"[{text if len(text) < 100 else text[:100] + '...'}]"


def nearest(name: str, valid: Iterable[str]) -> str:
    """The closest valid name, as the end of a message."""
    close = difflib.get_close_matches(name[:100], list(valid), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
