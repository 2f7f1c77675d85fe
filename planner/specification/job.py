"""The job specification, validated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from trimtab.planner.specification.device import DeviceSpec
from trimtab.planner.specification.sections import (
    BudgetSpec,
    CertifySpec,
    ModelSpec,
    RuntimeSpec,
    Section,
    TechniqueSpec,
    WorkloadSpec,
)
from trimtab.planner.specification.yaml_file import check_bounded, read_fields, told
from trimtab.search.objectives.constraints import Constraint
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import SpecificationError
from trimtab_runtime.metrics import find_metric

#: The share of a bundle's answers that may differ from the replay.
VERIFY_MISMATCH = 0.001


Tag = Annotated[str, Field(min_length=1, max_length=50)]


class JobSpec(Section):
    """One run of the planner. `reference` names the member whose answers stand in for labels,
    `baseline` the one to compare with (by default the most capable on tune). `devices` stand in
    place of `device`: each gets a front, and with `across: worst` there is one over all of them,
    by the worst case. A bundle counts as failed where more than the share `verify_mismatch` of its
    answers differ from the replay. On the `cluster` (`auto`, or the address of one of Ray)
    variants are made. `tags` are words to find the job by. Neither changes anything of what is
    found, nor which job it is."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    tags: Annotated[tuple[Tag, ...], Field(max_length=20, exclude_if=lambda tags: not tags)] = ()
    device: DeviceSpec = DeviceSpec()
    devices: tuple[DeviceSpec, ...] = ()
    across: Literal["each", "worst"] = "each"
    models: Annotated[tuple[ModelSpec, ...], Field(min_length=1)]
    reference: str | None = None
    baseline: str | None = None
    workload: WorkloadSpec
    objectives: Annotated[dict[str, Literal["max", "min"]], Field(min_length=1)]
    constraints: tuple[str, ...] = ()
    techniques: TechniqueSpec = TechniqueSpec()
    certify: CertifySpec | None = None
    runtime: RuntimeSpec = RuntimeSpec()
    budget: BudgetSpec = BudgetSpec()
    together: Annotated[int, Field(ge=1, le=100)] = 12
    verify: Annotated[int, Field(ge=0, le=100)] = 6
    verify_mismatch: Annotated[float, Field(ge=0, lt=1)] = VERIFY_MISMATCH
    cluster: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("objectives")
    @classmethod
    def _natural_directions(cls, value: dict[str, str]) -> dict[str, str]:
        for name, direction in value.items():
            natural = "max" if find_metric(name).maximise else "min"
            if direction != natural:
                raise ValueError(f"{name} must be '{natural}', got {direction!r}")
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
    def _distinct_devices(self) -> JobSpec:
        if self.devices and "device" in self.model_fields_set:
            raise ValueError("devices: give either device or devices, not both")
        if not self.devices and self.across != "each":
            raise ValueError(f"across: {self.across} needs several devices")
        for what, fix in (("address", "remove one"), ("label", "give one another name")):
            found = [getattr(device, what) for device in self.devices]
            twice = sorted({one for one in found if found.count(one) > 1})
            if twice:
                raise ValueError(f"devices: two have the same address or name {twice[0]!r}; {fix}")
        return self

    @model_validator(mode="after")
    def _certifiable(self) -> JobSpec:
        if self.certify is not None and not self.techniques.exits:
            raise ValueError("certify: needs techniques.exits: true")
        if self.certify is not None and self.workload.stream.kind != "independent":
            raise ValueError(
                "certify: its bound needs independent inputs; leave certify out, or set "
                "workload.stream.kind: independent"
            )
        return self

    @model_validator(mode="after")
    def _names(self) -> JobSpec:
        names = [model.label for model in self.models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"models: two have the name {twice[0]!r}; give one another name")
        for field, named in (("reference", self.reference), ("baseline", self.baseline)):
            if named is not None and self._member(named) not in names:
                raise ValueError(
                    f"{field}: no model is called {named!r}; choose one of {', '.join(names)}"
                )
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what came later, where it is not used: so that jobs keep their names."""
        found: dict[str, Any] = written(self)
        hidden = {"device"} if self.devices else {"devices", "across"}
        if self.verify_mismatch == VERIFY_MISMATCH:
            hidden.add("verify_mismatch")
        if self.cluster is None:
            hidden.add("cluster")
        return {name: value for name, value in found.items() if name not in hidden}

    @property
    def places(self) -> tuple[DeviceSpec, ...]:
        """The device, or all of them."""
        return self.devices or (self.device,)

    def on(self, device: DeviceSpec) -> JobSpec:
        """The job of one of the `devices`."""
        alone = {"device": device.unnamed, "devices": (), "across": "each"}
        return self.model_copy(update=alone)

    def _member(self, named: str | None) -> str | None:
        """A member's name, which may be given by its file name; None for None."""
        for model in self.models if named is not None else ():
            if named in (model.label, model.path.name if model.path else None):
                return model.label
        return named

    def sizes_of(self, model: ModelSpec) -> tuple[tuple[int, int], ...] | None:
        """The other input sizes (height, width) to try a member with; None: some smaller ones."""
        said = self.techniques.sizes if model.sizes is None else model.sizes
        if isinstance(said, bool):
            return None if said else ()
        return tuple((side, side) if isinstance(side, int) else side for side in said)

    @property
    def reference_name(self) -> str | None:
        """The member whose answers stand in for labels."""
        return self._member(self.reference)

    @property
    def baseline_name(self) -> str | None:
        """The member to compare with; None means the most capable one."""
        return self._member(self.baseline)


