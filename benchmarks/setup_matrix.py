"""Are wrong set-ups noticed, and right ones that look odd left alone?

Networks and images of the data pack, right as they should be fed and read, are made wrong in one
way each (colours, scale, std of the other scale, class orders, background, labels, a constant
network), and right ones are made to look odd (few images, noise, grey, blur, wrong labels, rare
and absent classes, another resize, networks whose outputs or channels stand otherwise). Each is
checked as `trimtab check-setup` does it. `noticed` is the share of wrong ones with a finding,
`cause_first` the share whose first cause is the right one, `false_alarms` the number of right ones
that a job would stop at, `seconds` a check of three EfficientNet-Lite0 (the `demo` extra) on two
threads. Prints a line a case, and
one JSON object as its last line.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks._options import DEFAULT_DATA, DataFolder
from benchmarks.setup_cases import Pack, right, wrong
from benchmarks.zoo import lite_members
from trimtab.planner.setup_check.records import SetupCheck
from trimtab.planner.setup_check.specified import check_specification
from trimtab.planner.setup_check.words import findings
from trimtab.planner.specification.job import load_spec
from trimtab_runtime.errors import TrimtabError


def _outcome(spec: dict[str, Any]) -> tuple[bool, bool, str, str]:
    """Whether anything was told, whether a job would stop, the first cause, and all in words."""
    try:
        check = check_specification(load_spec(spec))
    except TrimtabError as error:
        return True, True, "refused", str(error)
    told = findings(check)
    return bool(told), check.stops, _first_cause(check), "; ".join(told)


def _first_cause(check: SetupCheck) -> str:
    (member,) = check.members
    if member.beaten:
        return next(iter(member.rivals[0].changes))
    if member.always is not None:
        return "always"
    return "near chance" if member.near_chance else ""


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
    seconds: Annotated[bool, typer.Option(help="Time three Lite0; needs the demo extra.")] = True,
) -> None:
    with tempfile.TemporaryDirectory(prefix="trimtab-setups-") as folder:
        pack = Pack(data, Path(folder))
        noticed, causes, alarms = list[bool](), list[bool](), list[str]()
        for case in [*wrong(pack)][:limit]:
            told, _, first, text = _outcome(case.spec)
            noticed.append(told)
            causes.append(first == case.cause)
            print(f"{case.name}: {first or 'not noticed'} ({case.cause}); {text}", flush=True)
        cases = [*right(pack)][:limit]
        for case in cases:
            _, stops, first, text = _outcome(case.spec)
            alarms += [case.name] if stops else []
            verdict = "ALARM" if stops else "told" if text else "left alone"
            print(f"{case.name}: {verdict} {first} {text}", flush=True)
        found = {
            "wrong": len(noticed),
            "noticed": float(np.mean(noticed)),
            "cause_first": float(np.mean(causes)),
            "right": len(cases),
            "false_alarms": len(alarms),
            "alarmed": alarms,
            "seconds": _seconds(pack) if seconds else None,
        }
    print(json.dumps(found))


if __name__ == "__main__":
    typer.run(main)
