"""The parts of a job specification, checked one by one; spec.py puts them together."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
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

from trimtab.variants.slimming import RULES
from trimtab.workloads import STREAM_KINDS, StreamRecipe
from trimtab_runtime.definitions.plan import COLOURS, DTYPES, LAYOUTS, OUTPUT_KINDS, RESIZE_FILTERS

#: Rules by which regions of a network may be replaced.
SLIMMING_RULES = tuple(RULES)


def _usable(path: Path) -> Path:
    """A path that can be asked for, whether or not something lies there."""
    try:
        os.stat(path.expanduser())
    except (RuntimeError, ValueError) as error:  # ~nobody, a zero byte, half a character
        raise ValueError(f"no usable path ({error})") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError("no usable path (too long)") from None
    return path


_Path = Annotated[Path, AfterValidator(_usable)]


_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Section(BaseModel):
    model_config = ConfigDict(**_STRICT, frozen=True)


class InputSpec(Section):
    """What a model file does not tell of its input. `mean` and `std` are in pixels (0..255)."""

    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
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
    two classes, which it is from the `threshold` on."""

    name: str | None = None
    index: Annotated[int, Field(ge=0)] | None = None
    kind: Literal[(*OUTPUT_KINDS, "binary")] | None = None  # type: ignore[valid-type]
    offset: Annotated[int, Field(ge=0)] = 0
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> OutputSpec:
        if self.name is not None and self.index is not None:
            raise ValueError("give either name or index")
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As it was before there were more fields: so that jobs keep their names."""
        found: dict[str, Any] = written(self)
        later = ("name", "index", "threshold")
        return {
            key: value for key, value in found.items() if value is not None or key not in later
        }


class TorchSpec(Section):
    """A PyTorch module: `entry` 'package.module:callable' is imported because it is named here,
    with `folder` (by default that of the specification) on the import path. It is exported to
    `format`."""

    entry: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    state: _Path | None = None
    folder: _Path | None = None
    format: Literal["onnx", "tflite"] = "onnx"


class ModelSpec(Section):
    """A member: a model file, or a PyTorch module."""

    path: _Path | None = None
    torch: TorchSpec | None = None
    name: str | None = None
    input: InputSpec = InputSpec()
    output: OutputSpec = OutputSpec()

    @model_validator(mode="after")
    def _one_source(self) -> ModelSpec:
        if (self.path is None) == (self.torch is None):
            raise ValueError("give either path or torch")
        if self.torch is not None and self.input.size is None:
            raise ValueError("a torch module needs input.size")
        return self

    @property
    def label(self) -> str:
        """The member's name."""
        if self.name:
            return self.name
        assert self.path is not None or self.torch is not None
        return self.path.stem if self.path else self.torch.entry.rpartition(":")[2]  # type: ignore[union-attr]


class SplitSpec(Section):
    """Sizes of the three splits: all counts, or all shares below 1."""

    fit: float = 0.25
    tune: float = 0.375
    test: float = 0.375
    seed: int = 0
    group: str | None = None


@dataclass(config=_STRICT, frozen=True)
class StreamSpec(StreamRecipe):
    """How inputs arrive: StreamRecipe has the fields and their rules, and explains them."""

    kind: Literal[STREAM_KINDS] = "independent"  # type: ignore[valid-type]
    frames: PositiveInt | None = None

    @property
    def recipe(self) -> StreamRecipe:
        """The stream as the workload makes it."""
        return StreamRecipe(**vars(self))


class CertifySpec(Section):
    """What must be shown of plans that stop early, on a `share` of tune that is kept for it: the
    share of inputs that they answer otherwise than the full network is at most `loss`, with this
    `confidence`."""

    loss: Annotated[float, Field(gt=0, lt=1)] = 0.05
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.9
    share: Annotated[float, Field(gt=0, lt=1)] = 0.3


class WorkloadSpec(Section):
    """Images, labels and what happens with them."""

    images: _Path
    labels: _Path | None = None
    classes: _Path | tuple[str, ...] | None = None
    splits: SplitSpec = SplitSpec()
    stream: StreamSpec = StreamSpec()


class TechniqueSpec(Section):
    """What the planner may do."""

    cascade: bool = True
    quantisation: tuple[Literal["w8a8"], ...] = ("w8a8",)
    premodel: bool = False
    exits: bool = False
    memory: bool = False
    slimming: tuple[Literal[SLIMMING_RULES], ...] = ()  # type: ignore[valid-type]

    @field_validator("slimming", mode="before")
    @classmethod
    def _all_rules(cls, value: Any) -> Any:
        """True stands for every rule."""
        return (SLIMMING_RULES if value else ()) if isinstance(value, bool) else value


class RuntimeSpec(Section):
    """Runtime options to try; `threads` None means 1 and all cores of the device."""

    threads: tuple[PositiveInt, ...] | None = None


class BudgetSpec(Section):
    """When to stop measuring candidates: minutes, number of candidates, or both. The members as
    they came are measured in any case. An inference without an answer for `stall_seconds` counts
    as one that never returns."""

    minutes: PositiveFloat | None = 20.0
    measurements: PositiveInt | None = None
    stall_seconds: PositiveFloat = 120.0
