"""What is said of a model that its file may leave open."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.variants.intake.versions import NewestVersions


@dataclass(frozen=True)
class Wishes:
    """What is said of a member that its file may leave open. `size` is (height, width); `output`
    is a name, `output_index` counts from 0; `classes` how many the labels have; `signature` is one
    of a TFLite file's. `newest` are versions that the device's engine knows."""

    size: tuple[int, int] | None = None
    layout: str | None = None
    channels: int | None = None
    output: str | None = None
    output_index: int | None = None
    classes: int | None = None
    signature: str | None = None
    newest: NewestVersions | None = None
