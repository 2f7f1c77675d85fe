"""What the search replays is what the bundle answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.planner.bundles.archive import write_bundle
from trimtab.search.replay.cascade import replay
from trimtab_runtime import Plan
from trimtab_runtime.definitions.plan import OperatingPoint
from trimtab_runtime.engines import create_engine
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.plans.routing import calibrated


@pytest.mark.parametrize("rule", ["last", "mean"])
@pytest.mark.parametrize(
    "names",
    [["tiny"], ["bytes"], ["tiny", "bytes"], ["bytes", "small"], ["tiny", "small", "lite"]],
    ids=" > ".join,
)
def test_a_bundle_answers_as_replayed(
    names: list[str],
    rule: str,
    parts_of: Any,
    zoo: Mapping[str, Any],
    noise: Any,
    tmp_path: Path,
) -> None:
    probabilities = []
    for number, name in enumerate(names):
        member = zoo[name]
        engine = create_engine(str(member.path), member.variant, member.options)
        outputs = [engine.run(Preprocessor(i).tensor(member.variant.input)) for i in noise]
        temperature = 1.0 + number / 4  # as parts_of has it
        probabilities.append(calibrated(np.stack(outputs), member.variant.output, temperature))
    # Thresholds among the confidences that occur, one of them exactly a confidence.
    confidences = np.sort(probabilities[0].max(1).astype(np.float64))
    levels = [confidences[20], confidences[40] + 1e-9, 0.75]
    points = [OperatingPoint((float(level),) * (len(names) - 1)) for level in levels]
    if len(names) == 1:
        points = points[:1]
    parts = parts_of(names, points[0].thresholds, rule, points)
    plan = Plan.load(str(write_bundle(parts, tmp_path / "plan.pyz")))
    seen = set()
    for number, point in enumerate(points):
        expected = replay(probabilities, rule, point.thresholds)
        answers = [plan.use(point=number).classify(image) for image in noise]
        assert [answer.index for answer in answers] == expected.answer.tolist()
        assert [answer.stage for answer in answers] == expected.stage.tolist()
        assert [answer.confidence for answer in answers] == expected.confidence.tolist()
        seen |= set(expected.stage.tolist())
    assert seen == set(range(len(names))), "every stage must answer somewhere"
