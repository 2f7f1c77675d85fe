"""What can be measured: a member, the form it is brought into, and runtime options."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab_runtime.codec import content_key
from trimtab_runtime.definitions.plan import RuntimeOptions


@dataclass(frozen=True)
class Candidate:
    """A member (by name) at a precision ('as_is' or a quantisation) with runtime options."""

    member: str
    precision: str
    options: RuntimeOptions

    @property
    def key(self) -> str:
        return content_key(self)

    @property
    def label(self) -> str:
        """One short line, unique within a job."""
        precision = [] if self.precision == "as_is" else [self.precision]
        return " ".join([self.member, *precision, options_label(self.options)])


def options_label(options: RuntimeOptions) -> str:
    """What differs from an engine's default options, in few words."""
    words = [f"{options.threads}t" + ("-spin" if options.spinning else "")]
    if options.provider != "default":
        words.append(options.provider)
    if options.graph_optimisation != "all":
        words.append(options.graph_optimisation)
    return " ".join(words)