def spec_identity(spec: JobSpec) -> dict[str, Any]:
    """What a specification has done, whatever its tags and wherever variants are made."""
    return spec.model_dump(mode="json", exclude={"tags", "cluster"})


def spec_key(spec: JobSpec) -> str:
    """A key of that."""
    return content_key(spec_identity(spec))


def load_spec(
    source: str | Path | Mapping[str, Any] | JobSpec, folder: Path | None = None
) -> JobSpec:
    """A specification from a YAML file, a dictionary, or itself, with every path absolute.

    Paths are relative to the file; those of a dictionary to `folder`, or else to the working
    directory. Raises SpecificationError: a line for each wrong field, beginning with its path.
    """
    if isinstance(source, JobSpec):
        return source
    if isinstance(source, Mapping):
        data, folder = dict(source), folder or Path.cwd()
    else:
        data, folder = read_fields(Path(source)), Path(source).resolve().parent
    check_bounded(data)
    try:
        spec = JobSpec.model_validate(data)
    except ValidationError as error:
        raise SpecificationError(told(error, JobSpec)) from None
    return _absolute(spec, folder)


def check_present(spec: JobSpec) -> None:
    """Raises SpecificationError where files or folders that a specification names are missing: a
    line for each, beginning with the path of its field."""
    named = [("workload.images", spec.workload.images), ("workload.labels", spec.workload.labels)]
    named += [(f"models[{n}].path", model.path) for n, model in enumerate(spec.models)]
    missing = [
        f"{field}: {path} is missing" for field, path in named if path and not path.exists()
    ]
    if missing:
        raise SpecificationError("\n".join(missing))


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
        if isinstance(model.output.classes, Path):
            update = {"classes": at(model.output.classes)}
            changes["output"] = model.output.model_copy(update=update)
        models.append(model.model_copy(update=changes))
    work = spec.workload
    changes = {"images": at(work.images)}
    for name in ("labels", "classes", "exclude"):
        if isinstance(getattr(work, name), Path):
            changes[name] = at(getattr(work, name))
    workload = work.model_copy(update=changes)
    changes = {"models": tuple(models), "workload": workload}
    if spec.devices:
        changes["devices"] = tuple(device.at(folder) for device in spec.devices)
    else:
        changes["device"] = spec.device.at(folder)
    return spec.model_copy(update=changes)
