"""The command line of a bundle: `python plan.pyz classify photo.jpg`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Optional

import numpy as np

from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.metrics import PERCENTILE_MIN_SAMPLES
from trimtab_runtime.plan import Plan
from trimtab_runtime.preprocess import decode_image


def main(bundle: str, arguments: Optional[list[str]] = None) -> int:
    """Run one command on `bundle`. Exit status: 0 done, 1 a problem was found, 2 wrong use."""
    options = _parser(bundle).parse_args(arguments)
    try:
        return int(options.run(Plan.load(bundle), options))
    except TrimtabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser(bundle: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python {bundle}", description="A Trimtab plan.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text, description=text)
        found.set_defaults(run=run)
        found.add_argument("--latency-ms", type=float, help="operating point for this budget")
        return found

    classify = command("classify", _classify, "say what images show")
    classify.add_argument("images", nargs="+")
    classify.add_argument("--json", action="store_true", help="one JSON object a line")
    command("stream", _stream, "read image paths from standard input, answer in JSON lines")
    bench = command("bench", _bench, "measure latency on this machine")
    bench.add_argument("images", nargs="*", help="default: the golden images of the bundle")
    bench.add_argument("--repeat", type=_positive, default=10)
    command("selftest", _selftest, "compare with the answers stored at export")
    command("info", _info, "what is inside, as JSON")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"1 or more needed, got {number}")
    return number


def _at_point(plan: Plan, options: argparse.Namespace) -> Plan:
    return plan if options.latency_ms is None else plan.use(latency_ms=options.latency_ms)


def _classify(plan: Plan, options: argparse.Namespace) -> int:
    _at_point(plan, options)
    failed = 0
    for path in options.images:
        try:
            answer = plan.classify(path)
        except TrimtabError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = 1
            continue
        if options.json:
            print(json.dumps({"image": path, **answer.plain()}))
        else:
            print(
                f"{path}: {answer.label} {answer.confidence:.3f} "
                f"(stage {answer.stage + 1}, {answer.latency_ms:.1f} ms)"
            )
    return failed


def _stream(plan: Plan, options: argparse.Namespace) -> int:
    options.json, failed = True, 0
    for line in sys.stdin:
        if line.strip():
            options.images = [line.strip()]
            failed |= _classify(plan, options)
            sys.stdout.flush()
    return failed


def _bench(plan: Plan, options: argparse.Namespace) -> int:
    _at_point(plan, options)
    images = [decode_image(path) for path in options.images] or plan.golden_images()
    for image in images:
        plan.classify(image)
    answers = [plan.classify(image) for _ in range(options.repeat) for image in images]
    samples = np.array([answer.latency_ms for answer in answers])
    found = {"samples": len(samples), "latency_mean_ms": round(float(samples.mean()), 4)}
    for percentile, needed in PERCENTILE_MIN_SAMPLES.items():
        if len(samples) >= needed:
            value = float(np.percentile(samples, percentile))
            found[f"latency_p{percentile}_ms"] = round(value, 4)
    stages = np.bincount([answer.stage for answer in answers])
    print(
        json.dumps({**found, "stage_share": [round(float(s), 4) for s in stages / len(answers)]})
    )
    return 0


def _selftest(plan: Plan, options: argparse.Namespace) -> int:
    problems = plan.selftest()
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print("selftest failed" if problems else "selftest passed")
    return 1 if problems else 0


def _info(plan: Plan, options: argparse.Namespace) -> int:
    print(json.dumps(_at_point(plan, options).info(), indent=2))
    return 0
