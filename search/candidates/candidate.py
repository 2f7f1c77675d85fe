"""A candidate: a member, the form of its variant, and runtime options."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from trimtab.variants import SCHEMES, size_text
from trimtab_runtime.codec import content_key
from trimtab_runtime.definitions.plan import RuntimeOptions

_ORIGINAL = "as_is"


@dataclass(frozen=True, order=True)
class VariantForm:
    """What a member is brought into: what a `technique` makes of it, which a `number` tells from
    others of the same ('' and 0: nothing), for images of another `size` (height, width; (): its
    own), then quantised by a `scheme` ('': not)."""

    technique: str = ""
    number: float = 0
    scheme: str = ""
    size: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> VariantForm:
        """The form of a :attr:`text`. Raises ValueError for anything else."""
        words = [] if text == _ORIGINAL else text.split(" ")
        scheme = words.pop() if words and words[-1] in SCHEMES else ""
        sides = re.fullmatch(r"(\d+)(?:x(\d+))?px", words[-1]) if words else None
        size = () if sides is None else (int(sides[1]), int(sides[2] or sides[1]))
        if size:
            words.pop()
        if not words and (scheme or size or text == _ORIGINAL):
            return cls(scheme=scheme, size=size)
        found = re.fullmatch(r"([a-z_]+)(\d+(?:\.\d+)?)", " ".join(words))
        if found is None:
            raise ValueError(f"no form of a variant is written {text!r}")
        return cls(found[1], float(found[2]), scheme, size)

    @property
    def steps(self) -> tuple[str, ...]:
        """What is done to the member, in order: 'slim1', '192px', 'w8a8'."""
        made = f"{self.technique}{self.number:g}" if self.technique else ""
        size = f"{size_text((self.size[0], self.size[1]))}px" if self.size else ""
        return tuple(step for step in (made, size, self.scheme) if step)

    @property
    def text(self) -> str:
        """As stores have it: 'as_is' for the original model, 'w8a8', 'slim1 192px w8a8'."""
        return " ".join(self.steps) or _ORIGINAL

    @property
    def is_original(self) -> bool:
        return not self.steps

    @property
    def unquantised(self) -> VariantForm:
        """The float form that it is quantised from; itself where it is not."""
        return replace(self, scheme="")

    @property
    def parent(self) -> VariantForm:
        """The form that its last step was made of; itself for the original."""
        if self.scheme:
            return self.unquantised
        return replace(self, size=()) if self.size else ORIGINAL


#: A member as it came.
ORIGINAL = VariantForm()


@dataclass(frozen=True)
class Candidate:
    """A member (by name) in a form, with runtime options."""

    member: str
    form: VariantForm
    options: RuntimeOptions

    @property
    def key(self) -> str:
        """As stores have it."""
        said = {"member": self.member, "precision": self.form.text, "options": self.options}
        return content_key(said)

    @property
    def label(self) -> str:
        """One short line, unique within a job."""
        return " ".join([self.member, *self.form.steps, options_label(self.options)])


def options_label(options: RuntimeOptions) -> str:
    """What differs from an engine's default options, in few words."""
    words = [f"{options.threads}t" + ("-spin" if options.spinning else "")]
    if options.provider != "default":
        words.append(options.provider)
    if options.graph_optimisation != "all":
        words.append(options.graph_optimisation)
    return " ".join(words)
