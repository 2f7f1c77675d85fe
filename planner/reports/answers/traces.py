"""What a job traced, read from the store for the inputs of test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab.db import JobRecord, Store, VariantRecord
from trimtab.planner.cache.keys import (
    Content,
    engine_key,
    features_content,
    io_of,
    outputs_content,
    trace_key,
)
from trimtab.planner.jobs.lookup import device_keys
from trimtab.planner.reports.answers.inputs import TestInputs
from trimtab.planner.reports.text import printable
from trimtab_runtime.definitions.exits import Exits, Tap
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.images.features import IMAGE_FEATURES
from trimtab_runtime.memory.states import DAMAGED, read_arrays

Floats = NDArray[np.float32]
Arrays = Mapping[str, Floats]


class StoredTraces:
    """Traces of the first of a job's devices, a row for each of the `inputs`. What is not in the
    store raises PlanningError."""

    def __init__(self, store: Store, job: JobRecord, inputs: TestInputs) -> None:
        device = next(map(store.get_device, device_keys(job)), None)
        if device is None:
            raise PlanningError("the device of this job is not in the store")
        self._store, self._inputs, self._fingerprint = store, inputs, device.fingerprint

    def outputs(self, variant: Variant, options: RuntimeOptions) -> Floats:
        """What a variant says (n, classes)."""
        found = self._arrays(outputs_content(variant, self._engine(options)))
        if found is None:
            raise PlanningError(f"the trace of {printable(variant.name)} is not in the store")
        return found["outputs"]

    def features(self, names: Sequence[str]) -> Floats:
        """Features of images (n, names)."""
        found = self._arrays(features_content(IMAGE_FEATURES))
        if found is None:
            raise PlanningError("the image features that its router reads are not in the store")
        return found["features"][:, [IMAGE_FEATURES.index(name) for name in names]]

    def vectors(
        self, variant: Variant, options: RuntimeOptions, names: Sequence[str], routed: bool
    ) -> list[Floats]:
        """The vectors (n, channels * grid * grid) at taps of a variant, by the names of the taps;
        `routed`: as a router reads them, (n, channels)."""
        for exits in self._cuts(variant):
            known = [tap.name for tap in exits.taps]
            if not set(names) <= set(known) or routed == any(tap.kinds for tap in exits.taps):
                continue
            found = self._arrays(outputs_content(variant, self._engine(options), exits))
            if found is not None:
                return [found[f"vector_{known.index(name)}"] for name in names]
        raise PlanningError(f"what the taps of {printable(variant.name)} read is not in the store")

    def thumbnails(self, stages: Sequence[tuple[Variant, RuntimeOptions]]) -> Floats:
        """Thumbnails (n, size) of the inputs; they do not depend on the variant that they were
        traced beside, which is one of `stages`."""
        for variant, options in stages:
            engine = self._engine(options)
            contents = [outputs_content(variant, engine, exits) for exits in self._cuts(variant)]
            for content in (*contents, outputs_content(variant, engine, thumbnails=True)):
                found = self._arrays(content)
                if found is not None:
                    return found["thumbnails"]
        raise PlanningError("the thumbnails of the inputs are not in the store")

    def _engine(self, options: RuntimeOptions) -> str:
        return engine_key(options, self._fingerprint)

    def _arrays(self, content: Content) -> Arrays | None:
        """The rows of the inputs; None where nothing of this content was traced."""
        key = trace_key(self._fingerprint, content, self._inputs.images)
        trace = self._store.get_trace(key)
        if trace is None or trace.artefact_sha256 is None:
            return None
        try:
            arrays = read_arrays(str(self.path(trace.artefact_sha256)))
        except DAMAGED as error:
            raise PlanningError(f"a trace in the store cannot be read ({error})") from None
        return {name: array[self._inputs.rows] for name, array in arrays.items()}

    def path(self, sha256: str) -> Path:
        """Where a file of the store lies. Raises StoreError where it is gone."""
        return self._store.artefacts.path(sha256)

    def _cuts(self, variant: Variant) -> Iterator[Exits]:
        """How this variant was ever cut into segments."""
        io = io_of(variant)
        parents = {
            each.key
            for each in self._variants
            if each.artefact_sha256 == variant.sha256 and each.io == io
        }
        for recipe in (each.recipe for each in self._variants):
            if recipe.get("step") != "segment" or recipe["number"]:
                continue  # the first file of a cut says all
            if recipe["parent"] in parents:
                *segments, arrays = recipe["files"]
                places = zip(recipe["taps"], segments[:-1], strict=True)
                taps = (Tap(name, sha256, tuple(kinds)) for (name, kinds), sha256 in places)
                yield Exits(tuple(taps), segments[-1], arrays)

    @cached_property
    def _variants(self) -> list[VariantRecord]:
        return self._store.list_variants(state="ok")
