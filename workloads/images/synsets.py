"""WordNet ids (`n01440764`), by which ImageNet names its folders.

`imagenet_synsets.txt` has the ids of the 1000 classes of ILSVRC 2012, whose alphabetical order is
that of the outputs of networks trained on them. It is the list of timm (Apache-2.0).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_SYNSET = re.compile(r"n[0-9]{8}")
_FILE = Path(__file__).with_name("imagenet_synsets.txt")


def is_synset(name: str) -> bool:
    """Whether a name is a WordNet id of a noun."""
    return _SYNSET.fullmatch(name) is not None


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """The 1000 ids in the order of a network's outputs."""
    return tuple(_FILE.read_text(encoding="ascii").split())


def all_of_imagenet(names: Sequence[str]) -> bool:
    """Whether all names are classes of ImageNet by their ids."""
    return bool(names) and set(names) <= set(imagenet_synsets())
