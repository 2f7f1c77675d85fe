"""The job specification: what a user writes, checked."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
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
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from planner.spec_file import check_bounded, read_fields, told
from profilers.recorded import SCHEME as RECORDED
from search.constraints import Constraint
from trimtab_runtime.definition import COLOURS, DTYPES, LAYOUTS, OUTPUT_KINDS, RESIZE_FILTERS
from trimtab_runtime.errors import SpecificationError
from trimtab_runtime.metrics import find_metric

#: Techniques that DESIGN foresees and this version does not have.
_LATER = ("premodel", "exits", "memory", "slimming")


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


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


class InputSpec(_Part):
    """What a model file does not tell of its input. `mean` and `std` are in pixels (0..255)."""

    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    resize: Literal[RESIZE_FILTERS] | None = None  # type: ignore[valid-type]
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None
    layout: Literal[LAYOUTS] | None = None  # type: ignore[valid-type]
    dtype: Literal[DTYPES] | None = None  # type: ignore[valid-type]
    colour: Literal[COLOURS] | None = None  # type: ignore[valid-type]
    crop: Annotated[float, Field(gt=0, le=1)] | None = None


class OutputSpec(_Part):
    """What a model file does not tell of its output. `offset`: background classes in front."""

    kind: Literal[OUTPUT_KINDS] | None = None  # type: ignore[valid-type]
    offset: Annotated[int, Field(ge=0)] = 0


class TorchSpec(_Part):
    """A PyTorch module: `entry` 'package.module:callable' is imported because it is named here,
    with `folder` (by default that of the specification) on the import path."""

    entry: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    state: _Path | None = None
    folder: _Path | None = None


class ModelSpec(_Part):
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


class SplitSpec(_Part):
    """Sizes of the three splits: all counts, or all shares below 1."""

    fit: float = 0.25
    tune: float = 0.375
    test: float = 0.375
    seed: int = 0
    group: str | None = None


class StreamSpec(_Part):
    """How inputs arrive. This version knows independent inputs."""

    kind: Literal["independent"] = "independent"


class WorkloadSpec(_Part):
    """Images, labels and what happens with them."""

    images: _Path
    labels: _Path | None = None
    classes: _Path | tuple[str, ...] | None = None
    splits: SplitSpec = SplitSpec()
    stream: StreamSpec = StreamSpec()


class TechniqueSpec(_Part):
    """What the planner may do."""

    cascade: bool = True
    quantisation: tuple[Literal["w8a8"], ...] = ("w8a8",)
    premodel: bool = False
    exits: bool = False
    memory: bool = False
    slimming: bool = False

    @field_validator(*_LATER)
    @classmethod
    def _not_yet(cls, value: bool, info: ValidationInfo) -> bool:
        if value:
            raise ValueError(f"{info.field_name} is not in this version; leave it out")
        return value


class RuntimeSpec(_Part):
    """Runtime options to try; `threads` None means 1 and all cores of the device."""

    threads: tuple[PositiveInt, ...] | None = None


class BudgetSpec(_Part):
    """When to stop measuring candidates: minutes, number of candidates, or both. The members as
    they came are measured in any case. An inference without an answer for `stall_seconds` counts
    as one that never returns."""

    minutes: PositiveFloat | None = 20.0
    measurements: PositiveInt | None = None
    stall_seconds: PositiveFloat = 120.0


class JobSpec(_Part):
    """One run of the planner. `reference` names the member whose answers stand in for labels,
    `baseline` the one to compare with (by default the most capable on tune)."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    device: str = "local"
    models: Annotated[tuple[ModelSpec, ...], Field(min_length=1)]
    reference: str | None = None
    baseline: str | None = None
    workload: WorkloadSpec
    objectives: Annotated[dict[str, Literal["max", "min"]], Field(min_length=1)]
    constraints: tuple[str, ...] = ()
    techniques: TechniqueSpec = TechniqueSpec()
    runtime: RuntimeSpec = RuntimeSpec()
    budget: BudgetSpec = BudgetSpec()
    together: Annotated[int, Field(ge=1, le=100)] = 12
    verify: Annotated[int, Field(ge=0, le=100)] = 6

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if value != "local" and not value.startswith(RECORDED):
            raise ValueError(
                f"'local' is the one device of this version (and '{RECORDED}FILE' answers from "
                f"a recording), got {value!r}"
            )
        return value

    @field_validator("objectives")
    @classmethod
    def _natural_directions(cls, value: dict[str, str]) -> dict[str, str]:
        for name, direction in value.items():
            natural = "max" if find_metric(name).maximise else "min"
            if direction != natural:
                raise ValueError(f"{name} can only be '{natural}'")
        return value

    @field_validator("constraints")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                Constraint.parse(text)
            except SpecificationError as error:
                raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _names(self) -> JobSpec:
        names = [model.label for model in self.models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"models: two are called {twice[0]!r}; give one a name")
        for field, named in (("reference", self.reference), ("baseline", self.baseline)):
            if named is not None and self._member(named) not in names:
                raise ValueError(f"{field}: {named!r} is not among {', '.join(names)}")
        return self

    def _member(self, named: str | None) -> str | None:
        """A member's name, which may be given by its file name."""
        for model in self.models:
            if named in (model.label, model.path.name if model.path else None):
                return model.label
        return named

    @property
    def reference_name(self) -> str | None:
        """The member whose answers stand in for labels."""
        return self._member(self.reference)

    @property
    def baseline_name(self) -> str | None:
        """The member to compare with; None means the most capable one."""
        return self._member(self.baseline)


def load_spec(source: str | Path | Mapping[str, Any] | JobSpec) -> JobSpec:
    """A specification from a YAML file, a dictionary, or itself, with every path absolute.

    Paths are relative to the file, or to the working directory for a dictionary. Raises
    SpecificationError: a line for each wrong field, beginning with its path.
    """
    if isinstance(source, JobSpec):
        return source
    if isinstance(source, Mapping):
        data, folder = dict(source), Path.cwd()
    else:
        data, folder = read_fields(Path(source)), Path(source).resolve().parent
    check_bounded(data)
    try:
        spec = JobSpec.model_validate(data)
    except ValidationError as error:
        raise SpecificationError(told(error, _field_names())) from None
    return _absolute(spec, folder)


def _field_names() -> set[str]:
    return {name for part in _Part.__subclasses__() for name in part.model_fields}


def _absolute(spec: JobSpec, folder: Path) -> JobSpec:
    def at(path: Path) -> Path:
        return (folder / path.expanduser()).resolve()

    models = []
    for model in spec.models:
        changes: dict[str, Any] = {"path": at(model.path)} if model.path else {}
        if model.torch:
            state, imports = model.torch.state, model.torch.folder or folder
            update = {"state": at(state) if state else None, "folder": at(imports)}
            changes["torch"] = model.torch.model_copy(update=update)
        models.append(model.model_copy(update=changes))
    work = spec.workload
    changes = {"images": at(work.images)}
    if work.labels:
        changes["labels"] = at(work.labels)
    if isinstance(work.classes, Path):
        changes["classes"] = at(work.classes)
    workload = work.model_copy(update=changes)
    device, recording = spec.device, Path(spec.device.removeprefix(RECORDED))
    if device.startswith(RECORDED):
        device = f"{RECORDED}{at(recording)}"
    return spec.model_copy(
        update={"device": device, "models": tuple(models), "workload": workload}
    )
