"""The parts of a job specification, checked one by one; spec.py puts them together."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.dataclasses import dataclass

from trimtab.variants import SCHEMES
from trimtab.variants.inspection.preprocessing import VALUE_RANGES as _RANGES
from trimtab.variants.slimming import RULES
from trimtab.workloads import STREAM_KINDS, StreamRecipe
from trimtab_runtime.definitions.plan import COLOURS, DTYPES, LAYOUTS, OUTPUT_KINDS, RESIZE_FILTERS
from trimtab_runtime.formats import CUT_ROUNDINGS, FITS
from trimtab_runtime.images.decoding import MAX_PIXELS

#: How models may be quantised.
QUANTISATION_SCHEMES = tuple(SCHEMES)
#: Rules by which regions of a network may be replaced.
SLIMMING_RULES = tuple(RULES)
#: Names of the ranges that mean and std may refer to.
VALUE_RANGES = tuple(_RANGES)


_UNSET = re.compile(r"\$(\w+|\{\w+\})")


def _filled_in(value: Any) -> Any:
    """A path with the values of the environment variables in it (`$DATA/images`)."""
    if not isinstance(value, str):
        return value
    found = os.path.expandvars(value)
    missing = _UNSET.search(found)
    if missing and not Path(found).expanduser().exists():
        raise ValueError(f"the environment variable {missing[0]} is not set")
    return found


def _usable(path: Path) -> Path:
    """A path that can be asked for, whether or not something lies there."""
    try:
        os.stat(path.expanduser())
    except (RuntimeError, ValueError) as error:  # ~nobody, a zero byte, half a character
        raise ValueError(f"not a usable path ({error})") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError("not a usable path (too long)") from None
    return path


_Path = Annotated[Path, BeforeValidator(_filled_in), AfterValidator(_usable)]


_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Section(BaseModel):
    """A part of a specification. `_later` names fields that came after stores were released: where
    nobody gave them they are left out of what is written, so that jobs keep their names."""

    model_config = ConfigDict(**_STRICT, frozen=True, serialize_by_alias=True)
    _later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _as_written(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = written(self)
        unsaid = self._later - self.model_fields_set
        return {name: value for name, value in found.items() if name not in unsaid}


_Grey = Annotated[int, Field(ge=0, le=255)]


class InputSpec(Section):
    """What a model file does not tell of its input. `mean` and `std` are of pixels in the range
    `values` (0..255 where nothing is said)."""

    _later = frozenset(
        {"fit", "resize_size", "pad_colour", "antialias", "resize_last", "cut_rounding", "values"}
    )

    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    fit: Literal[FITS] | None = None  # type: ignore[valid-type]
    resize_size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    pad_colour: _Grey | tuple[_Grey, ...] | None = None
    antialias: bool | None = None
    resize_last: bool | None = None
    cut_rounding: Literal[CUT_ROUNDINGS] | None = None  # type: ignore[valid-type]
    values: Literal[VALUE_RANGES] | None = None  # type: ignore[valid-type]
    resize: Literal[RESIZE_FILTERS] | None = None  # type: ignore[valid-type]
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None
    layout: Literal[LAYOUTS] | None = None  # type: ignore[valid-type]
    dtype: Literal[(*DTYPES, "bfloat16", "float64")] | None = None  # type: ignore[valid-type]
    colour: Literal[COLOURS] | None = None  # type: ignore[valid-type]
    crop: Annotated[float, Field(gt=0, le=1)] | None = None


class OutputSpec(Section):
    """What a model file does not tell of its output. `name`, or `index` from 0, is one of several.
    `offset`: background classes in front. Kind 'binary' is a single score, that of the second of
    two classes, which it is from the `threshold` on: a number, or `tuned`, the best of tune for
    the job's quality metric. `classes` names the model's own classes in
    the order of its outputs, where these are not the job's; `mapping` says for some of them which
    class of the job they stand for."""

    _later = frozenset({"classes", "mapping", "name", "index", "threshold"})

    name: str | None = None
    index: Annotated[int, Field(ge=0)] | None = None
    kind: Literal[(*OUTPUT_KINDS, "binary")] | None = None  # type: ignore[valid-type]
    offset: Annotated[int, Field(ge=0)] = 0
    threshold: Annotated[float, Field(gt=0, lt=1)] | Literal["tuned"] | None = None
    classes: _Path | tuple[str, ...] | None = None
    mapping: dict[str, str] | None = None

    @field_validator("mapping", mode="before")
    @classmethod
    def _numbers_as_names(cls, value: Any) -> Any:
        """Classes may be named by numbers, which YAML reads as such."""
        if not isinstance(value, dict):
            return value
        return {str(name): str(to) for name, to in value.items()}

    @model_validator(mode="after")
    def _one_way(self) -> OutputSpec:
        if self.name is not None and self.index is not None:
            raise ValueError("give either name or index")
        return self


class TorchSpec(Section):
    """A PyTorch module: `entry` 'package.module:callable' is imported because it is named here,
    with `folder` (by default that of the specification) on the import path. It is exported to
    `format`."""

    entry: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    state: _Path | None = None
    folder: _Path | None = None
    format: Literal["onnx", "tflite"] = "onnx"


_Side = PositiveInt | tuple[PositiveInt, PositiveInt]


class ModelSpec(Section):
    """A member: a model file, or a PyTorch module. `signature` is one of several of a TFLite
    file's. `sizes` are other input sizes to try (true: some smaller ones, false: none); what
    `techniques.sizes` says where nothing is said."""

    _later = frozenset({"signature", "sizes"})

    path: _Path | None = None
    torch: TorchSpec | None = None
    name: str | None = None
    signature: str | None = None
    sizes: bool | tuple[_Side, ...] | None = None
    input: InputSpec = InputSpec()
    output: OutputSpec = OutputSpec()

    @model_validator(mode="after")
    def _one_source(self) -> ModelSpec:
        if (self.path is None) == (self.torch is None):
            raise ValueError("give either path or torch, and not both")
        if self.torch is not None and self.input.size is None:
            raise ValueError("a PyTorch module needs input.size, e.g. `input: {size: 224}`")
        return self

    @property
    def label(self) -> str:
        """The member's name."""
        if self.name:
            return self.name
        assert self.path is not None or self.torch is not None
        return self.path.stem if self.path else self.torch.entry.rpartition(":")[2]  # type: ignore[union-attr]


