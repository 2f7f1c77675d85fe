"""Slimmed variants of a job's members: sets of regions replaced by cheaper blocks, one set after
another, each built and compared with the member before the next is chosen."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from trimtab.planner.cache.blocks import BlockCache
from trimtab.planner.cache.keys import slimmed_lineage, variant_key
from trimtab.planner.cache.variants import StoredVariant, host
from trimtab.planner.candidates.evaluator import CandidateEvaluator
from trimtab.planner.candidates.measured import Measured, NothingToSlim
from trimtab.planner.jobs.steps import one_step
from trimtab.planner.jobs.summary import SlimmedSet, SlimmingSummary
from trimtab.planner.techniques.slimming.blocks import Blocks, deadline, learn_blocks, progress_of
from trimtab.search.block_sets import (
    Combination,
    LossPredictor,
    best_combinations,
    next_combination,
)
from trimtab.search.estimates.metrics import can_tell, quality_metric
from trimtab.search.estimates.targets import Targets
from trimtab.variants.slimming import (
    BuiltNetwork,
    DistillRecipe,
    LearnRecipe,
    Progress,
    Proposed,
    Step,
    build_in_subprocess,
)
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.errors import ModelError, UnforeseenError

_TRIALS = 1500
#: Blocks learned alone are a good start: a short recipe will do.
_AGAIN = LearnRecipe(epochs=10, patience=3, solve=False)


@dataclass
class _Prepared:
    """What is known of one member. `front` are sets of blocks worth building."""

    blocks: Blocks
    front: list[Combination]
    predictor: LossPredictor = field(default_factory=LossPredictor)
    combinations: list[Combination] = field(default_factory=list)
    variants: list[StoredVariant] = field(default_factory=list)
    told: list[SlimmedSet] = field(default_factory=list)


class SlimmedVariants:
    """Makes slimmed variants of a run's members, or finds them in its store."""

    def __init__(self, evaluator: CandidateEvaluator) -> None:
        self._evaluator, self._seed = evaluator, evaluator.job.spec.workload.splits.seed
        self._prepared: dict[str, _Prepared | NothingToSlim] = {}
        self._summary = dict(evaluator.job.summary.get("slimming", {}))

    def variant(self, member: StoredVariant, number: int) -> StoredVariant:
        """Slimmed variant `number` (from 1) of an original model. Raises NothingToSlim where
        there is none, StoreError, or DeviceError."""
        with host(self._evaluator.job.journal):
            prepared = self._prepare(member)
            while len(prepared.variants) < number:
                self._build_next(member, prepared)
            return prepared.variants[number - 1]

    def _prepare(self, member: StoredVariant) -> _Prepared:
        found = self._prepared.get(member.key)
        if found is None:
            try:
                with one_step():
                    found = self._find_sets(member)
            except (ModelError, NothingToSlim, UnforeseenError) as reason:
                self._say(member, reason=str(reason))
                self._evaluator.job.journal.note("info", member.member, f"not slimmed: {reason}")
                found = NothingToSlim(str(reason))
            self._prepared[member.key] = found
        if isinstance(found, NothingToSlim):
            raise found
        return found

    def _find_sets(self, member: StoredVariant) -> _Prepared:
        def say(**found: Unpack[SlimmingSummary]) -> None:
            self._say(member, **found)

        known = self._summary.setdefault(member.member, {})
        known.pop("reason", None)  # of an earlier run, which may have failed for want of memory
        blocks = learn_blocks(self._evaluator.job, member, self._threads(), self._seed, known, say)
        front = best_combinations(blocks.replacements, blocks.conflicts, _TRIALS, self._seed)
        return _Prepared(blocks, front)

    def _build_next(self, member: StoredVariant, prepared: _Prepared) -> None:
        """Build the next set, and learn from how much it disagrees with the member."""
        chosen = next_combination(prepared.front, prepared.predictor, prepared.combinations)
        if chosen is None:
            raise NothingToSlim("all promising sets of blocks are built")
        predicted, spread = prepared.predictor.predict(chosen.damage)
        proposals = [prepared.blocks.proposals[number] for number in chosen.chosen]
        prepared.combinations.append(chosen)
        built = self._built(
            member, prepared.blocks, proposals, f"slim{len(prepared.variants) + 1}"
        )
        lost = self._disagreement(member, built)
        prepared.predictor.tell(chosen.damage, lost)
        prepared.variants.append(built)
        prepared.told.append(
            {
                "name": built.variant.name,
                "sha256": built.variant.sha256,
                "parts": [proposal.note for proposal in proposals],
                "saved_ms": chosen.saved_ms,
                "predicted_disagreement": predicted,
                "predicted_spread": spread,
                "disagreement": lost,
            }
        )
        error = prepared.predictor.held_out_error
        self._say(member, built=prepared.told, predictor_error=error)

    def _built(
        self, member: StoredVariant, blocks: Blocks, proposals: Sequence[Proposed], name: str
    ) -> StoredVariant:
        """The variant of a set, found in the store or learned now."""
        recipe = DistillRecipe()
        lineage = slimmed_lineage(
            member.key,
            [proposal.key for proposal in proposals],
            blocks.lesson.key,
            asdict(_AGAIN),
            asdict(recipe),
            self._seed,
        )
        builder = self._evaluator.variants
        found = builder.found(lineage, member, name)
        if found is not None:
            return found
        job = self._evaluator.job
        # Where teaching has come to, epoch by epoch: of use until the variant is there.
        state = job.store.artefacts.folder / ".learning" / variant_key(lineage)
        with tempfile.TemporaryDirectory(prefix="trimtab-slim-") as folder:
            made = Path(folder) / "model.onnx"
            result = build_in_subprocess(
                blocks.source,
                [proposal.key for proposal in proposals],
                blocks.lesson,
                (_AGAIN, recipe),
                made,
                state,
                BlockCache(job.store, member),
                self._progress(member, name),
            )
            built = builder.keep_file(made, member, name, lineage, **_said(result))
        if result.untaught is not None:
            text = f"{name} was trained block by block only: {result.untaught}"
            job.journal.note("info", member.member, text)
        shutil.rmtree(state, ignore_errors=True)
        return built

    def _progress(self, member: StoredVariant, name: str) -> Progress:
        """Passes the progress of building to the journal, and ends teaching in time."""
        job, over = self._evaluator.job, deadline(self._evaluator.job)
        learning = progress_of(job, f"{member.member} {name}")

        def step(done: Step) -> None:
            nonlocal over
            over = deadline(job)  # teaching begins behind the last block
            learning(done)

        def teaching(epoch: int, epochs: int, error: float) -> None:
            label = f"{member.member} {name}: teaching, error {error:.3f}"
            job.journal.step("slim", label, epoch, epochs)

        return Progress(step, job.journal.alive, teaching, lambda: over())

    def _disagreement(self, member: StoredVariant, built: StoredVariant) -> float:
        """Share of tune on which the variant answers otherwise than the member."""
        options = RuntimeOptions("onnxruntime", "default", self._threads())
        rows = self._evaluator.rows.tune
        answers: list[NDArray[np.int64]] = [
            self._evaluator.traces.trace(one, options)[rows].argmax(1) for one in (member, built)
        ]
        return float((answers[0] != answers[1]).mean())

    def report(
        self,
        measured: Sequence[Measured],
        targets: Mapping[str, Targets],
        quality: Sequence[str],
    ) -> None:
        """Tell the quality of slimmed variants, alone, on tune and test."""
        outputs = {m.built.variant.sha256: m.outputs for m in measured}
        rows = {"tune": self._evaluator.rows.tune, "test": self._evaluator.rows.test}
        for found in self._summary.values():
            for entry in found.get("built", []):
                own = outputs.get(entry["sha256"])
                if own is not None:
                    entry["quality"] = {
                        metric: {
                            split: quality_metric(metric).told(targets[split], own[index])[0]
                            for split, index in rows.items()
                        }
                        for metric in quality
                        if all(can_tell(targets[split], metric) for split in rows)
                    }
        if self._summary:
            self._evaluator.job.remember(slimming=self._summary)

    def _threads(self) -> int:
        return min(self._evaluator.job.spec.runtime.threads or (1,))

    def _say(self, member: StoredVariant, **found: Unpack[SlimmingSummary]) -> None:
        """Add to what the job's summary says of a member's slimming."""
        self._summary.setdefault(member.member, {}).update(found)
        self._evaluator.job.remember(slimming=self._summary)


def _said(built: BuiltNetwork) -> dict[str, Any]:
    """What came of it, for the variant's lineage."""
    parts = [
        {
            "rule": part.rule,
            "region": [part.region.start, part.region.end],
            "note": part.note,
            "error_before": part.error_before,
            "error": part.error,
            "epochs": part.epochs,
        }
        for part in built.parts
    ]
    return {"parts": parts} if built.taught is None else {"parts": parts, "taught": built.taught}
