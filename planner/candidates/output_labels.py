"""Which output stands for which class, by the names that describe a model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trimtab.db import Level
from trimtab.planner.specification.sections import OutputSpec
from trimtab.variants import LabelFit, ModelDescription, fit_labels
from trimtab_runtime.definitions.plan import Variant

_SHOWN = 3

Notes = list[tuple[Level, str]]


@dataclass(frozen=True)
class JobClasses:
    """The `names` of a job's classes (none where nothing has labels); `ordered` where the user
    gave them as a list, which is then the order of the outputs too."""

    names: Sequence[str]
    ordered: bool = False

    @property
    def made_up(self) -> bool:
        """Whether they are numbers, as labels that are no names are counted."""
        return list(self.names) == [str(index) for index in range(len(self.names))]


def with_labels(
    variant: Variant,
    width: int,
    said: OutputSpec,
    classes: JobClasses,
    description: ModelDescription,
    notes: Notes,
) -> Variant | None:
    """The variant with its `width` outputs read by their names; None where no source names them,
    or what is said wins over the names. What is found is added to `notes`."""
    if not classes.names or said.classes is not None or said.mapping:
        return None
    for source in (source for source in description.sources if source.labels):
        shown = f"{source.source} names its outputs ({_few(source.labels)})"
        if classes.made_up:
            notes.append(("info", f"{shown}; the labels are numbers, and count its outputs"))
            return None
        fit = fit_labels(source.labels, width, classes.names)
        if isinstance(fit, str):
            notes.append(("info", f"{shown}; not used: {fit}"))
            continue
        against = _against(fit, width, said, classes)
        if against:
            notes.append(("warning", f"{against} is used as said, but {shown}"))
            return None
        notes.append(("info", f"{shown}; {_told(fit, width)}"))
        output = replace(variant.output, offset=fit.offset, groups=fit.groups)
        return replace(variant, output=output)
    return None


def _against(fit: LabelFit, width: int, said: OutputSpec, classes: JobClasses) -> str:
    """What is said otherwise than the names have it; '' where nothing is."""
    count = len(classes.names)
    if "offset" in said.model_fields_set:
        as_said = tuple(range(said.offset, said.offset + count))
        if width - said.offset == count and fit.places != as_said:
            return f"output.offset: {said.offset}"
    elif classes.ordered and width == count and not fit.plain:
        return "the order of workload.classes"
    return ""


def _told(fit: LabelFit, width: int) -> str:
    count = len(fit.places)
    if fit.offset:
        return "the first is a background, which is left out"
    if fit.plain:
        return "in the order of the classes"
    if count < width and width > 1:
        return f"the job's {count} classes are found by name, the other {width - count} left out"
    return f"the job's {count} classes are found by name, in another order"


def _few(names: Sequence[str]) -> str:
    more = f", ... {len(names)} in all" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
