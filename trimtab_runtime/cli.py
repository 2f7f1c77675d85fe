"""The command line of a bundle: `python plan.pyz classify photo.jpg`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, Optional, Union

import numpy as np

from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.images.listing import named_images
from trimtab_runtime.images.preprocess import as_image
from trimtab_runtime.metrics import PERCENTILE_MIN_SAMPLES
from trimtab_runtime.plans.plan import Answer, Plan
from trimtab_runtime.text import printable, printable_line

#: Signals that ask a program to end; its exit status is then 128 and their number, as a shell's.
_ENDING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
_BY_SIGNAL = 128
_SAVED_EVERY_S = 60.0
#: Bytes of a line with the path of an image; a longer one is none.
_LONGEST_LINE = 2**16


class _WrongUse(Exception):
    """What was asked makes no sense for this plan."""


def main(bundle: str, arguments: Optional[list[str]] = None) -> int:
    """Run one command on `bundle`. Exit status: 0 done, 1 a problem was found, 2 wrong use."""
    options = _parser(bundle).parse_args(arguments)
    try:
        return int(options.run(Plan.load(bundle), options))
    except (TrimtabError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except _WrongUse as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2


def _parser(bundle: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python {bundle}", description="An image classifier, packed by Trimtab."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text, description=text)
        found.set_defaults(run=run)
        return found

    def command_at_point(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        found = command(name, run, text)
        found.add_argument(
            "--latency-ms",
            type=float,
            help="use the best operating point predicted to take at most this mean latency",
        )
        found.add_argument(
            "--latency-p95-ms", type=float, help="the same for the 95th percentile of latency"
        )
        return found

    keeping = "start from the memory saved in FILE, if it exists, and save it there at the end"
    classify = command_at_point("classify", _classify, "classify images, each on its own")
    classify.add_argument(
        "images", nargs="+", help="files, folders, patterns, or - for one image on standard input"
    )
    classify.add_argument("--json", action="store_true", help="print one JSON object per image")
    classify.add_argument(
        "--memory", metavar="FILE", help=f"treat the images as a stream: {keeping}"
    )
    stream = command_at_point(
        "stream", _stream, "read image paths from standard input, write answers as JSON lines"
    )
    stream.add_argument("--memory", metavar="FILE", help=keeping)
    stream.add_argument(
        "--save-every",
        metavar="SECONDS",
        type=_not_negative,
        default=_SAVED_EVERY_S,
        help="save the memory as often meanwhile (0: after every image; default %(default)g)",
    )
    stream.add_argument(
        "--budget-ms",
        type=_above_zero,
        help="hold this mean latency while the load changes, by switching operating points",
    )
    bench = command_at_point("bench", _bench, "measure latency on this machine")
    bench.add_argument("images", nargs="*", help="default: the golden images of the bundle")
    bench.add_argument("--repeat", type=_positive, default=10)
    command(
        "selftest",
        _selftest,
        "check outputs against those stored at export, at the plan's own operating point",
    )
    command_at_point("info", _info, "print the contents of the bundle as JSON")
    memory = command("memory", _memory, "print the contents of a saved memory as JSON")
    memory.add_argument("file")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {number}")
    return number


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be greater than 0, got {number}")
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0.0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be 0 or more, got {number}")
    return number


def _at_point(plan: Plan, options: argparse.Namespace) -> Plan:
    limits = {}
    if options.latency_p95_ms is not None:
        limits["latency_p95_ms"] = options.latency_p95_ms
    if options.latency_ms is None and not limits:
        return plan
    return plan.use(None, options.latency_ms, **limits)


def _classify(plan: Plan, options: argparse.Namespace) -> int:
    _at_point(plan, options)
    _restore(plan, options.memory)
    failed = 0
    for name, image in named_images(options.images):
        if plan.memory is not None and options.memory is None:
            plan.memory.reset()
        failed |= _answer(plan, image, name, options.json)
    _save(plan, options.memory)
    return failed


def _answer(plan: Plan, image: Union[str, bytes], name: str, as_json: bool) -> int:
    """Print the answer to one image, or why there is none; 1 then."""
    try:
        answer = plan.classify(image)
    except TrimtabError as error:
        return _no_answer(name, str(error), as_json)
    if as_json:
        held = {} if plan.tracking is None else {"tracking": vars(plan.tracking)}
        print(json.dumps({"image": name, **answer.plain(), **held}))
    else:
        print(
            f"{printable_line(name)}: {printable_line(answer.label)} {answer.confidence:.3f} "
            f"({_where(answer)}, {answer.latency_ms:.1f} ms)"
        )
    return 0


def _no_answer(name: str, reason: str, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"image": name, "error": reason}))
    else:
        print(f"error: {printable(reason)}", file=sys.stderr)
    return 1


def _where(answer: Answer) -> str:
    if answer.by == "network":
        entered = f", entered at {answer.entry + 1}" if answer.entry else ""
        return f"stage {answer.stage + 1}{entered}"
    at = "" if answer.tap is None else f" at tap {answer.tap + 1}"
    return f"{answer.by}{at}"


def _restore(plan: Plan, file: Optional[str]) -> None:
    if file is None:
        return
    if plan.memory is None:
        raise _WrongUse("--memory: this plan has no memory")
    if os.path.exists(file):
        plan.memory.restore(file)


def _save(plan: Plan, file: Optional[str]) -> None:
    if file is not None and plan.memory is not None:
        plan.memory.save(file)


class _Ending:
    """Ctrl-C, SIGTERM and a terminal that closes end the program while it waits, but not in the
    middle of an image: that would leave the memory half learned. `signal` is which, 0 as long as
    none came. Within it, signals are heeded."""

    def __init__(self) -> None:
        self.waiting, self.signal = True, 0

    def __call__(self, number: int, frame: Any) -> None:
        self.signal = number
        if self.waiting:
            raise KeyboardInterrupt

    def __enter__(self) -> _Ending:
        # What is ignored (nohup, jobs in the background) stays so.
        heeded = [number for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self) for number in heeded}
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _stream(plan: Plan, options: argparse.Namespace) -> int:
    if options.budget_ms is None:
        _at_point(plan, options)
    elif options.latency_ms is None and options.latency_p95_ms is None:
        plan.track(options.budget_ms)
    else:
        raise _WrongUse("--budget-ms selects the operating point itself: omit the other limits")
    _restore(plan, options.memory)
    failed, saved_at = 0, time.monotonic()
    with _Ending() as ending:
        try:
            for line in _lines(sys.stdin.buffer):
                ending.waiting = False
                if line.strip():
                    failed |= _answer_line(plan, line)
                    sys.stdout.flush()
                if ending.signal:
                    break
                if time.monotonic() - saved_at >= options.save_every:
                    _save(plan, options.memory)
                    saved_at = time.monotonic()
                ending.waiting = True
        except KeyboardInterrupt:
            pass
        finally:
            ending.waiting = False
            _save(plan, options.memory)
    return _BY_SIGNAL + ending.signal if ending.signal else failed


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Each line, of a longer one the first bytes."""
    while True:
        line = rest = stream.readline(_LONGEST_LINE)
        if not line:
            return
        while len(rest) == _LONGEST_LINE and not rest.endswith(b"\n"):
            rest = stream.readline(_LONGEST_LINE)
        yield line


