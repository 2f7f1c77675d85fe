"""What int8 does to each block of a model: the error of the answers when the block alone is
quantised, and its time on a device in float and in int8."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trimtab.db import Store, VariantRecord
from trimtab.planner.cache.scores import ScoreCache
from trimtab.planner.jobs.dataset import load_dataset
from trimtab.planner.reports.layer_profile import LayerProfile
from trimtab.planner.reports.layers import profile_layers
from trimtab.planner.specification.job import JobSpec
from trimtab.profilers import Device
from trimtab.profilers.device import Progress
from trimtab.variants import Int8Blocks, identity_in_subprocess, int8_blocks_in_subprocess
from trimtab.workloads import Item
from trimtab_runtime.codec import decode
from trimtab_runtime.definitions.plan import InputFormat, OutputFormat, RuntimeOptions, Variant
from trimtab_runtime.errors import PlanningError


@dataclass(frozen=True)
class BlockTime:
    """A block of layers (`label`: its first and last): the `error` of the answers when it alone is
    int8, as a share of their variance (None: nothing of it can be quantised), its median times,
    and its multiply-accumulates for one image."""

    label: str
    error: float | None
    float_ms: float
    int8_ms: float
    multiply_accumulates: int


@dataclass(frozen=True)
class BlockProfile:
    """All blocks of a model, in their order. `error` and `agreement` with the float answers (share
    of `images`) are of all of it in int8; times are medians of whole runs."""

    model: str
    device: str
    engine: str
    threads: int
    images: int
    error: float
    agreement: float
    float_ms: float
    int8_ms: float
    warnings: tuple[str, ...]
    blocks: tuple[BlockTime, ...]

    def plain(self) -> dict[str, Any]:
        """For JSON; unknown is None."""
        return asdict(self)


def profile_blocks(
    store: Store,
    device: Device,
    model: Path,
    options: RuntimeOptions,
    runs: int = 50,
    progress: Progress | None = None,
) -> BlockProfile:
    """Score and measure the blocks of an ONNX file that is a member of a job in the store, which
    says how it is fed and has the images (`fit`) that int8 is calibrated on. Scores that the store
    has are not made again.

    Raises PlanningError where no job has it, ModelError where it cannot be quantised,
    WorkloadError where its images are gone, DeviceError.
    """
    record, variant, items = _member(store, model)
    with tempfile.TemporaryDirectory(prefix="trimtab-int8-") as folder:
        source = Path(folder) / "source.onnx"
        source.symlink_to(store.artefacts.path(variant.sha256))
        images = [item.path for item in items]
        scores = ScoreCache(store, variant, record.member, items)
        found = int8_blocks_in_subprocess(source, variant, images, Path(folder), scores=scores)
        before, after = (
            profile_layers(device, Path(folder) / name, options, runs, progress=progress)
            for name in (found.plain, found.quantised)
        )
    return _profile(model, found, before, after)


def _member(store: Store, model: Path) -> tuple[VariantRecord, Variant, Sequence[Item]]:
    """The member that a file is in the latest job that has it, and that job's images."""
    identity = identity_in_subprocess(model)
    known = {v.key: v for v in store.list_variants() if v.recipe.get("sha256") == identity}
    for job in store.list_jobs():
        for candidate in store.list_candidates(job.id):
            record = known.get(candidate.variant_key)
            if record is None or record.artefact_sha256 is None or record.size_bytes is None:
                continue
            workload, splits = load_dataset(JobSpec.model_validate(job.spec))
            variant = Variant(
                record.name,
                record.artefact_sha256,
                record.format,
                record.size_bytes,
                decode(InputFormat, record.io["input"]),
                decode(OutputFormat, record.io["output"]),
            )
            return record, variant, [workload.items[index] for index in splits.fit]
    raise PlanningError(
        f"no job in this store has measured {model.name}, so nothing says how it is fed and which "
        "images int8 is calibrated on; run `trimtab plan` with it first"
    )


def _profile(
    model: Path, found: Int8Blocks, before: LayerProfile, after: LayerProfile
) -> BlockProfile:
    owners = {node: i for i, block in enumerate(found.blocks) for node in block.nodes}
    floats, integers = (_by_block(each, owners, len(found.blocks)) for each in (before, after))
    return BlockProfile(
        model=model.name,
        device=before.device,
        engine=before.engine,
        threads=before.threads,
        images=found.images,
        error=found.error,
        agreement=found.agreement,
        float_ms=before.median_ms,
        int8_ms=after.median_ms,
        warnings=tuple(dict.fromkeys((*before.warnings, *after.warnings))),
        blocks=tuple(
            BlockTime(block.label, error, float_ms, int8_ms, block.multiply_accumulates)
            for block, error, float_ms, int8_ms in zip(
                found.blocks, found.errors, floats, integers, strict=True
            )
        ),
    )


def _by_block(profile: LayerProfile, owners: Mapping[str, int], count: int) -> list[float]:
    """Milliseconds of each block. A node that names do not give to one (where bytes become floats,
    or the other way) belongs to the block that comes next."""
    found, waiting, last = [0.0] * count, 0.0, 0
    for node in profile.nodes:
        blocks = [owners[name] for name, _ in node.originals if name in owners]
        waiting += node.median_ms
        if blocks:
            last = blocks[0]
            found[last] += waiting
            waiting = 0.0
    found[last] += waiting
    return found
