"""The loop in which weights are learned: seeded, stopped early, best weights kept.

Importing this imports torch: import it inside functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from trimtab.variants.files import watchdog
from trimtab.variants.files.base import first_line
from trimtab_runtime.errors import ModelError

Progress = Callable[[int, int, float], None]
"""Called after every epoch with its number (from 1), the most there may be, and the error."""

_DIVERGED = 100.0  # times the error before (or 1) at which learning is given up


@dataclass
class State:
    """Where learning stands after `epoch` epochs.

    Errors are what `evaluate` gave. `best` are the parameters that gave `best_error`, `present`
    those of now, and `optimiser` is Adam's memory by the parameters' numbers; the two are set for
    `keep` alone.
    """

    error_before: float
    best_error: float
    best: dict[str, torch.Tensor]
    best_epoch: int = 0
    epoch: int = 0
    present: dict[str, torch.Tensor] = field(default_factory=dict)
    optimiser: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What is learned.

    `groups` maps parameters to a factor on the learning rate; `batches` gives the `steps` losses
    of an epoch (from 0), each a scalar with a gradient; `evaluate` the error on what is held out.
    """

    module: torch.nn.Module
    groups: Sequence[tuple[Sequence[torch.nn.Parameter], float]]
    steps: int
    losses: Callable[[int], Iterable[torch.Tensor]]
    evaluate: Callable[[], float]


@dataclass(frozen=True)
class Schedule:
    """Adam, its rate a half cosine from `learning_rate` to a thousandth of it over `epochs`; stops
    after `patience` epochs without a smaller error."""

    epochs: int
    learning_rate: float
    patience: int

    def rate(self, share: float) -> float:
        """The learning rate at a share 0..1 of all epochs."""
        return self.learning_rate * max(1e-3, 0.5 * (1 + math.cos(math.pi * share)))


def train(
    task: Task,
    schedule: Schedule,
    progress: Progress | None = None,
    state: State | None = None,
    keep: Callable[[State], None] | None = None,
    enough: Callable[[], bool] | None = None,
) -> State:
    """Learn a module's weights; it ends with the best ones seen, those it came with included.
    After every epoch `enough` may end it.

    `keep` is called with the state after every epoch; given such a `state`, learning goes on from
    there as if it had not been stopped. Raises ModelError when it gives NaN or diverges.
    """
    optimiser = torch.optim.Adam([{"params": list(params)} for params, _ in task.groups])
    if state is None:
        error = task.evaluate()
        _check(error, 0, 1.0, schedule)
        state = State(error, error, weights_of(task.module))
    else:
        set_weights(task.module, state.present)
        remembered = {"state": state.optimiser}
        optimiser.load_state_dict({**optimiser.state_dict(), **remembered})
    while state.epoch < min(schedule.epochs, state.best_epoch + schedule.patience):
        _epoch(task, state.epoch, optimiser, schedule)
        error = task.evaluate()
        state.epoch += 1
        _check(error, state.epoch, max(1.0, state.error_before), schedule)
        if error < state.best_error:
            state.best_error, state.best_epoch = error, state.epoch
            state.best = weights_of(task.module)
        if keep is not None:
            state.present = weights_of(task.module)
            state.optimiser = optimiser.state_dict()["state"]
            keep(state)
        if progress is not None:
            progress(state.epoch, schedule.epochs, error)
        if enough is not None and enough():
            break
    set_weights(task.module, state.best)
    return state


def _epoch(task: Task, epoch: int, optimiser: torch.optim.Optimizer, schedule: Schedule) -> None:
    task.module.train()
    for step, loss in enumerate(task.losses(epoch)):
        watchdog.step()
        rate = schedule.rate((epoch + step / task.steps) / schedule.epochs)
        for group, (_, factor) in zip(optimiser.param_groups, task.groups, strict=True):
            group["lr"] = rate * factor
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _check(error: float, epoch: int, before: float, schedule: Schedule) -> None:
    if not math.isfinite(error):
        where = f"learning gave NaN at epoch {epoch}" if epoch else "a block gives NaN"
        raise ModelError(f"{where}; lower the learning rate ({schedule.learning_rate:g})")
    if epoch and error > _DIVERGED * before:
        raise ModelError(
            f"learning diverges: an error of {error:.3g} at epoch {epoch}; lower the learning "
            f"rate ({schedule.learning_rate:g})"
        )


def learned_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All that learning changes: parameters, and statistics of normalisation."""
    found = module.state_dict()
    return {name: value for name, value in found.items() if value.is_floating_point()}


def weights_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all that learning changes."""
    return {name: value.clone() for name, value in learned_tensors(module).items()}


def set_weights(module: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give all that learning changes these values."""
    with torch.no_grad():
        for name, tensor in learned_tensors(module).items():
            tensor.copy_(weights[name])


@contextmanager
def memory_said(remedy: str) -> Iterator[None]:
    """Turns running out of memory into a ModelError that names the remedy."""
    try:
        yield
    except MemoryError as error:
        raise ModelError(f"learning ran out of memory; {remedy}") from error
    except RuntimeError as error:  # what torch's allocator raises
        if "memory" not in str(error):
            raise
        raise ModelError(f"learning ran out of memory ({first_line(error)}); {remedy}") from error
