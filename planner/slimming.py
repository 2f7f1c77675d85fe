"""Slimmed variants of a job's members: regions replaced by cheaper blocks, one set after another.

For each member: what its regions and the blocks proposed for them take on the device, what each
block loses once it is learned alone, then sets of them, each built and compared with the member
before the next is chosen.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from planner.built import Built
from planner.slim_cache import StoreCache
from planner.slim_timing import measured_savings
from search.slimming import (
    TOLERANCES,
    Combination,
    LossPredictor,
    Replacement,
    best_combinations,
    next_combination,
)
from trimtab_runtime.codec import content_key
from trimtab_runtime.definition import RuntimeOptions
from trimtab_runtime.errors import ModelError, PlanningError
from trimtab_runtime.preprocess import Preprocessor, decode_image
from variants.slimming import (
    Distilled,
    DistillRecipe,
    Inputs,
    Learned,
    LearnRecipe,
    Network,
    Proposal,
    Slimmed,
    Step,
    distill,
    learn_alone,
    overlaps,
    propose,
    read_network,
    slim,
    write_network,
)

if TYPE_CHECKING:
    from planner.run import Run

#: Slimmed variants of one member, at most.
VARIANTS = len(TOLERANCES)
#: Blocks of one member that are learned: those that save most.
_LEARNED = 24
#: Share of the network's time that a block must save to be looked at.
_LEAST = 0.005
#: Images of `fit` that blocks are learned from.
_IMAGES = 4000
_TRIALS = 1500
#: Blocks learned alone are a good start: a short recipe will do.
_AGAIN = LearnRecipe(epochs=10, patience=3, solve=False)


class NothingToSlim(PlanningError):
    """A member has no (further) slimmed variant; the message says why."""


@dataclass
class _Prepared:
    """What is known of one member. `front` are sets of `proposals` worth building."""

    network: Network
    inputs: Inputs
    proposals: list[Proposal]
    learned: dict[str, Learned]
    front: list[Combination]
    whole_ms: float
    predictor: LossPredictor = field(default_factory=LossPredictor)
    combinations: list[Combination] = field(default_factory=list)
    variants: list[Built] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)


class Slimming:
    """Makes slimmed variants of a run's members, or finds them in its store."""

    def __init__(self, run: Run) -> None:
        self._run, self._seed = run, run.spec.workload.splits.seed
        self._prepared: dict[str, _Prepared | NothingToSlim] = {}
        self._summary: dict[str, dict[str, Any]] = {}

    def variant(self, member: Built, number: int) -> Built:
        """Slimmed variant `number` (from 1) of a member as it came. Raises NothingToSlim where
        there is none, StoreError, or DeviceError."""
        prepared = self._prepare(member)
        while len(prepared.variants) < number:
            self._build_next(member, prepared)
        return prepared.variants[number - 1]

    def _prepare(self, member: Built) -> _Prepared:
        found = self._prepared.get(member.key)
        if found is None:
            try:
                found = self._find_sets(member)
            except (ModelError, NothingToSlim) as reason:
                self._say(member, reason=str(reason))
                self._run.journal.note("info", member.member, f"is not slimmed: {reason}")
                found = NothingToSlim(str(reason))
            self._prepared[member.key] = found
        if isinstance(found, NothingToSlim):
            raise found
        return found

    def _find_sets(self, member: Built) -> _Prepared:
        """Measure and learn what single replacements save and lose; sets of the best."""
        if member.variant.format != "onnx":
            raise NothingToSlim("only ONNX networks are slimmed, not TFLite files")
        journal = self._run.journal
        with tempfile.TemporaryDirectory(prefix="trimtab-slim-") as folder:
            source = Path(folder) / "source.onnx"
            shutil.copyfile(member.path, source)  # artefacts have no suffix
            network = read_network(source, member.variant.input.size)
        journal.step("slim", f"{member.member}: timing regions", 0, 1)
        proposals = propose(network, self._run.spec.techniques.slimming)
        if not proposals:
            raise NothingToSlim("none of its regions is one that a slimming rule replaces")
        threads = self._threads()
        whole, savings = measured_savings(self._run, member, network, proposals, threads)
        saved = dict(zip((p.key for p in proposals), savings, strict=True))
        worth = [p for p in proposals if saved[p.key] >= _LEAST * whole]
        self._say(member, whole_ms=whole, proposals=len(proposals), saving=len(worth))
        if not worth:
            raise NothingToSlim(
                f"of {len(proposals)} blocks that its regions could be replaced by, none is "
                f"faster on this device by {_LEAST:.1%} of the network"
            )
        worth = sorted(worth, key=lambda p: -saved[p.key])[:_LEARNED]
        inputs = self._inputs(member)
        learned = self._learn_alone(member, network, worth, inputs)
        kept = [proposal for proposal in worth if proposal.key in learned]
        slots = {p.region: n for n, p in enumerate(kept)}
        replacements = [
            Replacement(slots[p.region], saved[p.key], max(learned[p.key].error, 0.0))
            for p in kept
        ]
        conflicts = {
            (a, b)
            for a, b in combinations(range(len(kept)), 2)
            if overlaps(network, kept[a].region, kept[b].region)
        }
        front = best_combinations(replacements, conflicts, _TRIALS, self._seed)
        if not front:
            raise NothingToSlim("no block that saves time could be learned; see the notes above")
        blocks = [
            {
                "rule": proposal.rule,
                "note": proposal.note,
                "saved_ms": saved[proposal.key],
                "error": learned[proposal.key].error,
            }
            for proposal in kept
        ]
        self._say(member, blocks=blocks)
        return _Prepared(network, inputs, kept, learned, front, whole)

    def _learn_alone(
        self, member: Built, network: Network, worth: list[Proposal], inputs: Inputs
    ) -> dict[str, Learned]:
        """Blocks learned on the original's feature maps; one that cannot be is noted."""
        learned: dict[str, Learned] = {}
        found = learn_alone(
            network,
            worth,
            inputs,
            LearnRecipe(),
            self._seed,
            StoreCache(self._run.store, member),
            self._progress(member, "learning"),
        )
        for proposal, result in found:
            if isinstance(result, ModelError):
                self._run.journal.note("warning", member.member, f"left out: {result}")
            else:
                learned[proposal.key] = result
        return learned

    def _build_next(self, member: Built, prepared: _Prepared) -> None:
        """Build the next set, and learn from how much it disagrees with the member."""
        chosen = next_combination(prepared.front, prepared.predictor, prepared.combinations)
        if chosen is None:
            raise NothingToSlim("all sets of blocks worth building were built")
        predicted = prepared.predictor.predict(chosen.damage)
        name = f"slim{len(prepared.variants) + 1}"
        prepared.combinations.append(chosen)
        built = self._built(member, prepared, chosen, name)
        lost = self._disagreement(member, built)
        prepared.predictor.tell(chosen.damage, lost)
        prepared.variants.append(built)
        prepared.told.append(
            {
                "name": built.variant.name,
                "sha256": built.variant.sha256,
                "parts": [prepared.proposals[n].note for n in chosen.chosen],
                "saved_ms": chosen.saved_ms,
                "predicted_disagreement": predicted[0],
                "predicted_spread": predicted[1],
                "disagreement": lost,
            }
        )
        error = prepared.predictor.held_out_error
        self._say(member, built=prepared.told, predictor_error=error)

    def _built(self, member: Built, prepared: _Prepared, chosen: Combination, name: str) -> Built:
        """The variant of a set, found in the store or learned now."""
        proposals = [prepared.proposals[number] for number in chosen.chosen]
        recipe = DistillRecipe()
        lineage = {
            "step": "slim",
            "parent": member.key,
            "blocks": [proposal.key for proposal in proposals],
            "inputs": prepared.inputs.key,
            "learn": asdict(_AGAIN),
            "distill": asdict(recipe),
            "seed": self._seed,
            "onnxruntime": onnxruntime.__version__,
        }
        builder = self._run.builder
        found = builder.found(lineage, member, name)
        if found is not None:
            return found
        cache = StoreCache(self._run.store, member)
        slimmed = slim(
            prepared.network,
            proposals,
            prepared.inputs,
            _AGAIN,
            self._seed,
            cache,
            prepared.learned,
            self._progress(member, name),
        )
        taught = self._taught(member, prepared, slimmed, recipe, cache, name)
        with tempfile.TemporaryDirectory(prefix="trimtab-slim-") as folder:
            made = Path(folder) / "model.onnx"
            write_network(taught.model if taught else slimmed.model, made)
            return builder.keep_file(made, member, name, lineage, **_said(slimmed, taught))

    def _taught(
        self,
        member: Built,
        prepared: _Prepared,
        slimmed: Slimmed,
        recipe: DistillRecipe,
        cache: StoreCache,
        name: str,
    ) -> Distilled | None:
        """The slimmed network taught end to end; None, with a note, where that cannot be."""

        def progress(epoch: int, epochs: int, error: float) -> None:
            label = f"{member.member} {name}: teaching, error {error:.3f}"
            self._run.journal.step("slim", label, epoch, epochs)

        new = [part.region for part in slimmed.parts]
        try:
            return distill(
                prepared.network,
                slimmed.model,
                prepared.inputs,
                recipe,
                self._seed,
                cache,
                new,
                progress,
            )
        except ModelError as error:
            text = f"{name} was learned block by block only: {error}"
            self._run.journal.note("info", member.member, text)
            return None

    def _disagreement(self, member: Built, built: Built) -> float:
        """Share of tune on which the variant answers otherwise than the member."""
        options = RuntimeOptions("onnxruntime", "default", self._threads())
        rows = self._run.rows.tune
        answers: list[NDArray[np.int64]] = [
            self._run.evidence.trace(one, options)[rows].argmax(1) for one in (member, built)
        ]
        return float((answers[0] != answers[1]).mean())

    def _inputs(self, member: Built) -> Inputs:
        """Images of `fit`, preprocessed as the member takes them."""
        run = self._run
        items = [run.workload.items[index] for index in run.splits.fit[:_IMAGES]]

        def feeds() -> Iterator[NDArray[np.float32]]:
            for item in items:
                image = Preprocessor(decode_image(str(item.path)))
                yield np.asarray(image.tensor(member.variant.input), np.float32)

        return Inputs(feeds, content_key([item.sha256 for item in items]))

    def _threads(self) -> int:
        return min(self._run.spec.runtime.threads or (1,))

    def _progress(self, member: Built, name: str) -> Any:
        def told(step: Step) -> None:
            done = step.number - 1 + step.epoch / max(step.epochs, 1)
            label = f"{member.member} {name}: {step.note}"
            self._run.journal.step("slim", label, done, step.blocks)

        return told

    def _say(self, member: Built, **found: Any) -> None:
        """Add to what the job's summary says of a member's slimming."""
        self._summary.setdefault(member.member, {}).update(found)
        self._run.remember(slimming=self._summary)


def _said(slimmed: Slimmed, taught: Distilled | None) -> dict[str, Any]:
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
        for part in slimmed.parts
    ]
    if taught is None:
        return {"parts": parts}
    return {"parts": parts, "taught": {k: v for k, v in vars(taught).items() if k != "model"}}
