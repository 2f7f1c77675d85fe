"""Showing a job while it runs: live on a terminal, line by line elsewhere."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
)
from rich.text import Text

from trimtab.db import Level
from trimtab.planner.jobs.progress import Pace, time_text
from trimtab.planner.reports.text import printable

_DOING = {
    "images": "looking at images:",
    "members": "reading models",
    "setup": "checking the set-up:",
    "build": "making",
    "measure": "measuring",
    "trace": "tracing",
    "search": "searching:",
    "verify": "verifying",
    "turns": "verifying in turns:",
    "send": "sending",
}
_STYLES: dict[Level, str] = {"info": "dim", "warning": "yellow", "error": "red"}


def watcher(console: Console) -> LiveWatcher | LineWatcher:
    """The one that suits the console; use it as a context manager."""
    return LiveWatcher(console) if console.is_terminal else LineWatcher(console)


def _parts(name: str) -> tuple[str, str]:
    """A step, and its device in a job that has several."""
    step, _, device = name.partition(" on ")
    return step, device


def _like(step: str, name: str) -> str:
    """The name that another `step` of the same device has."""
    _, device = _parts(name)
    return f"{step} on {device}" if device else step


class LineWatcher:
    """A line for each change of step or subject, and for each note."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: dict[str, tuple[str, str]] = {}
        self._paces: dict[str, Pace] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def step(self, name: str, detail: str, done: float, total: float) -> None:
        pace = self._paces.setdefault(name, Pace(done))
        pace.update(done)
        step, device = _parts(name)
        if self._last.get(device) == (step, detail) or not detail:
            return
        self._last[device] = (step, detail)
        line = f"{_DOING.get(step, step)} {detail}"
        if device:
            line = f"{device}: {line}"
        name = step
        if name == "measure":
            left = pace.left_s(total)
            about = "" if left is None else f", about {time_text(left)} left"
            line += f" ({done / total:.0%} of the budget{about})"
        elif name == "images":
            line += f" ({total:.0f} in all)"
        elif name not in ("search", "send"):
            line += (
                f" ({total:.0f} images)" if name == "trace" else f" ({done + 1:.0f}/{total:.0f})"
            )
        self._print(line)

    def note(self, level: Level, subject: str, text: str) -> None:
        self._print(note_line(level, subject, text))

    def _print(self, line: str) -> None:
        self._console.print(printable(line), soft_wrap=True)


def note_line(level: Level, subject: str, text: str) -> str:
    """A note as one line."""
    begin = "" if level == "info" else f"{level}: "
    return printable(f"{begin}{subject}: {text}" if subject else f"{begin}{text}")


class JsonWatcher(LineWatcher):
    """A line of JSON for each change of step or subject, once a second within one, and for each
    note."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._at = 0.0

    def step(self, name: str, detail: str, done: float, total: float) -> None:
        step, device = _parts(name)
        pace = self._paces.setdefault(name, Pace(done))
        pace.update(done)
        now = time.monotonic()
        if self._last.get(device) == (step, detail) and now - self._at < 1.0:
            return
        self._last[device], self._at = (step, detail), now
        told = {"event": "step", "step": step, "detail": detail, "done": done, "total": total}
        told |= {"device": device} if device else {}
        left = pace.left_s(total)
        self._print(json.dumps(told | ({} if left is None else {"left_s": round(left, 1)})))

    def note(self, level: Level, subject: str, text: str) -> None:
        told = {"event": "note", "level": level, "subject": subject, "text": text}
        self._print(json.dumps(told))


class QuietWatcher(LineWatcher):
    """Errors alone."""

    def step(self, name: str, detail: str, done: float, total: float) -> None: ...

    def note(self, level: Level, subject: str, text: str) -> None:
        if level == "error":
            super().note(level, subject, text)


class LiveWatcher:
    """A bar for each step with its share and the time left; notes scroll by above."""

    def __init__(self, console: Console) -> None:
        self._paces: dict[TaskID, Pace] = {}
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            _TimeLeft(self._paces),
            TextColumn("{task.fields[detail]}", markup=False, style="dim"),
            console=console,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            for task in self._progress.tasks:
                self._progress.update(task.id, completed=task.total, detail="")
        self._progress.stop()

    def step(self, name: str, detail: str, done: float, total: float) -> None:
        detail = printable(detail)
        if name not in self._tasks:
            self._finish_before(name)
            step, device = _parts(name)
            doing = _DOING.get(step, step)
            doing = printable(f"{device}: {doing}" if device else doing)
            self._tasks[name] = self._progress.add_task(doing, total=total, detail=detail)
            self._paces[self._tasks[name]] = Pace(done)
        task = self._tasks[name]
        self._paces[task].update(done)
        self._progress.update(task, completed=done, total=total, detail=detail)
        traced = _like("trace", name)
        if traced in self._tasks:  # part of a measurement: seen only while it goes on
            tracing = name == traced and done < total
            self._progress.update(self._tasks[traced], visible=tracing)

    def _finish_before(self, name: str) -> None:
        """A step that begins ends those before it on its device; tracing happens within
        measuring."""
        step, device = _parts(name)
        if step == "trace":
            return
        for before, task in self._tasks.items():
            if _parts(before)[1] == device:
                total = self._progress.tasks[self._progress.task_ids.index(task)].total
                self._progress.update(task, completed=total, detail="")

    def note(self, level: Level, subject: str, text: str) -> None:
        line = Text(note_line(level, subject, text), style=_STYLES[level])
        self._progress.console.print(line, soft_wrap=True)


class _TimeLeft(ProgressColumn):
    """The time left, by the pace of the step."""

    def __init__(self, paces: dict[TaskID, Pace]) -> None:
        super().__init__()
        self._paces = paces

    def render(self, task: Task) -> Text:
        pace = self._paces.get(task.id)
        if task.finished or pace is None or task.total is None:
            return Text("")
        left = pace.left_s(task.total)
        return Text("" if left is None else f"{time_text(left)} left", style="cyan")
