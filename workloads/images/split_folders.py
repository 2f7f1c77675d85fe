"""Folders called train, val and test: splits, and no classes."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.workloads.images.text import first_few
from trimtab_runtime.errors import WorkloadError

#: What people call the folders of a split, in lower case: images that models were trained on
#: calibrate here (fit), those that models were chosen on decide (tune).
SPLIT_OF = {
    **dict.fromkeys(("fit", "train", "training", "trn"), "fit"),
    **dict.fromkeys(("tune", "val", "valid", "validation", "dev"), "tune"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}


def split_folders(folders: Sequence[str], classes: Sequence[str] | None) -> dict[str, str]:
    """The split (`fit`, `tune`, `test`) of each of the outermost `folders`, where these are two
    splits or more; {} where they are classes, as when a list of `classes` names them all.

    Raises WorkloadError where folders of splits and others lie side by side, and where there is
    one alone.
    """
    found = {name: SPLIT_OF[name.lower()] for name in folders if name.lower() in SPLIT_OF}
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
