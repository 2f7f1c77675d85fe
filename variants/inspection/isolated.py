"""Looking at a model file in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.variants.files import watchdog
from trimtab.variants.files.operator_files import OperatorFile, write_operator_files
from trimtab.variants.inspection.facts import ModelFacts, inspect_model
from trimtab.variants.inspection.operators import OperatorWork, operator_work
from trimtab.variants.inspection.origins import Executed, Origin, find_origins
from trimtab.variants.intake.source import source_identity
from trimtab.variants.intake.view import View, open_view, prepare
from trimtab.variants.intake.wishes import Wishes
from trimtab.variants.isolation import Ask, Limits, call, memory_for
from trimtab.variants.isolation.limits import STEP_S
from trimtab.variants.metadata.description import Description
from trimtab.variants.metadata.reading import ModelDescription, describe_model
from trimtab_runtime.codec import decode, encode
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine, format_engine
from trimtab_runtime.images.preprocess import decode_image
from trimtab_runtime.images.preprocess import prepare as prepare_image

Floats = NDArray[np.float32]


def inspect_in_subprocess(
    path: Path | str, size: tuple[int, int] | None = None, limit_s: float = STEP_S
) -> ModelFacts:
    """:func:`variants.inspect_model` in a fresh process.

    Raises what it raises, and ModelError when one inference gives no answer within `limit_s`, or
    the file crashes its engine or takes more memory than it may.
    """
    path = Path(path)
    asked, limits = [str(path.absolute()), size], Limits(limit_s, memory_for(path))
    return decode(ModelFacts, call(_facts, path.name, asked, limits, fresh=True))


def open_in_subprocess(
    path: Path | str, folder: Path, wishes: Wishes | None = None, limit_s: float = STEP_S
) -> View:
    """:func:`variants.open_view` in a fresh process; raises as :func:`inspect_in_subprocess`."""
    path = Path(path)
    asked = [str(path.absolute()), str(folder.absolute()), encode(wishes or Wishes())]
    return _seen(call(_view, path.name, asked, Limits(limit_s, memory_for(path)), fresh=True))


def open_and_inspect_in_subprocess(
    path: Path | str, folder: Path, wishes: Wishes | None = None, limit_s: float = STEP_S
) -> tuple[View, ModelFacts | None]:
    """Both of the above in one fresh process: a file's view, and what the view tells when it is
    run with the size of `wishes`. A view with weights beside it is not inspected."""
    path = Path(path)
    asked = [str(path.absolute()), str(folder.absolute()), encode(wishes or Wishes())]
    told = call(_both, path.name, asked, Limits(limit_s, memory_for(path)), fresh=True)
    return _seen(told["view"]), decode(ModelFacts, told["facts"]) if told["facts"] else None


def _seen(told: dict[str, Any]) -> View:
    return View(
        Path(told["path"]),
        told["source_sha256"],
        tuple(told["notes"]),
        tuple(map(Path, told["beside"])),
    )


def answer_in_subprocess(
    path: Path | str, variant: Variant, images: Sequence[Path], limit_s: float = STEP_S
) -> Floats:
    """What a file answers to images (paths) as `variant` says that it is fed and read, in another
    process: float32 (images, outputs). Raises as :func:`inspect_in_subprocess`, and WorkloadError
    for an image that cannot be read."""
    path = Path(path)
    asked = [str(path.absolute()), encode(variant), [str(image.absolute()) for image in images]]
    told = call(_answers, path.name, asked, Limits(limit_s, memory_for(path)))
    return np.array(told, np.float32)


def identity_in_subprocess(path: Path, limit_s: float = STEP_S) -> str:
    """:func:`variants.source_identity` in another process; raises as
    :func:`inspect_in_subprocess`."""
    limits = Limits(limit_s, memory_for(path))
    return str(call(_identity, path.name, str(path.absolute()), limits))


def work_in_subprocess(
    path: Path,
    format: str,
    size: tuple[int, int] | None = None,
    limit_s: float = STEP_S,
    name: str | None = None,
) -> tuple[OperatorWork, ...]:
    """:func:`variants.operator_work` in another process; raises as :func:`inspect_in_subprocess`.
    Errors call the file `name`."""
    asked, limits = [str(path.absolute()), format, size], Limits(limit_s, memory_for(path))
    told = call(_work, name or path.name, asked, limits)
    return decode(tuple[OperatorWork, ...], told)


def origins_in_subprocess(
    path: Path,
    executed: Sequence[Executed],
    size: tuple[int, int] | None = None,
    limit_s: float = STEP_S,
) -> list[Origin]:
    """:func:`variants.find_origins` in another process; raises as
    :func:`inspect_in_subprocess`."""
    asked = [str(path.absolute()), encode(list(executed)), size]
    told = call(_origins, path.name, asked, Limits(limit_s, memory_for(path)))
    return decode(list[Origin], told)


def operators_in_subprocess(
    path: Path, folder: Path, limit_s: float = STEP_S
) -> tuple[list[OperatorFile], list[int]]:
    """:func:`variants.write_operator_files` in another process, and the multiply-accumulates of
    each operator; raises as :func:`inspect_in_subprocess`."""
    asked = [str(path.absolute()), str(folder.absolute())]
    told = call(_operators, path.name, asked, Limits(limit_s, memory_for(path)))
    parts = [
        OperatorFile(folder / name, made, operator, tuple(shape))
        for name, made, operator, shape in told["files"]
    ]
    return parts, list(told["work"])


def describe_in_subprocess(path: Path, limit_s: float = STEP_S) -> ModelDescription:
    """:func:`variants.describe_model` in another process; raises as
    :func:`inspect_in_subprocess`."""
    told = call(_described, path.name, str(path.absolute()), Limits(limit_s, memory_for(path)))
    found = decode(ModelDescription, told)
    return replace(found, sources=tuple(map(_with_tuples, found.sources)))


def _with_tuples(source: Description) -> Description:
    """JSON has lists."""
    fields = {n: tuple(v) if isinstance(v, list) else v for n, v in source.input.items()}
    return replace(source, input=fields)


def _operators(request: Any, ask: Ask) -> Any:
    path, folder = map(Path, request)
    parts = write_operator_files(path, folder)
    work = [operator_work(part.path, "tflite") for part in parts]
    return {
        "files": [[part.path.name, part.name, part.operator, part.shape] for part in parts],
        "work": [sum(each.multiply_accumulates for each in found) for found in work],
    }


def _described(request: Any, ask: Ask) -> Any:
    return encode(describe_model(Path(request)))


def _facts(request: Any, ask: Ask) -> Any:
    path, size = request
    return encode(inspect_model(Path(path), _pair(size)))


def _view(request: Any, ask: Ask) -> Any:
    path, folder, wishes = request
    return _told(_opened(Path(path), Path(folder), decode(Wishes, wishes)))


def _both(request: Any, ask: Ask) -> Any:
    path, folder, wishes = request
    said = decode(Wishes, wishes)
    view = _opened(Path(path), Path(folder), said)
    facts = None if view.beside else encode(inspect_model(view.path, said.size))
    return {"view": _told(view), "facts": facts}


def _opened(path: Path, folder: Path, wishes: Wishes) -> View:
    if path.suffix.lower() == ".onnx":
        with watchdog.paused():
            prepare()  # takes seconds, which are none of the model's
    return open_view(path, folder, wishes)


def _told(found: View) -> dict[str, Any]:
    return {
        "path": str(found.path),
        "source_sha256": found.source_sha256,
        "notes": found.notes,
        "beside": list(map(str, found.beside)),
    }


def _answers(request: Any, ask: Ask) -> Any:
    path, variant, images = request
    known = decode(Variant, variant)
    engine = create_engine(path, known, RuntimeOptions(format_engine(known.format)))
    found = []
    for image in images:
        tensor = prepare_image(decode_image(Path(image))).tensor(known.input)
        watchdog.step()
        found.append(engine.run(tensor).tolist())
    return found


def _identity(request: Any, ask: Ask) -> Any:
    return source_identity(Path(request))


def _work(request: Any, ask: Ask) -> Any:
    path, format, size = request
    return encode(operator_work(Path(path), format, _pair(size)))


def _origins(request: Any, ask: Ask) -> Any:
    path, executed, size = request
    return encode(find_origins(Path(path), decode(list[Executed], executed), _pair(size)))


def _pair(size: list[int] | None) -> tuple[int, int] | None:
    return (size[0], size[1]) if size else None
