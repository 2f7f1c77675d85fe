"""A step over a model with all that it reads, and who carries it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trimtab.variants.isolation import Limits, call
from trimtab.variants.isolation.workers import Task
from trimtab_runtime.errors import TrimtabError


@dataclass(frozen=True)
class Work:
    """A step that can be done elsewhere: `task` and its `request` as :func:`call` takes them.

    It reads the files `inputs` (in groups: what several steps read is sent to a machine once), and
    writes into `folder`, whose files come back under the same names. Where the request names one
    of them, it does so by the very path that stands here: on another machine it is replaced.
    `cpus` is the number of threads that it computes with, `about` how errors name it.
    """

    task: Task
    about: str
    request: Any
    inputs: tuple[tuple[Path, ...], ...]
    folder: Path
    limits: Limits = field(default_factory=Limits)
    cpus: int = 1


#: What came of a step: its answer, or why there is none.
Outcome = Any | TrimtabError


class Executor(Protocol):
    """Carries out steps. The same steps give the same answers and files on all of them."""

    #: What is said of where steps run; None where that is this machine.
    place: str | None

    def run(
        self,
        works: Sequence[Work],
        waiting: Callable[[], None] | None = None,
        enough: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, Outcome]]:
        """The number of each step and what came of it, as they end; files lie in its folder then.

        `waiting` is called about once a second, and may raise: what runs is ended. No step is
        begun once there is `enough`.
        """


class Here:
    """One step after another, each in another process of this machine."""

    place: str | None = None

    def run(
        self,
        works: Sequence[Work],
        waiting: Callable[[], None] | None = None,
        enough: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, Outcome]]:
        """See :class:`Executor`."""
        for number, work in enumerate(works):
            if enough():
                return
            yield number, self._outcome(work, waiting)

    def _outcome(self, work: Work, waiting: Callable[[], None] | None) -> Outcome:
        try:
            return call(
                work.task,
                work.about,
                work.request,
                work.limits,
                answering=lambda asked: None,
                waiting=waiting,
            )
        except TrimtabError as error:
            return error
