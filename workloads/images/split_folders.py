"""What is called train, val and test: splits, and no classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from trimtab.workloads.images.text import first_few
from trimtab_runtime.errors import WorkloadError

#: What people call a split, in lower case: images that models were trained on calibrate here
#: (fit), those that models were chosen on decide (tune).
_SPLIT_OF = {
    **dict.fromkeys(("fit", "train", "training", "trn"), "fit"),
    **dict.fromkeys(("tune", "val", "valid", "validation", "dev", "eval", "evaluation"), "tune"),
    **dict.fromkeys(("test", "testing", "tst", "holdout"), "test"),
}
#: What they add to it: `train_images`, `Test Set`, `valset`, `val2017`.
_ADDED = re.compile(r"(data)?sets?|data|images?|imgs?|photos?|pictures?|splits?|")


def split_called(name: str) -> str | None:
    """The split (`fit`, `tune`, `test`) that a name means; None where it means another thing."""
    words = re.split(r"[\W\d_]+", re.sub(r"(?<=[a-z])sets?(?![a-z])", " ", name.lower()))
    told = [word for word in words if not _ADDED.fullmatch(word)]
    return _SPLIT_OF.get(told[0]) if len(told) == 1 else None


def split_folders(folders: Sequence[str], classes: Sequence[str] | None) -> dict[str, str]:
    """The split (`fit`, `tune`, `test`) of each of the outermost `folders`, where these are two
    splits or more; {} where they are classes, as when a list of `classes` names them all.

    Raises WorkloadError where folders of splits and others lie side by side, and where there is
    one alone.
    """
    found = {name: split for name in folders if (split := split_called(name))}
    if not found or (classes is not None and set(folders) <= set(classes)):
        return {}
    others = [name for name in folders if name not in found]
    if not others and len(folders) == 1:
        raise WorkloadError(
            f"has one folder only ({folders[0]}), which is called like a split; name that folder "
            "as `images`, or add the other splits"
        )
    if len(set(found.values())) < 2:
        return {}
    if others:
        raise WorkloadError(
            f"the folders {', '.join(found)} are called like splits, but {first_few(others)} "
            "beside them are not; move those away, or, if all of them are classes, name them "
            "as `classes`"
        )
    return found


def splits_within(folders: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The split of images that lie in folders of splits below those of their classes, by names;
    {} where one lies elsewhere, or all in one split. `folders` are those below the class."""
    found = {
        name: split
        for name, inner in folders.items()
        if inner and (split := split_called(inner[0]))
    }
    return found if len(found) == len(folders) and len(set(found.values())) > 1 else {}
