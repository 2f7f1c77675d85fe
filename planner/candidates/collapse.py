"""Quantised variants whose answers are no longer those of the network they were made of."""

from __future__ import annotations

import tempfile
from pathlib import Path

from trimtab.planner.cache.variants import StoredVariant, VariantCache
from trimtab.planner.candidates.measured import Measured
from trimtab.planner.jobs.steps import ENDS_JOB
from trimtab.search.estimates.targets import Ints
from trimtab.variants import block_errors_in_subprocess
from trimtab_runtime.errors import PlanningError, TrimtabError

#: Of fewer of its parent's answers than this share nothing useful is left, whatever the network.
KEPT = 0.6
_SHOWN = 3
#: Schemes whose blocks are scored as they quantise them, and that another one mends.
_STATIC = ("w8a8", "w8a8-full")


class Collapsed(PlanningError):
    """A quantised variant answers otherwise than its parent on most images."""


def check_answers(
    found: Measured,
    parent: Measured,
    fit: Ints,
    variants: VariantCache,
) -> None:
    """Raise Collapsed, with the blocks that quantisation hurts most, unless a variant answers as
    its float `parent` on at least :data:`KEPT` of the `fit` rows of their outputs.

    `variants` knows the images that it was calibrated on, and the scores of blocks.
    """
    same = (found.outputs[fit].argmax(1) == parent.outputs[fit].argmax(1)).mean()
    if same >= KEPT:
        return
    scheme = found.candidate.form.scheme
    worst = _worst(parent.built, variants) if scheme in _STATIC else ""
    raise Collapsed(
        f"collapsed: it answers as {parent.candidate.member} in float on {same:.0%} of "
        f"{len(fit)} images of 'fit' (at least {KEPT:.0%} are asked for){worst}"
    )


def _worst(parent: StoredVariant, variants: VariantCache) -> str:
    """Which blocks it is due to, read from each when it alone is quantised."""
    with tempfile.TemporaryDirectory(prefix="trimtab-worst-") as folder:
        source = Path(folder) / "source.onnx"
        source.symlink_to(parent.path)  # artefacts have no suffix
        try:
            scored = block_errors_in_subprocess(
                source,
                parent.variant,
                [item.path for item in variants.fit],
                variants.limit_s,
                variants.journal.alive,
                variants.scores(parent),
            )
        except ENDS_JOB:
            raise
        except TrimtabError as error:
            return f". Which blocks are at fault could not be told: {error}"
    worst = sorted(scored, key=lambda each: -each.error)[:_SHOWN]
    listed = "; ".join(f"{each.block.label} ({each.error:.2g})" for each in worst)
    return (
        f". Worst when quantised alone (error as a share of the answers' variance): {listed}. "
        "The scheme 'w8a8-mixed' keeps such blocks in float"
    )
