"""Which image arrives when: the order of every kind of stream, without its motion."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate

from trimtab.workloads.streams.recipes import StreamRecipe
from trimtab.workloads.streams.shuffling import Dice
from trimtab.workloads.workload import Item, Workload
from trimtab_runtime.errors import WorkloadError

#: Frames for each image of the split, where the recipe does not say how many.
FRAMES_PER_IMAGE = 4


@dataclass(frozen=True)
class Arrivals:
    """`items[t]` is the index of the image of frame t, `blocks[t]` the number of its block."""

    items: list[int]
    blocks: list[int]


def arrive(workload: Workload, indices: list[int], recipe: StreamRecipe, name: str) -> Arrivals:
    """The order of a recipe over sorted indices of a workload; `name` seeds it.

    Raises WorkloadError where the images are too few, or have no classes, for the kind.
    """
    if recipe.kind == "independent":
        frames = recipe.frames or len(indices)
        return _by_object(workload, _in_laps(indices, frames, name))
    if recipe.kind == "recorded":
        frames = recipe.frames or len(indices)
        if frames > len(indices):
            raise WorkloadError(
                f"stream.frames <= images of the split must hold for recorded, got {frames} "
                f"frames of {len(indices)} image(s); a recording does not start over"
            )
        return _by_object(workload, indices[:frames])
    frames = recipe.frames or FRAMES_PER_IMAGE * len(indices)
    album = Album(workload, indices, recipe.zipf, name)
    if recipe.kind == "longtail":
        return _by_object(workload, [album.next_of(album.draw()) for _ in range(frames)])
    if recipe.kind == "hot_classes":
        return _hot(album, frames, recipe, name)
    return _in_turn(album, frames, recipe, name)


def object_of(item: Item) -> str:
    """What an image shows: its group, or, where nobody said, its content."""
    return item.sha256 if item.group is None else item.group


class Album:
    """Photographs by class. A class has a seeded rank, and its weight is rank**-zipf.

    Classes are the labels; without labels, the groups; without either, one class of all images.
    A class shows its photographs in a seeded order and starts over in the same order, so that
    none returns before all others were seen.
    """

    def __init__(self, workload: Workload, indices: list[int], zipf: float, name: str) -> None:
        by_class: dict[str, list[int]] = defaultdict(list)
        for index in indices:
            by_class[_class_of(workload.items[index])].append(index)
        ranked = Dice(f"{name}/ranks").shuffled(sorted(by_class))
        self._decks = [Dice(f"{name}/deck {kind}").shuffled(by_class[kind]) for kind in ranked]
        self._home = {index: place for place, deck in enumerate(self._decks) for index in deck}
        self._next = [0] * len(self._decks)
        # Whole numbers: the last bit of a power may differ between machines.
        self._weights = [max(1, round(2**40 / r**zipf)) for r in range(1, len(ranked) + 1)]
        self._sums = list(accumulate(self._weights))
        self._dice = Dice(f"{name}/classes")

    @property
    def sizes(self) -> list[int]:
        """Photographs of each class, the most frequent class first."""
        return [len(deck) for deck in self._decks]

    def draw(self, without: Collection[int] = ()) -> int:
        """A class (its place in the ranking) by its weight, none of `without`."""
        if not without:
            return self._dice.pick(self._sums)
        left = [0 if c in without else weight for c, weight in enumerate(self._weights)]
        return self._dice.pick(list(accumulate(left)))

    def next_of(self, kind: int) -> int:
        """The next photograph of a class."""
        deck = self._decks[kind]
        found = deck[self._next[kind]]
        self._next[kind] = (self._next[kind] + 1) % len(deck)
        return found

    def next_object(self, in_view: Collection[int]) -> int:
        """A photograph that is not in view, of a class drawn among those that have one left.

        What is in view must leave in the order in which it came: then the next photograph of a
        class, the one that was shown longest ago, is not among them.
        """
        shown = Counter(self._home[index] for index in in_view)
        used_up = {kind for kind, count in shown.items() if count == len(self._decks[kind])}
        return self.next_of(self.draw(used_up))


def _class_of(item: Item) -> str:
    if item.label is not None:
        return str(item.label)
    return item.group or ""


def _in_laps(indices: list[int], frames: int, name: str) -> list[int]:
    items: list[int] = []
    while len(items) < frames:
        items += Dice(f"{name}/lap {len(items) // len(indices)}").shuffled(indices)
    return items[:frames]


def _by_object(workload: Workload, items: list[int]) -> Arrivals:
    numbers: dict[str, int] = {}
    shown = [object_of(workload.items[index]) for index in items]
    return Arrivals(items, [numbers.setdefault(name, len(numbers)) for name in shown])


def _hot(album: Album, frames: int, recipe: StreamRecipe, name: str) -> Arrivals:
    sizes = album.sizes
    if recipe.classes > len(sizes):
        raise WorkloadError(
            "stream.classes <= classes of the split (of labels, or else of groups) must hold for "
            f"hot_classes, got {recipe.classes} of {len(sizes)}"
        )
    dice = Dice(f"{name}/stills")
    items: list[int] = []
    while len(items) < frames:
        hot: list[int] = []
        for _ in range(recipe.classes):
            hot.append(album.draw(without=hot))
        items += [album.next_of(kind) for kind in _stills(hot, sizes, recipe.stretch, dice)]
    blocks = [t // recipe.stretch for t in range(frames)]
    return Arrivals(items[:frames], blocks)


def _stills(hot: list[int], sizes: Sequence[int], stretch: int, dice: Dice) -> list[int]:
    """The class of every still: evenly among the hot ones that have another photograph left."""
    found: list[int] = []
    left: dict[int, int] = {}
    for _ in range(stretch):
        if not left:
            left = {kind: sizes[kind] for kind in hot}
        kind = list(left)[dice.below(len(left))]
        found.append(kind)
        left[kind] -= 1
        if left[kind] == 0:
            del left[kind]
    return found


def _in_turn(album: Album, frames: int, recipe: StreamRecipe, name: str) -> Arrivals:
    """Dwelling and interleaved: one object, or several by turns, each for its time."""
    objects = recipe.objects if recipe.kind == "interleaved" else 1
    images = sum(album.sizes)
    if images <= objects:
        raise WorkloadError(
            f"images of the split > objects in view must hold for {recipe.kind} (each is replaced "
            f"by another), got {images} image(s) and {objects} object(s)"
        )
    times = _times(recipe, frames, Dice(f"{name}/stays"))
    in_view: list[int] = []
    for _ in range(objects):
        in_view.append(album.next_object(in_view))
    stays = list(range(objects))
    left = [times(stay) for stay in stays]
    found = Arrivals([], [])
    for t in range(frames):
        place = t % objects
        if left[place] == 0:
            in_view[place] = album.next_object(in_view)
            stays[place] = max(stays) + 1
            left[place] = times(stays[place])
        left[place] -= 1
        found.items.append(in_view[place])
        found.blocks.append(stays[place])
    return found


def _times(recipe: StreamRecipe, frames: int, dice: Dice) -> Callable[[int], int]:
    """How many frames the object of a stay (by its number) is in view."""
    mean = int(recipe.mean_frames)
    objects = recipe.objects

    def geometric(stay: int) -> int:
        found = 1
        while found < frames and not dice.happens(1 / recipe.mean_frames):
            found += 1
        return found

    def staggered(stay: int) -> int:
        return -(-mean * (stay + 1) // objects) if stay < objects else mean

    return staggered if recipe.kind == "interleaved" else geometric
