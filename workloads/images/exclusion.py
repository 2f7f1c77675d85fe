"""A list of images that must not be used, as models have seen them in training."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trimtab.workloads.images.text import composed, read_text
from trimtab.workloads.workload import Item
from trimtab_runtime.errors import WorkloadError

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Excluded:
    """Images by their paths from the folder, by bare file names, or by sha256 (hex)."""

    source: Path
    lines: frozenset[str]

    def __len__(self) -> int:
        return len(self.lines)

    def has(self, item: Item) -> bool:
        """Whether an image is on the list."""
        name = composed(item.name)
        return bool(self.lines & {name, PurePosixPath(name).name, item.sha256})


def read_excluded(path: Path, folder: Path) -> Excluded:
    """A text file with one image a line: its path from `folder` (or an absolute one), its bare
    file name, or its sha256, which finds it under every name. Raises WorkloadError."""
    start = f"{composed(str(folder))}/"
    lines = [composed(line.strip()) for line in read_text(path).splitlines()]
    named = [line for line in lines if line and not line.startswith("#")]
    if not named:
        raise WorkloadError(f"{path}: names no image; write one path, name or sha256 a line")
    found = set()
    for line in named:
        plain = line.replace("\\", "/").removeprefix(start).removeprefix("./")
        found.add(plain.lower() if _SHA256.fullmatch(plain.lower()) else plain)
    return Excluded(path, frozenset(found))