class SplitSpec(Section):
    """Sizes of the splits for calibration (`fit`), validation (`tune`) and `test`: all counts, or
    all shares below 1."""

    fit: float = 0.25
    tune: float = 0.375
    test: float = 0.375
    seed: int = 0
    group: str | None = None


@dataclass(config=_STRICT, frozen=True)
class StreamSpec(StreamRecipe):
    """The order of inputs: StreamRecipe documents the fields and their rules."""

    kind: Literal[STREAM_KINDS] = "independent"  # type: ignore[valid-type]
    frames: PositiveInt | None = None

    @property
    def recipe(self) -> StreamRecipe:
        """The stream as the workload makes it."""
        return StreamRecipe(**vars(self))


class CertifySpec(Section):
    """The certificate that plans with early exits need: with this `confidence`, their answer
    differs from the full network's on at most the share `loss` of inputs. It is tested on the
    `share` of tune that is kept for it."""

    loss: Annotated[float, Field(gt=0, lt=1)] = 0.05
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.9
    share: Annotated[float, Field(gt=0, lt=1)] = 0.3


class WorkloadSpec(Section):
    """Images, labels and what happens with them. Images that the file `exclude` names were seen in
    training; up to a share `unreadable` of the images may be damaged. Memory is measured with an
    image of `largest_megapixels` too, and a plan reads no larger one."""

    _later = frozenset({"exclude", "unreadable", "near_duplicates", "largest_megapixels"})

    images: _Path
    labels: _Path | None = None
    classes: _Path | tuple[str, ...] | None = None
    exclude: _Path | None = None
    unreadable: Annotated[float, Field(ge=0, lt=1)] = 0.01
    near_duplicates: Literal["together", "ignored"] = "together"
    largest_megapixels: Annotated[float, Field(gt=0, le=MAX_PIXELS / 1e6)] | None = None
    splits: SplitSpec = SplitSpec()
    stream: StreamSpec = StreamSpec()

    @property
    def largest_pixels(self) -> int | None:
        """Pixels of the largest image; None where nothing is said of it."""
        return _pixels(self.largest_megapixels)


def largest_pixels(spec: Mapping[str, Any]) -> int | None:
    """Pixels of the largest image that a plan of a stored specification reads, and that memory is
    promised for; None where nothing is said of it."""
    return _pixels(spec.get("workload", {}).get("largest_megapixels"))


def _pixels(megapixels: float | None) -> int | None:
    return None if megapixels is None else int(megapixels * 1e6)


class TechniqueSpec(Section):
    """Which techniques the planner may use; `sizes`: members with smaller images. `routing` was
    called `premodel`: that key is read too, and is the one stored, since the identity of a job is
    a hash of its specification."""

    _later = frozenset({"sizes"})

    cascade: bool = True
    sizes: bool = False
    quantisation: tuple[Literal[QUANTISATION_SCHEMES], ...] = ("w8a8",)  # type: ignore[valid-type]
    routing: bool = Field(
        default=False,
        validation_alias=AliasChoices("routing", "premodel"),
        serialization_alias="premodel",
    )
    exits: bool = False
    memory: bool = False
    slimming: tuple[Literal[SLIMMING_RULES], ...] = ()  # type: ignore[valid-type]

    @field_validator("quantisation", mode="before")
    @classmethod
    def _all_precisions(cls, value: Any) -> Any:
        """False stands for none, True for all, one name for that one."""
        if isinstance(value, bool):
            return ("w8a8",) if value else ()
        return (value,) if isinstance(value, str) else value

    @field_validator("slimming", mode="before")
    @classmethod
    def _all_rules(cls, value: Any) -> Any:
        """True stands for every rule."""
        return (SLIMMING_RULES if value else ()) if isinstance(value, bool) else value


class RuntimeSpec(Section):
    """Runtime options to try; `threads` None means 1 and all cores of the device."""

    threads: tuple[PositiveInt, ...] | None = None

    @field_validator("threads", mode="before")
    @classmethod
    def _one_number(cls, value: Any) -> Any:
        """A number alone stands for one number to try."""
        return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


class BudgetSpec(Section):
    """When to stop measuring candidates: minutes, number of candidates, or both. The original
    models are measured in any case. An inference without an answer for `stall_seconds` counts as
    one that never returns."""

    minutes: PositiveFloat | None = 20.0
    measurements: PositiveInt | None = None
    stall_seconds: PositiveFloat = 120.0
