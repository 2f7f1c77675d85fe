"""The check in a process of its own: a model may crash its engine, or take all time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from trimtab.planner.setup_check.judgement import check_member, joined, specified_text
from trimtab.planner.setup_check.orders import Ints
from trimtab.planner.setup_check.records import CheckRequest, MemberCheck, SetupCheck
from trimtab.variants.isolation import child
from trimtab_runtime.codec import decode, encode
from trimtab_runtime.errors import ModelError, TrimtabError, told_error
from trimtab_runtime.fingerprint import thread_limit
from trimtab_runtime.processes import AwakeClock, end_group

_COMMAND = "from trimtab.planner.setup_check.isolated import main; main()"
#: Loading models and decoding images take time that members are not given.
_SLACK = 5.0
#: How faulthandler's report of a process begins that it ended.
_STALLED = "Timeout ("
_GLANCE_S = 1.0
#: Members that are tried at once, for each core: one reads images while another computes.
_SIDE_BY_SIDE = 2


def check_in_subprocess(
    request: CheckRequest, waiting: Callable[[], None] | None = None
) -> SetupCheck:
    """:func:`check_members`, each member in a fresh process, some side by side; `waiting` is
    called about once a second meanwhile. A member that cannot be tried, never answers or dies has
    its `problem`."""
    cores = thread_limit()
    side_by_side = min(len(request.members), _SIDE_BY_SIDE * cores)
    alone = replace(request, threads=max(1, min(request.threads, cores // side_by_side)))
    stopped = threading.Event()
    with ThreadPoolExecutor(side_by_side) as pool:
        try:
            running = [
                pool.submit(_tried, replace(alone, members=(member,)), stopped)
                for member in request.members
            ]
            while wait(running, timeout=_GLANCE_S).not_done:
                if waiting is not None:
                    waiting()
        finally:
            stopped.set()
    return joined([future.result() for future in running], request.labels is not None)


def _tried(request: CheckRequest, stopped: threading.Event) -> tuple[MemberCheck, Ints]:
    (member,) = request.members
    try:
        return _check_alone(request, stopped)
    except TrimtabError as error:
        check = MemberCheck(member.name, specified_text(member.variant), 0, problem=str(error))
        return check, np.zeros((1, 0), np.int64)


def _check_alone(request: CheckRequest, stopped: threading.Event) -> tuple[MemberCheck, Ints]:
    limit_s = _SLACK * request.patience_s + request.stall_s
    status, output, said = _run(json.dumps(encode(request)).encode(), limit_s, stopped)
    if status != 0 and _STALLED in said:
        raise ModelError(f"an inference gave no answer within {request.stall_s:g} s")
    if status != 0:
        raise ModelError(child.death("the process that tried set-ups", status, said))
    told = json.loads(output.splitlines()[-1])
    if "check" in told:
        return decode(MemberCheck, told["check"]), np.array(told["answers"], np.int64)
    raise told_error(told["error"], told["reason"], ModelError)


def _run(request: bytes, limit_s: float, stopped: threading.Event) -> tuple[int, str, str]:
    """The child's status, what it printed and what it complained. Raises ModelError."""
    clock = AwakeClock()
    with child.started(_COMMAND, stderr=subprocess.PIPE) as process:
        sent: bytes | None = request
        try:
            while clock() < limit_s and not stopped.is_set():
                with suppress(subprocess.TimeoutExpired):
                    output, said = process.communicate(sent, timeout=_GLANCE_S)
                    return process.returncode, output.decode(), said.decode(errors="replace")
                sent = None  # communicate takes it once, and keeps what it could not send yet
        finally:
            end_group(process)
    raise ModelError(f"the set-ups could not be tried within {limit_s:.0f} s")


def main() -> None:
    """Print {"check": ...} or {"error": its class, "reason": its text} as the last line."""
    child.serve(int(sys.argv[1]))
    request = decode(CheckRequest, json.load(sys.stdin))
    told: dict[str, Any]
    try:
        check, answers = check_member(request, 0)
        told = {"check": encode(check), "answers": answers.tolist()}
    except MemoryError:
        told = {"error": "ModelError", "reason": "too little memory to try set-ups"}
    except TrimtabError as error:
        told = {"error": type(error).__name__, "reason": str(error)}
    print(json.dumps(told))
