"""Model files that are damaged, hostile or only unusual, on the way that a job takes them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks._options import SUPPORT
from benchmarks.hostile.cases import Attempt, Case
from benchmarks.hostile.families.jobs import must_go_on
from trimtab.variants import (
    cut_in_subprocess,
    export_module,
    identity_in_subprocess,
    inspect_in_subprocess,
    make_variant,
    open_in_subprocess,
    quantise_in_subprocess,
    taps_in_subprocess,
    work_in_subprocess,
)
from trimtab.variants.slimming import SlimmingSource, propose_in_subprocess

sys.path.insert(0, str(SUPPORT))
from bad_models import endless_model, greedy_model, nan_model
from long_models import write_activations, write_chain, write_doubled
from sample_models import onnx_model, write_onnx, write_photos
from sample_tflite import write_tflite

#: Of a step over a model that never ends, and over one that is only large; of a whole case.
_ENDLESS_S, _LIMIT_S, _LONG_S = 20.0, 120.0, 900.0
#: Of an export, which begins with importing torch.
_EXPORT_S = 60.0
_ENDLESS = f"gave no answer within {_ENDLESS_S:g} s"
_DAMAGED, _NOT_LOADED = (
    r"damaged or no (ONNX|TFLite) file|the file is empty",
    "onnxruntime .* cannot load it",
)
#: What is said of a file of which some bytes are others: that it is that file's, and no more.
_OF_THE_MODEL = r"^(model\.(onnx|tflite)|member): (?!whoever worked with it died of status)"
_SAID = {"mean": 127.5, "std": 127.5}
_CUTS, _FLIPS = 12, 14

Model = onnx.ModelProto
Change = Callable[[Model], None]


def cases(seed: int) -> Iterator[Case]:
    """Rows by hand, then files cut and altered at random, in both formats."""
    for name, (write, refused) in _WRITTEN.items():
        yield Case(name, partial(_written, write), refused, limit_s=_LONG_S)
    for name, (change, refused) in _CHANGED.items():
        yield Case(name, partial(_changed, change), refused, limit_s=_LONG_S)
    for name, (code, refused) in _MODULES.items():
        yield Case(f"module {name}", partial(_module, code), refused)
    for name in ("chain of 160", "endless", "greedy", "doubled 34 times"):
        yield Case(f"job with {name}", partial(_job, _WRITTEN[name][0]), limit_s=_LONG_S)
    yield Case("job with a module that ends the process", _job_with_module, limit_s=_LONG_S)
    for kind in ("onnx", "tflite"):
        for number in range(_CUTS):
            yield Case(f"{kind} cut {number}", partial(_cut, kind), _DAMAGED)
        for number in range(_FLIPS):
            altered = partial(_altered, kind)
            yield Case(f"{kind} altered {number}", altered, _OF_THE_MODEL, either=True)


def as_a_job_does(path: Path, folder: Path, limit_s: float = _LIMIT_S) -> None:
    """All that a job does with a model file before and beside measuring it."""
    identity_in_subprocess(path, limit_s)
    view = open_in_subprocess(path, folder, limit_s=limit_s).path
    facts = inspect_in_subprocess(view, limit_s=limit_s)
    variant = make_variant(view, facts, _SAID, {}, "member")
    work_in_subprocess(view, facts.format, variant.input.size, limit_s)
    if facts.format != "onnx":
        return
    taps, _ = taps_in_subprocess(view, 4, variant.input.size, limit_s)
    cut_in_subprocess(view, [tap.name for tap in taps], folder / "cut", {}, {}, limit_s)
    source = SlimmingSource(str(view), "member", variant.input.size, ("lrn",), limit_s)
    propose_in_subprocess(source, folder)
    photos = write_photos(folder / "photos", 8)
    quantise_in_subprocess("w8a8", view, variant, photos, folder / "q.onnx", limit_s)


def _written(write: Callable[[Path], Any], attempt: Attempt) -> None:
    path = attempt.folder / "model.onnx"
    write(path)
    endless = write is _WRITTEN["endless"][0]
    as_a_job_does(path, attempt.folder / "view", _ENDLESS_S if endless else _LIMIT_S)


def _changed(change: Change, attempt: Attempt) -> None:
    model = onnx_model(4)
    change(model)
    path = attempt.folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    as_a_job_does(path, attempt.folder / "view")


def _cut(kind: str, attempt: Attempt) -> None:
    path, content = _sample(kind, attempt.folder)
    path.write_bytes(content[: int(attempt.rng.integers(0, len(content)))])
    as_a_job_does(path, attempt.folder / "view")


def _altered(kind: str, attempt: Attempt) -> None:
    path, content = _sample(kind, attempt.folder)
    altered = bytearray(content)
    for place in attempt.rng.integers(0, len(altered), int(attempt.rng.integers(1, 40))):
        altered[place] = int(attempt.rng.integers(0, 256))
    path.write_bytes(altered)
    as_a_job_does(path, attempt.folder / "view")


def _sample(kind: str, folder: Path) -> tuple[Path, bytes]:
    path = folder / f"model.{kind}"
    (write_onnx if kind == "onnx" else write_tflite)(path, 4)
    return path, path.read_bytes()


def _module(code: str, attempt: Attempt) -> None:
    (attempt.folder / "net.py").write_text(code)
    out = attempt.folder / "model.onnx"
    export_module("net:Net", {}, None, 32, out, folder=attempt.folder, limit_s=_EXPORT_S)


def _job(write: Callable[[Path], Any], attempt: Attempt) -> None:
    write(attempt.folder / "hostile.onnx")
    must_go_on(attempt, [{"path": "hostile.onnx", "input": {"mean": 127.5, "std": 127.5}}])


def _job_with_module(attempt: Attempt) -> None:
    (attempt.folder / "net.py").write_text(_MODULES["ends the process"][0])
    torch = {"entry": "net:Net", "folder": str(attempt.folder)}
    must_go_on(attempt, [{"torch": torch, "input": {"size": 32}}])


def _save(model: Model) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(model.SerializeToString())


#: How files are written, and by which rule they are refused.
_WRITTEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "chain of 160": (lambda path: write_chain(path, 160), ""),
    "chain of 480": (lambda path: write_chain(path, 480), ""),
    "5000 activations": (lambda path: write_activations(path, 5000), ""),
    "doubled 34 times": (lambda path: write_doubled(path, 34), ""),
    "doubled 1000 times": (lambda path: write_doubled(path, 1000), "NaN or infinity"),
    "doubled map 34 times": (lambda path: write_doubled(path, 34, constant=False), ""),
    "doubled map 300 times": (lambda path: write_doubled(path, 300, constant=False), ""),
    "endless": (lambda path: _save(endless_model())(path), _ENDLESS),
    "greedy": (lambda path: _save(greedy_model())(path), "too little memory"),
    "NaN": (lambda path: _save(nan_model(0.9))(path), "NaN or infinity"),
    "empty file": (lambda path: path.write_bytes(b""), _DAMAGED),
    "a folder": (lambda path: path.mkdir(), "model.onnx: "),
    "a link to itself": (lambda path: path.symlink_to(path), "model.onnx: "),
    "a link to /dev/zero": (lambda path: path.symlink_to("/dev/zero"), "model.onnx: "),
    "zeros": (lambda path: path.write_bytes(bytes(2**20)), _DAMAGED),
    "a text": (lambda path: path.write_text("import os\n" * 1000), _DAMAGED),
    "200 MB of nothing": (
        lambda path: path.write_bytes(b"\x0a\xff\xff\xff\x5f" + bytes(2 * 10**8)),
        _DAMAGED,
    ),
}


def _add(model: Model, name: str, value: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def _outside(place: str, model: Model) -> None:
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, place, 0, 64)
    tensor.ClearField("raw_data")


def _huge_weight(model: Model) -> None:
    model.graph.initializer[0].dims[0] = 2**40


def _huge_input(model: Model) -> None:
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 2**20


def _negative_input(model: Model) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -5


def _circle(model: Model) -> None:
    model.graph.node[0].input[0] = model.graph.node[2].output[0]


def _unsorted(model: Model) -> None:
    nodes = list(reversed(model.graph.node))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _twice(model: Model) -> None:
    model.graph.node[1].output[0] = model.graph.node[0].output[0]


def _nested(depth: int, model: Model) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["logits"], ["in"])],
        "g",
        [],
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, None)],
    )
    for level in range(depth):
        node = helper.make_node("If", ["yes"], [f"o{level}"], then_branch=inner, else_branch=inner)
        value = helper.make_tensor_value_info(f"o{level}", TensorProto.FLOAT, None)
        inner = helper.make_graph([node], f"g{level}", [], [value])
    _add(model, "yes", np.bool_(True))
    node = helper.make_node("If", ["yes"], ["scores"], then_branch=inner, else_branch=inner)
    model.graph.node.append(node)
    model.graph.output[0].name = "scores"


def _renamed(name: str, model: Model) -> None:
    model.graph.input[0].name = name
    model.graph.node[0].input[0] = name
    model.graph.node[0].name = name


def _opset(version: int, model: Model) -> None:
    model.opset_import[0].version = version


def _operator(name: str, model: Model) -> None:
    model.graph.node[1].op_type = name


def _of_text(model: Model) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING


def _strides(model: Model) -> None:
    model.graph.node[0].attribute[0].ints[:] = [0, 0]


def _pads(model: Model) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("pads", [2**30] * 4))


def _many_classes(model: Model) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2**40


def _recursive_function(model: Model) -> None:
    """A local function that calls itself."""
    node = helper.make_node("Self", ["x"], ["y"], domain="local")
    opset = [helper.make_opsetid("local", 1), helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "Self", ["x"], ["y"], [node], opset))
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "Self", "local"


def _many_inputs(model: Model) -> None:
    for number in range(3000):
        extra = helper.make_tensor_value_info(f"i{number}", TensorProto.FLOAT, [1])
        model.graph.input.append(extra)


#: What is changed in a sound model, and by which rule it is refused.
_CHANGED: dict[str, tuple[Change, str]] = {
    "weights in /etc/passwd": (partial(_outside, "/etc/passwd"), "outside of its own folder"),
    "weights above": (partial(_outside, "../../secret.bin"), "outside of its own folder"),
    "weights missing": (partial(_outside, "nowhere.bin"), "which is missing"),
    "weight of 2**40 rows": (_huge_weight, _NOT_LOADED),
    "input of 2**20 pixels a side": (_huge_input, "too little memory"),
    "negative input": (_negative_input, "leaves its input size open"),
    "circle": (_circle, "not acyclic"),
    "unsorted": (_unsorted, ""),
    "a tensor made twice": (_twice, _DAMAGED),
    "nested 8 times": (partial(_nested, 8), ""),
    "nested 10 times": (partial(_nested, 10), ""),
    "escape codes as name": (partial(_renamed, "\x1b]0;x\x07\x1b[2J"), ""),
    "a path as name": (partial(_renamed, "../../../tmp/x"), ""),
    "a long name": (partial(_renamed, "n" * 10**6), ""),
    "opset 0": (partial(_opset, 0), _NOT_LOADED),
    "opset 9999": (partial(_opset, 9999), "it is of opset 9999"),
    "unknown operator": (partial(_operator, "Exec"), _NOT_LOADED),
    "random operator": (partial(_operator, "RandomNormalLike"), "draws random numbers"),
    "text as input": (_of_text, _NOT_LOADED),
    "strides of 0": (_strides, _NOT_LOADED),
    "pads of 2**30": (_pads, "onnxruntime cannot run it on an input"),
    "2**40 classes": (_many_classes, ""),
    "function that calls itself": (_recursive_function, _NOT_LOADED),
    "3000 inputs": (_many_inputs, ""),
    "no nodes": (lambda model: model.graph.ClearField("node"), "holds no ONNX graph"),
    "no output": (
        lambda model: model.graph.ClearField("output"),
        "none of its outputs looks like",
    ),
    "no input": (lambda model: model.graph.ClearField("input"), _OF_THE_MODEL),
    "no weights": (lambda model: model.graph.ClearField("initializer"), _OF_THE_MODEL),
    "no graph": (lambda model: model.ClearField("graph"), _OF_THE_MODEL),
}

#: Modules that a specification names, and how that is told.
_MODULES = {
    "ends the process": ("import os\ndef Net():\n    os._exit(3)\n", "died of status 3"),
    "exits": ("import sys\ndef Net():\n    sys.exit(3)\n", "SystemExit|status 3"),
    "kills itself": ("import os\ndef Net():\n    os.kill(os.getpid(), 9)\n", "was killed"),
    "recurses": ("def Net():\n    return Net()\n", "recursion"),
    "never returns": (
        "def Net():\n    while True:\n        pass\n",
        f"gave no answer within {_EXPORT_S:g} s",
    ),
    "eats memory": (
        "def Net():\n    a = []\n    while True:\n        a.append(bytes(2**28))\n",
        "too little memory|MemoryError|was killed",
    ),
    "prints": (
        "def Net():\n    print('{\"told\": 1}', flush=True)\n    raise ValueError('x')\n",
        "ValueError: x",
    ),
    "reads its input": (
        "import sys\ndef Net():\n    raise ValueError(sys.stdin.read())\n",
        "ValueError",
    ),
    "is no module": ("Net = 5\n", "no class or function to call"),
    "does not parse": ("def Net(:\n", "SyntaxError"),
}
