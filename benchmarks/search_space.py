"""A space of candidates small enough to be measured whole, tabulated once on this machine.

Members: the three CIFAR ResNets and the four TFLite ResNets of the data pack. The ResNets come in
five widths (inner channels pruned), ending at one of four places, as float and w8a8, on one and
two threads (with and without spinning) and two levels of graph optimisation; the TFLite members
with and without XNNPACK, on one and two threads. 736 candidates. Latency, from the decoded image
to the answer, is the lowest of the medians of several passes over the whole space, each in another
order: a pass that something disturbed does not count.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks._pruned import Pruner
from benchmarks.cifar import INPUT, TEST_BATCH, write_images, write_resnet
from benchmarks.zoo import ROOT, lite_members
from trimtab.search.candidates.candidate import Candidate, VariantForm
from trimtab.variants import (
    OperatorWork,
    derive_variant,
    export_module,
    inspect_model,
    make_variant,
    operator_work,
    quantise_w8a8,
)
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine
from trimtab_runtime.images.preprocess import Preprocessor

DEPTHS = (20, 32, 56)
PRUNED = (0.0, 0.0625, 0.125, 0.25, 0.5)
#: Share of its blocks that a network ends before: an exit that is always taken.
CUT = (0.0, 0.15, 0.33, 0.5)
#: Images that top-1 is told on; heads and calibration use a batch of the training set.
TOLD, FIT, CALIBRATED, FIT_BATCH = 500, 500, 32, 0
PASSES, ZOO_PASSES, SECONDS, LEAST, MOST = 3, 8, 0.04, 8, 400


Images = Sequence[NDArray[np.uint8]]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Entry:
    """A candidate with what was measured of it: latency (ms) of every pass, and top-1.

    `work` are the operators of the float network that it was made from, `pixels` go in.
    """

    candidate: Candidate
    baseline: bool
    work: tuple[OperatorWork, ...]
    pixels: int
    passes_ms: tuple[float, ...]
    top1: float | None

    @property
    def latency_ms(self) -> float:
        return min(self.passes_ms)


def load_table(path: Path, make: Callable[[], Sequence[Entry]]) -> list[Entry]:
    """The table in a file, made where there is none."""
    if not path.exists():
        made = [asdict(entry) for entry in make()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made), "utf-8")
    return [_entry(row) for row in json.loads(path.read_text("utf-8"))]


def _entry(row: Mapping[str, Any]) -> Entry:
    said = row["candidate"]
    form = VariantForm.parse(said["precision"])
    candidate = Candidate(said["member"], form, RuntimeOptions(**said["options"]))
    work = tuple(OperatorWork(**found) for found in row["work"])
    passes = tuple(row["passes_ms"])
    return Entry(candidate, row["baseline"], work, row["pixels"], passes, row["top1"])


@dataclass(frozen=True)
class _Made:
    """A variant's file."""

    member: str
    form: str
    path: Path
    variant: Variant
    work: tuple[OperatorWork, ...]


def tabulate(data: Path) -> list[Entry]:
    """Build, trace and measure the whole space."""
    with tempfile.TemporaryDirectory(prefix="trimtab-space-") as name:
        folder = Path(name)
        fit, labels = _images(data, folder / "fit", FIT_BATCH)
        told, wanted = _images(data, folder / "told", TEST_BATCH)
        made = [*_resnets(data, folder, fit[:FIT], labels[:FIT]), *_lites(data, "cifar10")]
        top1 = [_top1(one, told[:TOLD], wanted[:TOLD]) for one in made]
        print("traced", flush=True)
        return _timed(made, top1, told)


def tabulate_zoos(data: Path) -> list[Entry]:
    """The members of both zoos of the data pack as they came, and the float ONNX ones as w8a8:
    latencies alone."""
    with tempfile.TemporaryDirectory(prefix="trimtab-zoos-") as name:
        folder = Path(name)
        fit, _ = _images(data, folder / "fit", FIT_BATCH)
        photos = sorted((data / "imagenet" / "images").glob("*.*"))[:CALIBRATED]
        large = [np.asarray(Image.open(path).convert("RGB")) for path in photos]
        small = [*_exported(data, folder, fit), *_lites(data, "cifar10")]
        found = _timed(small, [None] * len(small), fit, ZOO_PASSES)
        wide = [*_efficientnets(folder, large), *_lites(data, "imagenet")]
        return [*found, *_timed(wide, [None] * len(wide), large, ZOO_PASSES)]


def _images(data: Path, folder: Path, batch: int) -> tuple[Images, Labels]:
    """Images of the CIFAR pack, with their classes."""
    write_images(data, folder, [batch])
    lines = (folder / "labels.csv").read_text("utf-8").splitlines()[1:]
    names, labels = zip(*(line.split(",") for line in lines), strict=True)
    return [np.asarray(Image.open(folder / name)) for name in names], np.array(labels, int)


