"""Set-ups of the data pack's networks: wrong in one way each, or right and odd to look at."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.cifar import INPUT, SIDE
from benchmarks.setup_pack import CODES, NAMES, NUMBERED, SCALES, Pack

#: Those that are wrong for a float network whose inputs are as named.
_OTHER_SCALES: Mapping[str, tuple[str, ...]] = {
    "raw": ("0..1", "-1..1", "ImageNet", "std of 0..1"),
    "ImageNet": ("raw", "0..1", "std of 0..1"),
    "-1..1": ("raw", "0..1", "std of 0..1"),
}
#: What must be said where that is no set-up that answers better, but a refusal or a notice.
SAID: Mapping[str, str] = {
    "std of 0..1": r"below one grey level.*input\.values: 0\.\.1",
    "split folders": r"the folders are splits, and no classes",
    "split folders among classes": r"train.*val|splits",
    "duplicates": r"show what an earlier split",
    "class missing": r"have no image",
}


@dataclass(frozen=True)
class Case:
    """What makes a specification, and the cause that must be named first ('' where it is right):
    of a set-up, or one of SAID."""

    name: str
    cause: str
    spec: Callable[[], dict[str, Any]]


def wrong(pack: Pack) -> Iterator[Case]:
    """Wrong in one way each."""
    rng = np.random.default_rng(0)

    def case(member: str, what: str, cause: str, **changes: Any) -> Case:
        name = f"{member}: {what}"
        return Case(name, cause, lambda: pack.spec(member, name, **changes))

    for member in pack.members:
        said = pack.members[member].get("input", {})
        yield case(member, "colours swapped", "colour", input={**said, "colour": "bgr"})
        squashed = {**said, "fit": "squash"}
        wide = partial(pack.wide, member)
        yield case(member, "wide, squashed", "geometry", input=squashed, images=wide)
    for member, own in pack.scales.items():
        for scale in _OTHER_SCALES[own]:
            changed = {**pack.members[member]["input"], **SCALES[scale]}
            cause = scale if scale in SAID else "normalisation"
            yield case(member, f"scale {scale}", cause, input=changed)
    orders: dict[str, Sequence[str]] = {
        "reversed": NAMES[::-1],
        "shifted on": [*NAMES[1:], NAMES[0]],
        "shifted back": [NAMES[-1], *NAMES[:-1]],
        "mixed": [CODES[index] for index in rng.permutation(10)],
        "two swapped": [CODES[1], CODES[0], *CODES[2:]],
        "alphabetical": sorted(CODES),
    }
    for member in pack.ten:
        for order, names in orders.items():
            rows = pack.named(CODES if set(names) == set(CODES) else NAMES)
            yield case(member, f"order {order}", "order", rows=rows, classes=names)
        rows = pack.named(NUMBERED)
        yield case(member, "order of text", "order", rows=rows, classes=sorted(NUMBERED))
        labels = rng.permutation([label for _, label in pack.rows(pack.cifar)])
        rows = [(f, int(k)) for (f, _), k in zip(pack.rows(pack.cifar), labels, strict=True)]
        yield case(member, "labels of other images", "near chance", rows=rows)
        kept = [row for row in pack.named() if row[1] != NAMES[4]]
        yield case(member, "a class missing", "class missing", rows=kept)
    for member in pack.members:
        if member in pack.ten:
            continue
        yield case(member, "background not declared", "offset", output={"offset": 0})
        rows = [(file, label + 1) for file, label in pack.rows(pack.imagenet)]
        rows = [(file, min(label, 999)) for file, label in rows]
        yield case(member, "labels counted from 1", "offset", rows=rows)
    yield from _of_several_causes(pack)
    yield from _layouts(pack)
    yield Case("two members, two orders", "order", partial(_mixed_members, pack))

    def always(role: str, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return value + 1e4 * (np.arange(10) == 3) if role == "bias" else value

    for what, rows in (
        ("as many of each class", None),
        ("one class rare", _rare(pack.rows(pack.cifar))),
    ):
        path = pack.edited(f"constant {what}", always)
        yield case(pack.net, f"constant network, {what}", "always", rows=rows, path=path)


def _of_several_causes(pack: Pack) -> Iterator[Case]:
    """Two things wrong at once, numbers of two scales, one member of three."""
    net = pack.net
    said, order = pack.members[net]["input"], np.random.default_rng(2).permutation(10)
    mixed = [CODES[index] for index in order]

    def case(what: str, cause: str, **changes: Any) -> Case:
        name = f"{net}: {what}"
        return Case(name, cause, lambda: pack.spec(net, name, **changes))

    bgr, squashed = {**said, "colour": "bgr"}, {**said, "fit": "squash"}
    rows, wide = pack.named(CODES), partial(pack.wide, net)
    yield case("order mixed, colours swapped", "order", rows=rows, classes=mixed, input=bgr)
    rows = [(str(Path(file).with_suffix(".png")), label) for file, label in rows]
    yield case(
        "order mixed, wide, squashed",
        "order",
        rows=rows,
        classes=mixed,
        input=squashed,
        images=wide,
    )
    for what, scale in (
        ("mean of 0..1", {"mean": [0.485, 0.456, 0.406]}),
        ("x / 128", {"mean": 0, "std": 128}),
    ):
        yield case(what, "normalisation", input={**said, **scale})

    def one_of_three() -> dict[str, Any]:
        spec = pack.spec(net, "one of three members")
        (own,) = spec["models"]
        others = [{**own, "name": name} for name in ("second", "third")]
        return {**spec, "models": [own, {**others[0], "input": bgr}, others[1]]}

    yield Case("one of three members, colours swapped", "colour", one_of_three)


def _layouts(pack: Pack) -> Iterator[Case]:
    """Folders that are no classes, and images that lie in two of them."""
    splits = ("train", "val", "test")

    def twice() -> Path:
        place = pack.folders("twice", splits)
        for file in sorted((place / "train").rglob("*.png"))[:60]:
            shutil.copyfile(file, place / "test" / file.parent.name / f"again-{file.name}")
        return place

    for name, cause, place in (
        ("train, val, test", "split folders", partial(pack.folders, "splits", splits)),
        ("images in two splits", "duplicates", twice),
        (
            "splits beside another",
            "split folders among classes",
            partial(pack.folders, "beside", ("train", "val", "parts")),
        ),
    ):
        yield Case(f"folders: {name}", cause, partial(_of_folders, pack, place))


def _of_folders(pack: Pack, place: Callable[[], Path]) -> dict[str, Any]:
    member = pack.members[pack.net]
    return {
        "name": "folders",
        "models": [{**member, "path": str(member["path"]), "name": pack.net}],
        "workload": {"images": str(place()), "classes": list(NAMES)},
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
    }


def _mixed_members(pack: Pack) -> dict[str, Any]:
    """Two members of which one has the classes in another order."""
    order = [4, 7, 0, 9, 2, 5, 8, 1, 6, 3]
    path = pack.edited("mixed", lambda role, v: v if role == "first" else v[order])
    spec = pack.spec(pack.net, "two members, two orders")
    (model,) = spec["models"]
    return {**spec, "models": [model, {**model, "path": str(path), "name": "other"}]}


def right(pack: Pack) -> Iterator[Case]:
    """Right, and odd to look at."""
    rng = np.random.default_rng(1)

    def case(member: str, what: str, **changes: Any) -> Case:
        name = f"{member}: {what}"
        return Case(name, "", lambda: pack.spec(member, name, **changes))

    def noise(image: Image.Image) -> Image.Image:
        pixels = np.asarray(image) + rng.normal(0, 20, (image.height, image.width, 3))
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))

    changes: dict[str, Callable[[Image.Image], Image.Image]] = {
        "noisy": noise,
        "grey": lambda image: image.convert("L").convert("RGB"),
        "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 60)),
        "dark": lambda image: image.point(lambda value: value // 2),
    }
    for what, change in changes.items():
        for member in pack.members:
            of = pack.cifar if member in pack.ten else pack.imagenet
            yield case(member, what, images=partial(pack.altered, what, change, of))
    for member in pack.members:
        place = pack.cifar if member in pack.ten else pack.imagenet
        rows = pack.rows(place)
        yield case(member, "as it should be")
        yield case(member, "24 images", rows=rows[:24])
        said = {**pack.members[member].get("input", {}), "fit": "crop"}
        yield case(member, "wide, cut", input=said, images=partial(pack.wide, member))
        yield case(member, "another resize", input=_resized(pack.members[member], "bicubic"))
        few = [row for row in rows if row[1] < max(label for _, label in rows) * 0.3]
        yield case(member, "few of the classes", rows=few)
        drawn = rng.random(len(rows)) < 0.3
        other = [row[1] for row in rows]
        rng.shuffle(other)
        torn = [(f, o if d else k) for (f, k), d, o in zip(rows, drawn, other, strict=True)]
        yield case(member, "three labels in ten wrong", rows=torn)
    for member in pack.ten:
        yield case(member, "a rare class", rows=_rare(pack.rows(pack.cifar)))

    def turned(role: str, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return value[:, ::-1] if role == "first" else value

    path = pack.edited("bgr", turned)
    reverse = {key: list(values)[::-1] for key, values in INPUT.items() if key != "size"}
    said = {"size": SIDE, **reverse, "colour": "bgr"}
    yield case(pack.net, "fed with BGR", path=path, input=said)
    order = rng.permutation(10)
    path = pack.edited("order", lambda role, v: v if role == "first" else v[order])
    names = [NAMES[index] for index in order]
    yield case(pack.net, "classes in no order", rows=pack.named(), classes=names, path=path)


def _rare(rows: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Two classes, one of them with four images."""
    kept = [row for row in rows if row[1] == 3]
    return [*kept, *[row for row in rows if row[1] == 5][:4]]


def _resized(member: Mapping[str, Any], how: str) -> dict[str, Any]:
    return {**member.get("input", {}), "resize": how}
