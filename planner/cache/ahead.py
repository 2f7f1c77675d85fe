"""Variants that a cluster makes before they are asked for, many at a time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.planner.cache.keys import precision_lineage, variant_key
from trimtab.planner.cache.variants import StoredVariant, VariantCache, host
from trimtab.planner.jobs.steps import one_step
from trimtab.variants import SCHEMES, NothingToGain, quantisation_details, quantisation_work
from trimtab.variants.execution import Executor, Work
from trimtab_runtime.errors import TrimtabError


@dataclass(frozen=True)
class _Wanted:
    parent: StoredVariant
    scheme: str
    lineage: Mapping[str, Any]
    work: Work
    out: Path


def quantise_ahead(
    cache: VariantCache,
    wanted: Sequence[tuple[StoredVariant, str]],
    executor: Executor,
    enough: Callable[[], bool],
) -> None:
    """Quantise parents by schemes where that was not done, in the order in which they end; no more
    is begun once there is `enough`.

    What cannot be made is kept as :meth:`VariantCache.quantised` keeps it, which finds both then.
    """
    with host(cache.journal), tempfile.TemporaryDirectory(prefix="trimtab-ahead-") as folder:
        missing = [
            _wanted(cache, parent, scheme, Path(folder) / str(number))
            for number, (parent, scheme) in enumerate(wanted)
            if not _known(cache, parent, scheme)
        ]
        works, total = [found.work for found in missing], len(missing)
        if total:
            cache.journal.step("build", "variants on the cluster", 0, total)
        ended = executor.run(works, cache.journal.alive, enough)
        for done, (number, outcome) in enumerate(ended, 1):
            _keep(cache, missing[number], outcome)
            cache.journal.step("build", "variants on the cluster", done, total)


def _lineage(cache: VariantCache, parent: StoredVariant, scheme: str) -> Mapping[str, Any]:
    return precision_lineage(scheme, parent.key, SCHEMES[scheme].recipe, cache.fit)


def _known(cache: VariantCache, parent: StoredVariant, scheme: str) -> bool:
    lineage = _lineage(cache, parent, scheme)
    if variant_key(lineage) in cache.failed:
        return True
    return cache.found(lineage, parent, scheme) is not None


def _wanted(cache: VariantCache, parent: StoredVariant, scheme: str, folder: Path) -> _Wanted:
    cache.warn_of_few(parent, scheme)
    made = folder / "made"
    made.mkdir(parents=True)
    source, out = folder / "source.onnx", made / "model.onnx"
    shutil.copyfile(parent.path, source)  # artefacts have no suffix
    images = [item.path for item in cache.fit]
    work = quantisation_work(scheme, source, parent.variant, images, out, cache.limit_s)
    return _Wanted(parent, scheme, _lineage(cache, parent, scheme), work, out)


def _keep(cache: VariantCache, wanted: _Wanted, outcome: Any) -> None:
    try:
        with one_step():
            if isinstance(outcome, TrimtabError):
                raise outcome
            details = quantisation_details(outcome)
            cache.keep_file(wanted.out, wanted.parent, wanted.scheme, wanted.lineage, **details)
    except NothingToGain as reason:
        cache.failed[variant_key(wanted.lineage)] = reason
    except TrimtabError as error:
        cache.keep_failure(wanted.parent, wanted.scheme, wanted.lineage, error)
