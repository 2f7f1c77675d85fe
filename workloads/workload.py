"""What was read: images with their labels and groups, named by their content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from trimtab_runtime.codec import content_key


@dataclass(frozen=True)
class Item:
    """One image file.

    `name` is its path inside the workload's folder, with forward slashes; `label` the index of
    its class, None without labels; `group` names the object that it shows, None where nobody
    said; `sha256` (hex) and `size_bytes` are those of the file. `split` is the one (`fit`, `tune`,
    `test`) whose folder it lies in, None where folders are no splits.
    """

    path: Path
    name: str
    label: int | None
    group: str | None
    sha256: str
    size_bytes: int
    split: str | None = None


@dataclass(frozen=True)
class Workload:
    """Images in a stable order. Either all of them have a label, or none; the same for groups.

    `classes[i]` is the name of class i. Classes without an image keep their place, so that an
    index means the same as in a model's output. Empty where nothing names classes.

    `alike` are pairs of images (indices) that show nearly the same, see images/near_duplicates.py.
    What people should know of how the folder was read stands in `notices`; `left_out` counts files
    by their kind, `unreadable` has a reason for each image that cannot be used. `shapes` counts
    images by width and height in pixels, once they were looked at.
    """

    items: tuple[Item, ...]
    classes: tuple[str, ...] = ()
    alike: tuple[tuple[int, int], ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    shapes: Mapping[tuple[int, int], int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def labels(self) -> NDArray[np.int64] | None:
        """Class indices, (images,), read-only; None where there are no labels."""
        found = [item.label for item in self.items if item.label is not None]
        return read_only(found) if found else None

    @cached_property
    def objects(self) -> NDArray[np.int64]:
        """A number (images,) for what each image shows, read-only. Images of one group have the
        same; where nobody said, files with the same content and images that look alike."""
        names = [item.sha256 if item.group is None else item.group for item in self.items]
        numbers = np.unique(names, return_inverse=True)[1]
        pairs = [p for p in self.alike if all(self.items[i].group is None for i in p)]
        if pairs:
            ends = numbers[np.array(pairs)]
            count = int(numbers.max()) + 1
            links = scipy.sparse.coo_array((np.ones(len(ends)), ends.T), shape=(count, count))
            numbers = scipy.sparse.csgraph.connected_components(links, directed=False)[1][numbers]
        return read_only(numbers.tolist())

    @cached_property
    def key(self) -> str:
        """sha256 of the files, labels and classes: the same wherever the folder lies.

        Groups are not part of it: they decide on splits, which have a key of their own.
        """
        return content_key(
            {
                "files": [item.sha256 for item in self.items],
                "labels": [item.label for item in self.items],
                "classes": self.classes,
            }
        )

    def summary(self) -> dict[str, Any]:
        """Plain data for the store: `class_counts[i]` is the number of images of class i."""
        groups = {item.group for item in self.items} - {None}
        counts: list[int] = []
        if self.labels is not None:
            counts = np.bincount(self.labels, minlength=len(self.classes)).tolist()
        return {
            "key": self.key,
            "images": len(self),
            "size_bytes": sum(item.size_bytes for item in self.items),
            "labelled": self.labels is not None,
            "classes": list(self.classes),
            "class_counts": counts,
            "groups": len(groups),
            "left_out": dict(self.left_out),
            "unreadable": len(self.unreadable),
            "duplicates": len(self) - len({item.sha256 for item in self.items}),
        }


def read_only(values: list[int]) -> NDArray[np.int64]:
    """An int64 array that cannot be written to."""
    array = np.array(values, dtype=np.int64)
    array.setflags(write=False)
    return array
