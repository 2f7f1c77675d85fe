"""The study of candidates: what comes first, never twice, and going on after a cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from trimtab.search.candidates.candidate import ORIGINAL, Candidate, VariantForm, options_label
from trimtab.search.candidates.study import CandidateStudy, Direction
from trimtab_runtime.definitions.plan import RuntimeOptions

W8A8 = VariantForm(scheme="w8a8")


def candidates() -> list[Candidate]:
    """Three members; two precisions of the ONNX ones; options by engine. 2 * 2 * 3 + 2 = 14."""
    onnx = [
        RuntimeOptions("onnxruntime"),
        RuntimeOptions("onnxruntime", threads=2),
        RuntimeOptions("onnxruntime", spinning=True),
    ]
    lite = [RuntimeOptions("litert"), RuntimeOptions("litert", provider="builtin")]
    found = [Candidate(name, ORIGINAL, onnx[0]) for name in ("a", "b")]
    found.append(Candidate("c", ORIGINAL, lite[0]))
    found += [Candidate(name, W8A8, onnx[0]) for name in ("a", "b")]
    rest = [
        *(Candidate(n, p, o) for n in ("a", "b") for p in (ORIGINAL, W8A8) for o in onnx),
        *(Candidate("c", ORIGINAL, o) for o in lite),
    ]
    return found + [candidate for candidate in rest if candidate not in found]


SPACE = candidates()


#: Two members, for studies on a disk, where each trial costs several commits.
SMALL = [c for c in SPACE if c.member != "b" and not c.options.spinning]


def study(storage: Path | None = None, seed: int = 0) -> CandidateStudy:
    """In memory over all candidates, on a disk over the few."""
    directions: list[Direction] = ["maximize", "minimize"]
    if storage is None:
        return CandidateStudy("job", SPACE, 3, 5, directions, seed=seed)
    return CandidateStudy("job", SMALL, 2, 3, directions, f"sqlite:///{storage}", seed)


def values(candidate: Candidate) -> list[float]:
    number = SPACE.index(candidate)
    return [0.5 + number / 100, 20.0 - number]


def exhaust(found: CandidateStudy) -> list[Candidate]:
    proposed = []
    while (proposal := found.next()) is not None:
        assert len(proposed) < len(SPACE), "proposed more than there is"
        found.report(proposal, values(proposal.candidate))
        proposed.append(proposal.candidate)
    return proposed


def test_the_space_is_as_told() -> None:
    assert len(SPACE) == len({c.key for c in SPACE}) == len({c.label for c in SPACE}) == 14
    assert len(SMALL) == 6


@pytest.mark.parametrize("seed", range(4))
def test_baselines_first_then_the_enqueued_then_all_once(seed: int) -> None:
    found = study(seed=seed)
    assert not found.baselines_done
    proposed = []
    for expected_left in range(14, 0, -1):
        assert found.remaining == expected_left
        proposal = found.next()
        assert proposal is not None
        found.report(proposal, values(proposal.candidate))
        proposed.append(proposal.candidate)
        assert found.baselines_done == (len(proposed) >= 3)
        assert found.measured == proposed
    assert found.next() is None
    assert proposed[:5] == SPACE[:5]
    assert sorted(c.key for c in proposed) == sorted(c.key for c in SPACE)


def test_what_failed_is_not_proposed_again_in_the_same_run() -> None:
    found, proposed = study(), []
    while (proposal := found.next()) is not None:
        fails = proposal.candidate.form == W8A8
        result = None if fails else values(proposal.candidate)
        found.report(proposal, result, "cannot be quantised" if fails else None)
        proposed.append(proposal.candidate)
    assert len(proposed) == len(set(proposed)) == 14
    assert {c.form for c in found.measured} == {ORIGINAL}
    assert found.remaining == 0


def test_a_baseline_that_failed_counts_as_done() -> None:
    found = study()
    for _ in range(3):
        proposal = found.next()
        assert proposal is not None
        found.report(proposal, None, "no such file")
    assert found.baselines_done
    assert found.measured == []


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    storage, proposed = tmp_path / "study.db", list[Candidate]()
    for _ in range(4):
        found = study(storage)
        assert found.measured == proposed
        proposal = found.next()
        assert proposal is not None
        found.report(proposal, values(proposal.candidate))
        proposed.append(proposal.candidate)
    again = study(storage)
    proposed += exhaust(again)
    assert len(proposed) == len(set(proposed)) == 6
    assert study(storage).next() is None


@pytest.mark.parametrize("done", [0, 2, 5])
def test_a_trial_that_was_cut_off_is_measured_again(tmp_path: Path, done: int) -> None:
    storage = tmp_path / "study.db"
    found = study(storage)
    for _ in range(done):
        proposal = found.next()
        assert proposal is not None
        found.report(proposal, values(proposal.candidate))
    dropped = found.next()
    assert dropped is not None
    del found
    again = study(storage)
    assert len(again.measured) == done
    assert again.remaining == 6 - done
    rest = exhaust(again)
    assert len(rest) == 6 - done
    assert dropped.candidate in rest


@pytest.mark.parametrize("done", [0, 4])
def test_a_trial_that_was_enqueued_and_never_asked_for(tmp_path: Path, done: int) -> None:
    """A job killed between the two leaves a waiting trial, which nobody must get by mistake."""
    storage = tmp_path / "study.db"
    found = study(storage)
    for _ in range(done):
        proposal = found.next()
        assert proposal is not None
        found.report(proposal, values(proposal.candidate))
    for candidate in (SMALL[5], SMALL[done]):
        found._study.enqueue_trial(found._parameters(candidate))
    rest = exhaust(study(storage))
    assert len(rest) == len(set(rest)) == 6 - done


def test_what_failed_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    storage = tmp_path / "study.db"
    found = study(storage)
    proposal = found.next()
    assert proposal is not None
    found.report(proposal, None, "disk full")
    again = study(storage)
    assert again.remaining == 6
    repeated = again.next()
    assert repeated is not None
    assert repeated.candidate == proposal.candidate


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[2:]
from test_search_outer import study, values
found = study(sys.argv[1])
for number in range(100):
    proposal = found.next()
    print(proposal.candidate.label, flush=True)
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    found.report(proposal, values(proposal.candidate))
"""


