"""Variants of members: built once, then found in the store by their lineage.

A failure is kept too, with its reason, and tried again only by a later job.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnxruntime

from trimtab.db import Store, VariantRecord
from trimtab.planner.cache.keys import (
    io_of,
    member_lineage,
    precision_lineage,
    resized_lineage,
    variant_key,
)
from trimtab.planner.cache.scores import ScoreCache
from trimtab.planner.cache.views import ViewCache
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.jobs.steps import one_step
from trimtab.profilers import Device
from trimtab.variants import (
    SCHEMES,
    NothingToGain,
    View,
    derive_variant,
    inspect_in_subprocess,
    quantise_in_subprocess,
    resize_in_subprocess,
    resized_input,
    size_text,
)
from trimtab.workloads import Item
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import StoreError, TrimtabError

_HOST = threading.RLock()
_WAIT_S = 1.0
#: Fewer images to calibrate on are told.
FEW_IMAGES = 8


@contextmanager
def host(journal: Journal) -> Iterator[None]:
    """Be the only job of this process that makes variants: what another makes, this one finds."""
    while not _HOST.acquire(timeout=_WAIT_S):
        journal.alive()
    try:
        yield
    finally:
        _HOST.release()


@dataclass(frozen=True)
class VariantCache:
    """Builds variants or finds them; `fit` are the images that quantisation is calibrated on,
    `device` is where they are to run (None: anywhere), by an onnxruntime of the version `engine`;
    each of its steps has `limit_s` seconds. Raises the TrimtabError of a failure, and raises it
    again without another try."""

    store: Store
    journal: Journal
    fit: Sequence[Item]
    limit_s: float = 120.0
    failed: dict[str, TrimtabError] = field(default_factory=dict)
    device: Device | None = None
    engine: str = onnxruntime.__version__

    @property
    def views(self) -> ViewCache:
        """Model files of members, opened once."""
        return ViewCache(self.store, self.device, self.engine)

    def member(self, variant: Variant, view: View, torch: str | None = None) -> StoredVariant:
        """Keep a member, known by its file as it came (exported from what `torch` names), as its
        view."""
        self.store.save_file(view.path, kind="model", name=f"{variant.name}{view.path.suffix}")
        lineage = member_lineage(variant, view.source_sha256, torch)
        return self.keep(variant.name, "as_is", variant, lineage)

    def resized(self, parent: StoredVariant, size: tuple[int, int]) -> StoredVariant:
        """A float variant for images of another `size` (height, width), made or found."""
        fed = replace(parent.variant, input=resized_input(parent.variant.input, size))
        lineage, name = resized_lineage(parent.key, size), f"{size_text(size)}px"
        with host(self.journal):
            like = replace(parent, variant=fed)
            found = self.found(lineage, like, name)
            if found is not None:
                return found
            with one_step(), tempfile.TemporaryDirectory(prefix="trimtab-size-") as folder:
                source, made = Path(folder) / "source.onnx", Path(folder) / "model.onnx"
                source.symlink_to(parent.path)  # artefacts have no suffix
                resize_in_subprocess(source, parent.variant, size, made, self.limit_s)
                return self.keep_file(made, like, name, lineage)

    def quantised(self, parent: StoredVariant, scheme: str) -> StoredVariant:
        """A variant quantised by a scheme of the registry, built or found."""
        with host(self.journal):
            return self._made(parent, scheme)

    def _made(self, parent: StoredVariant, scheme: str) -> StoredVariant:
        lineage = precision_lineage(scheme, parent.key, SCHEMES[scheme].recipe, self.fit)
        found = self.found(lineage, parent, scheme)
        if found is not None:
            return found
        key = variant_key(lineage)
        if key in self.failed:
            raise self.failed[key]
        self.journal.note("info", parent.variant.name, f"building {scheme}")
        self.warn_of_few(parent, scheme)
        try:
            with one_step():
                return self._quantise(parent, scheme, lineage)
        except NothingToGain as reason:  # no failure: there is no such variant
            self.failed[key] = reason
            raise
        except TrimtabError as error:
            self.keep_failure(parent, scheme, lineage, error)
            raise

    def warn_of_few(self, parent: StoredVariant, scheme: str) -> None:
        """Tell where there are few images to calibrate on."""
        if len(self.fit) < FEW_IMAGES:
            text = (
                f"{scheme} is calibrated on {len(self.fit)} images only, whose ranges others may "
                f"leave; give at least {FEW_IMAGES} as workload.splits.fit"
            )
            self.journal.note("warning", parent.variant.name, text)

    def keep_failure(
        self,
        parent: StoredVariant,
        scheme: str,
        lineage: Mapping[str, Any],
        error: TrimtabError,
    ) -> None:
        """Record that a variant cannot be made; this job does not try again."""
        key = variant_key(lineage)
        self.failed[key] = error
        self.store.put_variant(
            VariantRecord(
                key=key,
                member=parent.member,
                name=f"{parent.variant.name} {scheme}",
                format=parent.variant.format,
                artefact_sha256=None,
                size_bytes=None,
                recipe=dict(lineage),
                io=io_of(parent.variant),
                state="failed",
                reason=str(error),
            )
        )

    def _quantise(
        self,
        parent: StoredVariant,
        name: str,
        lineage: Mapping[str, Any],
    ) -> StoredVariant:
        with tempfile.TemporaryDirectory(prefix="trimtab-build-") as folder:
            source, made = Path(folder) / "source.onnx", Path(folder) / "model.onnx"
            shutil.copyfile(parent.path, source)  # artefacts have no suffix
            images = [item.path for item in self.fit]
            told = quantise_in_subprocess(
                name,
                source,
                parent.variant,
                images,
                made,
                self.limit_s,
                self.journal.alive,
                self.scores(parent),
            )
            return self.keep_file(made, parent, name, lineage, **told)

    def scores(self, parent: StoredVariant) -> ScoreCache:
        """What is known of blocks of a float variant."""
        return ScoreCache(self.store, parent.variant, parent.member, self.fit)

    def keep_file(
        self,
        path: Path,
        parent: StoredVariant,
        precision: str,
        lineage: Mapping[str, Any],
        **details: Any,
    ) -> StoredVariant:
        """Keep a file made of `parent`, with `details` of how that went."""
        name = f"{parent.variant.name} {precision}"
        facts = inspect_in_subprocess(path, parent.variant.input.size, self.limit_s)
        variant = derive_variant(path, parent.variant, name, facts)
        self.store.save_file(path, kind="model", name=f"{variant.name}.onnx")
        return self.keep(parent.member, precision, variant, lineage, **details)

    def keep(
        self,
        member: str,
        precision: str,
        variant: Variant,
        lineage: Mapping[str, Any],
        **details: Any,
    ) -> StoredVariant:
        """Record a variant whose file the store has."""
        record = self.store.put_variant(
            VariantRecord(
                key=variant_key(lineage),
                member=member,
                name=variant.name,
                format=variant.format,
                artefact_sha256=variant.sha256,
                size_bytes=variant.size_bytes,
                recipe={**lineage, **details},
                io=io_of(variant),
            )
        )
        path = self.store.artefacts.path(variant.sha256)
        return StoredVariant(record.key, member, precision, variant, path)

    def found(
        self, lineage: Mapping[str, Any], parent: StoredVariant, precision: str
    ) -> StoredVariant | None:
        """What was kept under a lineage; None where nothing was, or its file was lost."""
        record = self.store.get_variant(variant_key(lineage))
        if record is None or record.artefact_sha256 is None or record.size_bytes is None:
            return None
        try:
            path = self.store.artefacts.path(record.artefact_sha256)
        except StoreError as error:
            self.journal.note("warning", record.name, f"built again: {error}")
            return None
        variant = Variant(
            record.name,
            record.artefact_sha256,
            record.format,
            record.size_bytes,
            parent.variant.input,
            parent.variant.output,
        )
        return StoredVariant(record.key, record.member, precision, variant, path)


@dataclass(frozen=True)
class StoredVariant:
    """A variant that lies in the store: `key` names its lineage, `path` is its file here."""

    key: str
    member: str
    precision: str
    variant: Variant
    path: Path
