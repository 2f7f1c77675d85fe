"""Files that name classes, one a line or as JSON."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

from trimtab.variants.metadata.description import Description, Unreadable, class_names

#: As they are called beside a model; `{stem}` is its own name.
CLASS_FILES = (
    *("{stem}.txt", "{stem}.labels.txt", "{stem}_labels.txt", "{stem}_classes.txt"),
    *("labels.txt", "classes.txt", "class_names.txt", "label_map.txt", "synset.txt"),
    *("labels.json", "classes.json", "class_names.json", "class_indices.json"),
)
_NUMBERED = re.compile(r"(\d+)\s*[:,;\t ]\s*(\S.*)")
_MOST_BYTES = 2**22


def class_lines(text: str) -> tuple[str, ...]:
    """Names, one a line; where each line begins with its own number (`0 cat`, `1: dog`), without
    it. Raises Unreadable for an empty line in between, and where there are none."""
    lines = [line.strip() for line in text.rstrip().splitlines()]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    first = int(numbered[0][1]) if numbered and numbered[0] else -1
    if first in (0, 1) and all(
        found and int(found[1]) == first + place for place, found in enumerate(numbered)
    ):
        lines = [found[2] for found in numbered if found]
    return class_names(lines)


def _text(content: bytes) -> str:
    """As editors write it: UTF-16 where its mark says so, else UTF-8."""
    return content.decode("utf-16" if content[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8-sig")


def read_class_files(path: Path, taken: tuple[str, ...] = ()) -> Description | None:
    """The first file beside a model that names classes; None where there is none. Files that are
    `taken` by others are left out."""
    for pattern in CLASS_FILES:
        file = path.parent / pattern.format(stem=path.stem)
        if file.name in taken or not file.is_file():
            continue
        try:
            if file.stat().st_size > _MOST_BYTES:
                raise Unreadable("too large for a list of classes")
            text = _text(file.read_bytes())
            labels = class_names(json.loads(text)) if file.suffix == ".json" else class_lines(text)
        except (OSError, ValueError, RecursionError) as error:
            return Description(file.name, problems=(f"{file.name}: cannot be read ({error})",))
        return Description(file.name, labels=labels)
    return None
