"""The check in other processes: a model may crash its engine, or take all time and memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.planner.setup_check.judgement import check_member, joined, specified_text
from trimtab.planner.setup_check.orders import Ints
from trimtab.planner.setup_check.records import CheckRequest, MemberCheck, SetupCheck
from trimtab.variants.isolation import Ask, Limits, call, memory_for
from trimtab_runtime.codec import decode, encode
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.fingerprint import thread_limit

_GLANCE_S = 1.0
#: Members that are tried at once, for each core: one reads images while another computes.
_SIDE_BY_SIDE = 2


def check_in_subprocess(
    request: CheckRequest, waiting: Callable[[], None] | None = None
) -> SetupCheck:
    """:func:`check_members`, each member in another process, some side by side; `waiting` is
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
    path = Path(member.path)

    def go_on() -> None:
        if stopped.is_set():
            raise CancelledError

    try:
        limits = Limits(request.stall_s, memory_for(path))
        told = call(_check, path.name, encode(request), limits, waiting=go_on)
    except TrimtabError as error:
        check = MemberCheck(member.name, specified_text(member.variant), 0, problem=str(error))
        return check, np.zeros((1, 0), np.int64)
    return decode(MemberCheck, told["check"]), np.array(told["answers"], np.int64)


def _check(request: Any, ask: Ask) -> Any:
    check, answers = check_member(decode(CheckRequest, request), 0)
    return {"check": encode(check), "answers": answers.tolist()}
