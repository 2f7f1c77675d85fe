"""Are wrong set-ups noticed, and right ones that look odd left alone?

Networks and images of the data pack, right as they should be fed and read, are made wrong in one
way each (colours, scale, std of the other scale, class orders, background, labels, a constant
network, geometry, folders of splits, images in two splits, a missing class, members with two
orders), and right ones are made to look odd (few images, noise, grey, blur, wrong labels, rare
and absent classes, another resize, networks whose outputs or channels stand otherwise). Each is
checked as `trimtab check-setup` does it, after what a job says of its images. `noticed` is the
share of wrong ones with a finding, a refusal or a notice that names the cause, `cause_first` the
share whose first cause is the right one, `false_alarms` the number of right ones that a job would
stop at, `seconds` a check of three EfficientNet-Lite0 (the `demo` extra) on this machine's cores;
measure it when nothing else runs: `python -m benchmarks.setup_matrix --no-matrix`. `--held-out`
takes networks that no threshold was chosen on. `--rows FILE` keeps each case's row as a line of
JSON as soon as it is known: a run that was ended goes on after them. Prints a line a case, and one
JSON object as its last line.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks._options import DEFAULT_DATA, DataFolder
from benchmarks.setup_cases import SAID, Case, right, wrong
from benchmarks.setup_pack import Pack, held_out, looked_at
from benchmarks.zoo import lite_members
from trimtab.planner.jobs.dataset import load_dataset, unseen_classes
from trimtab.planner.setup_check.records import SetupCheck
from trimtab.planner.setup_check.specified import check_specification
from trimtab.planner.setup_check.words import findings
from trimtab.planner.specification.job import load_spec
from trimtab_runtime.errors import TrimtabError


@dataclass(frozen=True)
class Outcome:
    """What was told of a case: whether a job would stop, the first cause of a set-up ('' for
    none), and all in words."""

    stops: bool
    first: str
    text: str

    def notices(self, cause: str) -> bool:
        return bool(self.first) or self.names(cause)

    def names(self, cause: str) -> bool:
        """Whether `cause` is what is told first."""
        said = SAID.get(cause)
        if said is None:
            return self.first == cause
        return not self.first and re.search(said, self.text, re.DOTALL) is not None


class Rows:
    """What was told of the cases, kept in a file of JSON lines where there is one."""

    def __init__(self, file: Path | None, held: bool) -> None:
        self._file, self._set = file, "held out" if held else "looked at"
        self._known = dict[str, Outcome]()
        if file is not None and file.exists():
            for row in map(json.loads, file.read_text().splitlines()):
                if row["networks"] == self._set:
                    self._known[row["case"]] = Outcome(**row["outcome"])

    def outcome(self, case: Case) -> Outcome:
        if case.name not in self._known:
            found = self._known[case.name] = _outcome(case.spec())
            if self._file is not None:
                row = {"networks": self._set, "case": case.name, "outcome": asdict(found)}
                with self._file.open("a") as stream:
                    stream.write(json.dumps(row) + "\n")
        return self._known[case.name]


def _outcome(spec: dict[str, Any]) -> Outcome:
    try:
        job = load_spec(spec)
        workload, splits = load_dataset(job)
        check = check_specification(job)
    except TrimtabError as error:
        return Outcome(True, "", str(error))
    told = [*workload.notices, unseen_classes(workload, splits) or "", *findings(check)]
    return Outcome(check.stops, _first_cause(check), "; ".join(filter(None, told)))


def _first_cause(check: SetupCheck) -> str:
    """Of the first member with a finding."""
    for member in check.members:
        if member.beaten:
            return next(iter(member.rivals[0].changes))
        if member.always is not None:
            return "always"
        if member.near_chance:
            return "near chance"
    return ""


def _seconds(pack: Pack) -> float:
    """A check of three EfficientNet-Lite0; exporting them does not count."""
    from trimtab.planner.setup_check.images import check_labels, checked_images
    from trimtab.planner.setup_check.isolated import check_in_subprocess
    from trimtab.planner.setup_check.records import CheckedMember, CheckRequest
    from trimtab.variants import export_module, inspect_model, make_variant
    from trimtab.workloads import read_workload, split_workload

    member = lite_members()[0]
    path, torch = pack.work / "lite0.onnx", member["torch"]
    folder = Path(torch["folder"])
    size = member["input"]["size"]
    export_module(torch["entry"], torch["arguments"], None, size, path, folder=folder)
    facts = inspect_model(path)
    variant = make_variant(path, facts, member["input"], {}, "lite0")
    workload = read_workload(pack.imagenet)
    items = checked_images(workload, split_workload(workload, 0.25, 0.375, 0.375))
    same = CheckedMember("lite0", str(path), variant, facts.output_width or 0)
    paths = tuple(str(item.path) for item in items)
    request = CheckRequest((same,) * 3, paths, check_labels(items), workload.classes)
    began = time.perf_counter()
    check_in_subprocess(request)
    return time.perf_counter() - began


def main(
    data: DataFolder = DEFAULT_DATA,
    limit: Annotated[int | None, typer.Option(help="Only so many cases of each kind.")] = None,
    only: Annotated[str, typer.Option(help="Only cases with this in their name.")] = "",
    held: Annotated[bool, typer.Option("--held-out", help="Networks kept aside.")] = False,
    matrix: Annotated[bool, typer.Option(help="The cases.")] = True,
    seconds: Annotated[bool, typer.Option(help="Time three Lite0; needs the demo extra.")] = True,
    rows: Annotated[Path | None, typer.Option(help="Cases known and to come.")] = None,
) -> None:
    with tempfile.TemporaryDirectory(prefix="trimtab-setups-") as folder:
        pack = Pack(data, Path(folder), held_out(data) if held else looked_at(data))
        found: dict[str, Any] = {"held_out": held}
        if matrix:
            known = Rows(rows, held)
            found |= _wrong([c for c in wrong(pack) if only in c.name][:limit], known)
            found |= _right([c for c in right(pack) if only in c.name][:limit], known)
        found["seconds"] = _seconds(pack) if seconds else None
    print(json.dumps(found))


def _wrong(cases: Sequence[Case], known: Rows) -> dict[str, Any]:
    noticed, first, missed = list[bool](), list[bool](), list[str]()
    for case in cases:
        outcome = known.outcome(case)
        noticed.append(outcome.notices(case.cause))
        first.append(outcome.names(case.cause))
        missed += [] if first[-1] else [case.name]
        verdict = "named" if first[-1] else "noticed" if noticed[-1] else "NOT NOTICED"
        told = f"{outcome.first}; {outcome.text}"
        print(f"{case.name}: {verdict} ({case.cause}) {told}", flush=True)
    return {
        "wrong": len(noticed),
        "noticed": float(np.mean(noticed)) if noticed else None,
        "cause_first": float(np.mean(first)) if first else None,
        "not_first": missed,
    }


def _right(cases: Sequence[Case], known: Rows) -> dict[str, Any]:
    alarms = []
    for case in cases:
        outcome = known.outcome(case)
        alarms += [case.name] if outcome.stops else []
        verdict = "ALARM" if outcome.stops else "told" if outcome.text else "left alone"
        print(f"{case.name}: {verdict} {outcome.first} {outcome.text}", flush=True)
    return {"right": len(cases), "false_alarms": len(alarms), "alarmed": alarms}


if __name__ == "__main__":
    typer.run(main)