def test_killed_processes_lose_the_step_in_hand_alone(tmp_path: Path) -> None:
    storage, here = tmp_path / "study.db", str(Path(__file__).parent)
    root = str(Path(__file__).parents[3])
    for run in range(2):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(storage), root, here],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert len(done.stdout.splitlines()) == 3
        assert len(study(storage).measured) == 2 * (run + 1)
    found = study(storage)
    assert len(exhaust(found)) == 2
    assert {c.key for c in found.measured} == {c.key for c in SMALL}


def test_two_jobs_share_a_database(tmp_path: Path) -> None:
    storage = tmp_path / "study.db"
    first = study(storage)
    proposal = first.next()
    assert proposal is not None
    first.report(proposal, values(proposal.candidate))
    other = CandidateStudy("other", SMALL, 2, 3, ["maximize"], f"sqlite:///{storage}")
    assert other.measured == []
    assert study(storage).measured == [proposal.candidate]


@pytest.mark.parametrize(
    ("options", "label"),
    [
        (RuntimeOptions("litert"), "1t"),
        (RuntimeOptions("onnxruntime", threads=4, spinning=True), "4t-spin"),
        (RuntimeOptions("litert", "builtin"), "1t builtin"),
        (RuntimeOptions("onnxruntime", graph_optimisation="basic"), "1t basic"),
    ],
)
def test_options_in_few_words(options: RuntimeOptions, label: str) -> None:
    assert options_label(options) == label


def test_labels_name_what_differs() -> None:
    wanted: Sequence[str] = ["a 1t", "b 1t", "c 1t", "a w8a8 1t", "b w8a8 1t"]
    assert [candidate.label for candidate in SPACE[:5]] == list(wanted)
