"""The description of a candidate for predictors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from trimtab.variants import SCHEMES, OperatorWork
from trimtab_runtime.definitions.plan import RuntimeOptions


@dataclass(frozen=True, eq=False)
class Work:
    """The operators of a file, summed up once."""

    operators: tuple[OperatorWork, ...] = ()

    def in_floats(self) -> Work:
        """The same of the float file that this one was quantised from."""
        return Work(tuple(replace(o, element_bytes=4, unsigned=False) for o in self.operators))

    def at(self, share: float) -> Work:
        """The same for images with a `share` of the pixels: nearly, as layers behind the pooling
        work as much as before."""
        return Work(
            tuple(
                replace(
                    o,
                    multiply_accumulates=round(share * o.multiply_accumulates),
                    read=round(share * o.read),
                    written=max(round(share * o.written), 1),
                )
                for o in self.operators
            )
        )

    @cached_property
    def in_bytes(self) -> bool:
        """Whether most of its multiplications are of bytes."""
        return self._mostly(o.element_bytes == 1 for o in self.operators)

    @cached_property
    def unsigned(self) -> bool:
        """Whether most of its multiplications are of bytes without a sign."""
        return self._mostly(o.unsigned for o in self.operators)

    def _mostly(self, which: Iterable[bool]) -> bool:
        work = [o.multiply_accumulates for o in self.operators]
        return 2 * sum(w for w, yes in zip(work, which, strict=True) if yes) > sum(work)

    @cached_property
    def amounts(self) -> Mapping[str, float]:
        """Multiply-accumulates by kind of operator; elements that such operators move (`moved`),
        hold (`weights`) and gather as patches (`patches`, of convolutions over all channels); what
        other operators move (`elementwise`); the `largest` number that one reads and writes;
        `operators`."""
        found: Counter[str] = Counter(operators=len(self.operators))
        for operator in self.operators:
            work, elements = operator.multiply_accumulates, operator.read + operator.written
            found["largest"] = max(found["largest"], elements)
            if not work:
                found["elementwise"] += elements
                continue
            found[operator.kind] += work
            found["moved"] += elements
            found["weights"] += operator.weights
            if operator.kind in ("conv", "pointwise") and operator.weights:
                # positions x kernel x channels read: work = patches x channels written
                found["patches"] += work**2 // (operator.weights * operator.written)
        return found


@dataclass(frozen=True)
class Description:
    """What is known of a candidate before it is built or measured.

    `member` names its model the same in every job. `steps` are what was made of it ('w8a8',
    'slim2', 'smaller0.26': without that share of the pixels), a number at the end saying how much.
    `work` is that of the nearest file that is known, which took all of these steps but
    quantisation and those that are `unseen`; an image of `pixels` (height x width) goes in.
    """

    member: str
    steps: tuple[str, ...]
    options: RuntimeOptions
    work: Work = field(repr=False)
    pixels: int = 0
    unseen: tuple[str, ...] = ()

    @property
    def amounts(self) -> dict[str, float]:
        """How far each step was taken, by its name."""
        return dict((step, 1.0) if step in SCHEMES else amount_of(step) for step in self.steps)

    @property
    def multiplies(self) -> tuple[str, ...]:
        """What it multiplies, where that is not floats: 'bytes', perhaps 'unsigned' ones."""
        for step in self.steps:
            if step in SCHEMES:
                return SCHEMES[step].multiplies
        return ("bytes",) * self.work.in_bytes + ("unsigned",) * self.work.unsigned


def pixel_step(size: tuple[int, int], own: tuple[int, int]) -> str:
    """The step of taking images of `size` instead of its `own` (height, width)."""
    share = size[0] * size[1] / (own[0] * own[1])
    return f"smaller{1 - share:.3f}" if share <= 1 else f"larger{share - 1:.3f}"


def amount_of(step: str) -> tuple[str, float]:
    """A step's name without the number at its end, and the number (1 where there is none)."""
    found = re.fullmatch(r"([a-z_]+)(\d+(?:\.\d+)?)", step)
    return (found[1], float(found[2])) if found else (step, 1.0)
