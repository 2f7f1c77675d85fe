"""Which function answers a request."""

from __future__ import annotations

from typing import Any, Callable

from trimtab_runtime.codec import decode
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.probe.answers import trace, verify
from trimtab_runtime.probe.measure import measure
from trimtab_runtime.probe.requests import KINDS

Progress = Callable[[int, int], None]


def result_of(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """{"status": "ok", values, samples, warnings, ...} or {"status": "failed", error, reason} of
    an encoded request with its `kind`; arrays are written to its `output`."""
    fields = dict(request)
    kind = fields.pop("kind")
    try:
        decoded: Any = decode(KINDS[kind], fields)
        return {"status": "ok", **_ANSWERS[kind](decoded, progress)}
    except (TrimtabError, MemoryError) as error:
        return {"status": "failed", "error": type(error).__name__, "reason": str(error)}


# What a bundle's process has not, no measurement of memory shall have: imported when asked.


def _layers(request: Any, progress: Progress) -> dict[str, Any]:
    from trimtab_runtime.probe.layers import layers

    return layers(request, progress)


def _paired(request: Any, progress: Progress) -> dict[str, Any]:
    from trimtab_runtime.probe.paired import paired

    return paired(request, progress)


def _race(request: Any, progress: Progress) -> dict[str, Any]:
    from trimtab_runtime.probe.race import race

    return race(request, progress)


def _features(request: Any, progress: Progress) -> dict[str, Any]:
    from trimtab_runtime.probe.features import features

    return features(request, progress)


def _fingerprint(request: Any, progress: Progress) -> dict[str, Any]:
    from trimtab_runtime.fingerprint import fingerprint

    return {"values": {}, "samples": {}, "warnings": [], "fingerprint": fingerprint()}


_ANSWERS: dict[str, Callable[[Any, Progress], dict[str, Any]]] = {
    "measure": measure,
    "trace": trace,
    "features": _features,
    "verify": verify,
    "paired": _paired,
    "layers": _layers,
    "race": _race,
    "fingerprint": _fingerprint,
}
