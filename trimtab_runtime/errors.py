"""The one tree of errors: whatever Trimtab raises on purpose is a :class:`TrimtabError`."""

from __future__ import annotations

from collections.abc import Iterable

_SHOWN = 300


class TrimtabError(Exception):
    """Base of all errors of Trimtab. Its text says the rule and the values that broke it."""


class SpecificationError(TrimtabError):
    """A job specification is wrong; the text begins with the path of the field."""


class WorkloadError(TrimtabError):
    """Images, labels or splits cannot be used."""


class ModelError(TrimtabError):
    """A model file cannot be read, or does not fit what was said about it."""


class EngineError(TrimtabError):
    """An inference engine is missing, or refuses a model or an option."""


class InferenceError(TrimtabError):
    """A model ran and gave no usable answer (NaN, wrong width)."""


class BundleError(TrimtabError):
    """A bundle is damaged, forged, or of another protocol."""


class StoreError(TrimtabError):
    """The store cannot be opened, read or written."""


class DeviceError(TrimtabError):
    """A device cannot be reached, or a step on it died or never returned."""


class PlanningError(TrimtabError):
    """A job found no plan, or no such plan exists."""


class ClusterError(TrimtabError):
    """A cluster cannot be used."""


class UnforeseenError(TrimtabError):
    """An error of another kind in one step of a job, told by :func:`reason_of`."""


def told_error(
    name: str,
    reason: str,
    otherwise: type[TrimtabError],
    kinds: Iterable[type[TrimtabError]] = (),
) -> TrimtabError:
    """The error that another process told by the `name` of its class, one of `kinds` (none: any
    of this module); of another name it is `otherwise`."""
    every = (kind for kind in TrimtabError.__subclasses__() if kind.__module__ == __name__)
    known = {kind.__name__: kind for kind in (*kinds,) or every}
    return known.get(name, otherwise)(reason)


def reason_of(error: BaseException) -> str:
    """What an error says; one that is none of Trimtab's with its type, and where in Trimtab's own
    code it arose."""
    if isinstance(error, TrimtabError):
        return str(error)
    place, trace = "", error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__"))
        if module.partition(".")[0] in ("trimtab", "trimtab_runtime"):
            place = f" at {module}:{trace.tb_lineno}"
        trace = trace.tb_next
    said = (str(error).splitlines() or [""])[0][:_SHOWN]
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return f"{what}{place} (an error that Trimtab did not foresee: please report it)"