def _answer_line(plan: Plan, line: bytes) -> int:
    path = os.fsdecode(line.strip())
    shown = path.encode(errors="replace").decode()  # a name need not be text
    if len(line) == _LONGEST_LINE:
        return _no_answer(shown[:80], f"a line of more than {_LONGEST_LINE} bytes", True)
    return _answer(plan, path, shown, True)


def _bench(plan: Plan, options: argparse.Namespace) -> int:
    _at_point(plan, options)
    images = [as_image(image) for _, image in named_images(options.images)]
    images = images or plan.golden_images()
    for image in images:
        plan.rehearse(image)
    answers: list[Answer] = []
    for _ in range(options.repeat):
        if plan.memory is not None:
            plan.memory.reset()
        answers += [plan.classify(image) for image in images]
    samples = np.array([answer.latency_ms for answer in answers])
    found: dict[str, Any] = {
        "samples": len(samples),
        "latency_mean_ms": round(float(samples.mean()), 4),
    }
    for percentile, needed in PERCENTILE_MIN_SAMPLES.items():
        if len(samples) >= needed:
            value = float(np.percentile(samples, percentile))
            found[f"latency_p{percentile}_ms"] = round(value, 4)
    found["stage_share"] = _shares([answer.stage for answer in answers])
    if plan.manifest.structure.router is not None:
        found["entry_share"] = _shares([answer.entry for answer in answers])
    if plan.memory is not None:
        by = Counter(answer.by for answer in answers)
        found["by_share"] = {name: round(count / len(answers), 4) for name, count in by.items()}
        alone = []
        for image in images:
            plan.memory.reset()
            alone += [plan.rehearse(image).latency_ms for _ in range(options.repeat)]
        found["without_memory_mean_ms"] = round(float(np.mean(alone)), 4)
    print(json.dumps(found))
    return 0


def _shares(stages: list[int]) -> list[float]:
    """How often each stage occurs, up to the last that does."""
    return [round(float(share), 4) for share in np.bincount(stages) / len(stages)]


def _selftest(plan: Plan, options: argparse.Namespace) -> int:
    problems = plan.selftest()
    for problem in problems:
        print(f"error: {printable(problem)}", file=sys.stderr)
    print("selftest failed" if problems else "selftest passed")
    return 1 if problems else 0


def _info(plan: Plan, options: argparse.Namespace) -> int:
    print(json.dumps(_at_point(plan, options).info(), indent=2))
    return 0


def _memory(plan: Plan, options: argparse.Namespace) -> int:
    if plan.memory is None:
        raise _WrongUse("memory: this plan has no memory")
    plan.memory.restore(options.file)
    print(json.dumps(plan.memory.summary(), indent=2))
    return 0