def _resnets(data: Path, folder: Path, fit: Images, labels: Labels) -> Iterator[_Made]:
    for depth in DEPTHS:
        whole, member = folder / f"resnet{depth}.onnx", f"resnet{depth}"
        write_resnet(data, depth, whole)
        base = make_variant(whole, inspect_model(whole), INPUT, {}, member)
        tensors = np.concatenate([Preprocessor(image).tensor(base.input) for image in fit])
        pruner = Pruner(whole, tensors, labels)
        for share, cut in itertools.product(PRUNED, CUT):
            words = [f"prune{share}"] * (share > 0) + [f"cut{cut}"] * (cut > 0)
            path = folder / "-".join([member, *words, "float.onnx"])
            last = pruner.ends[round((1 - cut) * len(pruner.ends)) - 1]
            pruner.write(path, share, last if cut else None)
            yield from _both(path, derive_variant(path, base, member), member, words, fit)
        print(f"built: the variants of {member}", flush=True)


def _both(
    path: Path, variant: Variant, member: str, words: Sequence[str], fit: Images
) -> Iterator[_Made]:
    """A float network, and its w8a8 variant."""
    work = operator_work(path, "onnx")
    yield _Made(member, " ".join(words) or "as_is", path, variant, work)
    small = path.with_name(f"{path.stem}-w8a8.onnx")
    quantise_w8a8(path, variant, fit[:CALIBRATED], small)
    variant = derive_variant(small, variant, f"{member} w8a8")
    yield _Made(member, " ".join([*words, "w8a8"]), small, variant, work)


def _exported(data: Path, folder: Path, fit: Images) -> Iterator[_Made]:
    for depth in DEPTHS:
        path, member = folder / f"resnet{depth}.onnx", f"resnet{depth}"
        write_resnet(data, depth, path)
        variant = make_variant(path, inspect_model(path), INPUT, {}, member)
        yield from _both(path, variant, member, (), fit)


def _efficientnets(folder: Path, fit: Images) -> Iterator[_Made]:
    for said in lite_members():
        path, entry, size = folder / f"{said['name']}.onnx", said["torch"], said["input"]["size"]
        export_module(entry["entry"], entry["arguments"], None, size, path, folder=ROOT)
        variant = make_variant(path, inspect_model(path), said["input"], {}, said["name"])
        yield from _both(path, variant, said["name"], (), fit)


def _lites(data: Path, zoo: str) -> Iterator[_Made]:
    """TFLite members. Float ones of the ImageNet zoo take (x - 127.5) / 127.5."""
    mean, std = (0, 1) if zoo == "cifar10" else (127.5, 127.5)
    for path in sorted((data / zoo / "models").glob("*.tflite")):
        facts = inspect_model(path)
        said = {"mean": mean, "std": std} if facts.dtype == "float32" else {}
        variant = make_variant(path, facts, said, {}, path.stem)
        yield _Made(path.stem, "as_is", path, variant, operator_work(path, "tflite"))


def _options(made: _Made) -> list[RuntimeOptions]:
    if made.variant.format == "tflite":
        providers = ("default", "builtin")
        return [RuntimeOptions("litert", p, threads) for p in providers for threads in (1, 2)]
    ways = ((1, False), (2, False), (2, True))
    levels = ("all", "extended")
    return [
        RuntimeOptions("onnxruntime", "default", t, spin, level)
        for level in levels
        for t, spin in ways
    ]


def _top1(made: _Made, images: Images, labels: Labels) -> float:
    engine = create_engine(str(made.path), made.variant, _options(made)[0])
    answers = [engine.run(Preprocessor(i).tensor(made.variant.input)).argmax() for i in images]
    return float((np.array(answers) == labels).mean())


def _timed(
    made: Sequence[_Made], top1: Sequence[float | None], images: Images, passes: int = PASSES
) -> list[Entry]:
    """Everything in every way it can run."""
    pairs = [(n, options) for n, one in enumerate(made) for options in _options(one)]
    times: dict[tuple[int, RuntimeOptions], list[float]] = {pair: [] for pair in pairs}
    generator = np.random.default_rng(0)
    for number in range(passes):
        for index in generator.permutation(len(pairs)):
            which, options = pairs[index]
            times[which, options].append(_median_ms(made[which], options, images))
        print(f"measured: pass {number + 1} of {passes}", flush=True)
    first = RuntimeOptions("onnxruntime"), RuntimeOptions("litert")
    return [
        Entry(
            candidate=Candidate(made[n].member, VariantForm.parse(made[n].form), options),
            baseline=made[n].form == "as_is" and options in first,
            work=made[n].work,
            pixels=made[n].variant.input.size[0] * made[n].variant.input.size[1],
            passes_ms=tuple(times[n, options]),
            top1=top1[n],
        )
        for n, options in pairs
    ]


def _median_ms(made: _Made, options: RuntimeOptions, images: Images) -> float:
    engine = create_engine(str(made.path), made.variant, options)
    taken: list[float] = []
    for number in range(MOST):
        image = images[number % len(images)]
        began = time.perf_counter()
        engine.run(Preprocessor(image).tensor(made.variant.input))
        taken.append(1000 * (time.perf_counter() - began))
        if number >= 2 + LEAST and sum(taken) > 1000 * SECONDS:
            break
    return float(np.median(taken[2:]))
