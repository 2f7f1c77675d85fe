"""A bundle in a process of its own that waits, and answers a block of images when it is told to.

    python -m trimtab_runtime.probe.resident

Commands are lines of JSON on standard input, answers lines of JSON on standard output; nothing
runs between an answer and the next command. The process ends when standard input does.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.images.preprocess import decode_image
from trimtab_runtime.plans.loop import ANSWERED_BY
from trimtab_runtime.plans.plan import Answer, Plan
from trimtab_runtime.probe.clock import pin, settle

#: Inferences before a block that are not counted: the block before was another bundle's.
_REHEARSALS = 4
#: Memories that are kept for blocks that are asked for once more.
_KEPT = 4
#: Inferences before the first block.
_FIRST_REHEARSALS = 12


class Resident:
    """A loaded bundle with the `images` that it may be asked for; parts of the stream begin at
    `starts`."""

    def __init__(self, bundle: str, images: Sequence[str], starts: Sequence[int]) -> None:
        self._plan = Plan.load(bundle)
        options = [stage.options for stage in self._plan.manifest.structure.stages]
        pin(max(found.threads for found in options))
        self._options = max(options, key=lambda found: (found.spinning, found.threads))
        self._images, self._starts = images, frozenset(starts)
        self._memories: dict[int, Any] = {}  # what is remembered before an image, by its number

    @property
    def remembers(self) -> bool:
        """Whether a new process must see the stream again from its beginning."""
        return self._plan.memory is not None

    def image_ms(self) -> float:
        """Milliseconds of an inference, once it is warm."""
        first = decode_image(self._images[0])
        times = [self._plan.rehearse(first).latency_ms for _ in range(_FIRST_REHEARSALS)]
        settle(self._options)
        return sorted(times)[len(times) // 2]

    def run(self, blocks: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """Answers to the images from the first of each block up to its end, one after the other,
        with the processor seconds that all of it took."""
        begun = time.process_time()
        answers: list[Answer] = []
        for first, end in blocks:
            self._recall_before(first)
            images = [decode_image(path) for path in self._images[first:end]]
            for _ in range(_REHEARSALS):
                self._plan.rehearse(images[0])
            answers += [self._plan.classify(image) for image in images]
            self._remember_before(end)
        settle(self._options)
        return {
            "latency_ms": [answer.latency_ms for answer in answers],
            "index": [answer.index for answer in answers],
            "entry": [answer.entry for answer in answers],
            "stage": [answer.stage for answer in answers],
            "tap": [-1 if answer.tap is None else answer.tap for answer in answers],
            "by": [ANSWERED_BY.index(answer.by) for answer in answers],
            "cpu_s": time.process_time() - begun,
        }

    def _remember_before(self, number: int) -> None:
        if self._plan.memory is not None and number not in self._starts:
            self._memories[number] = self._plan.memory.snapshot()
            while len(self._memories) > _KEPT:
                del self._memories[next(iter(self._memories))]

    def _recall_before(self, number: int) -> None:
        """Remember what was seen of the part before this image, and nothing else: a process that
        is new, or that is asked for a block once more, goes there first."""
        memory = self._plan.memory
        if memory is None:
            return
        known = [n for n in (*self._starts, *self._memories) if n <= number]
        last = max(known)
        if last in self._memories:
            memory.put_back(self._memories[last])
        else:
            memory.reset()
        for path in self._images[last:number]:
            self._plan.classify(decode_image(path))
        self._remember_before(number)


def _answers(commands: queue.SimpleQueue[str]) -> Any:
    """An answer to each command: the first names the bundle, all others blocks."""
    told = json.loads(commands.get())
    resident = Resident(told["bundle"], told["images"], told["starts"])
    yield {"image_ms": resident.image_ms(), "remembers": resident.remembers}
    while True:
        yield resident.run(json.loads(commands.get()))


def _read(commands: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:  # blocks, so that it costs what is measured nothing
        commands.put(line)
    os._exit(3)


def main() -> None:
    """Serve until standard input ends. What a library prints goes to standard error."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    commands: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(commands,), daemon=True).start()
    try:
        for answer in _answers(commands):
            print(json.dumps(answer), file=told, flush=True)
    except (TrimtabError, MemoryError) as error:
        failure = {"error": type(error).__name__, "reason": str(error)}
        print(json.dumps(failure), file=told, flush=True)


if __name__ == "__main__":
    main()
