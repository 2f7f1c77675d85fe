"""PyTorch modules, named by import path, exported to ONNX or TFLite in a process of their own.

There the user's code is imported from the user's folder, and can neither disturb this process nor
be disturbed by what it has imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from trimtab.variants.files.base import Array
from trimtab.variants.isolation import child, memory_for
from trimtab.variants.torch_export.checks import Agreement
from trimtab.variants.torch_export.exporting import Exporting, ModuleSource, exporting
from trimtab_runtime.errors import ModelError, TrimtabError, told_error
from trimtab_runtime.processes import AwakeClock, end_group

_COMMAND = "from trimtab.variants.torch_export.export import main; main()"
_GRACE_S, _GLANCE_S = 10.0, 1.0
#: A module that was not exported by then is taken for one that never will be.
EXPORT_S = 900.0
#: The checkout that holds this code; what lies there besides `trimtab` is none of the user's.
_OURS = Path(__file__).resolve().parents[2]


class ExportedModule:
    """The file at `path`, written from a module that its process still holds. `notes` are
    sentences to be told."""

    def __init__(self, path: Path, notes: Sequence[str], process: _Process) -> None:
        self.path, self.notes = path, tuple(notes)
        self._process = process

    def agreement(self, path: Path, images: Sequence[Array]) -> Agreement:
        """How a file (this one, or what was made of it) answers images (1, channels, height,
        width), float32 as the module is fed, against the module itself. Raises ModelError."""
        with tempfile.TemporaryDirectory(prefix="trimtab-export-") as folder:
            tensors = Path(folder) / "images.npy"
            np.save(tensors, np.stack(images))
            return Agreement(**self._process.ask(path=str(path.absolute()), images=str(tensors)))


@contextmanager
def exported_module(
    source: ModuleSource, out: Path, limit_s: float = EXPORT_S
) -> Iterator[ExportedModule]:
    """Build a module, load its weights, write `out`: ONNX, or TFLite where it ends in .tflite (by
    litert-torch, the extra `trimtab[tflite]`).

    The file is float32, holds everything, and gives torch's scores of random images; TFLite takes
    images (1, height, width, channels). The same code and weights give the same bytes.

    Raises ModelError when the import, the call, the weights, the export or the comparison fails,
    with the file and line where the user's code is at fault, and when the process dies, is given
    no more memory, or takes more than `limit_s` seconds. Importing runs the code of the named
    module: it is done only because the specification says so.
    """
    with _Process(source.entry, limit_s) as process:
        told = process.ask(
            source=asdict(source),
            out=str(out.absolute()),
            path=_other_paths(),
            memory=memory_for(Path(source.state or out)),
        )
        yield ExportedModule(out, told, process)


def export_module(
    entry: str,
    arguments: Mapping[str, Any],
    state_dict: Path | str | None,
    size: int | tuple[int, int],
    out: Path,
    channels: int = 3,
    folder: Path | str | None = None,
    limit_s: float = EXPORT_S,
) -> Path:
    """Write `out` as :func:`exported_module` does, and be done with the module. `size` is a side,
    or (height, width); `folder` is first on the import path."""
    source = module_source(entry, arguments, state_dict, size, channels, folder)
    with exported_module(source, Path(out), limit_s) as exported:
        return exported.path


def module_source(
    entry: str,
    arguments: Mapping[str, Any],
    state_dict: Path | str | None,
    size: int | tuple[int, int],
    channels: int = 3,
    folder: Path | str | None = None,
) -> ModuleSource:
    """What is to be exported; paths are those of this process."""
    sides = (size, size) if isinstance(size, int) else size
    state, place = (None if p is None else str(Path(p).absolute()) for p in (state_dict, folder))
    return ModuleSource(entry, dict(arguments), state, sides, channels, place)


def _other_paths() -> list[str]:
    """The import path of this process, without the checkout's own folder."""
    return [entry for entry in sys.path if Path(entry).resolve() != _OURS]


class _Process:
    """A process that answers requests, a line each, until it is left."""

    def __init__(self, entry: str, limit_s: float) -> None:
        self._entry, self._limit_s = entry, limit_s

    def __enter__(self) -> _Process:
        self._said: IO[bytes] = tempfile.TemporaryFile()
        self._child = child.started(_COMMAND, stderr=self._said)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._child.communicate(timeout=_GRACE_S)
        except (subprocess.TimeoutExpired, OSError):
            pass
        finally:
            end_group(self._child)
            self._said.close()

    def ask(self, **request: Any) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        answered, late = threading.Event(), threading.Event()
        watch = threading.Thread(target=self._watch, args=(answered, late), daemon=True)
        watch.start()
        try:
            self._child.stdin.write(json.dumps(request).encode() + b"\n")
            self._child.stdin.flush()
            answer = self._child.stdout.readline()
        except BrokenPipeError:
            answer = b""
        finally:
            answered.set()
            watch.join()
        if late.is_set():
            raise ModelError(f"{self._entry}: gave no answer within {self._limit_s:g} s")
        if not answer:
            raise ModelError(f"{self._entry}: {self._death()}")
        told = json.loads(answer)
        if "told" in told:
            return told["told"]
        raise told_error(told["error"], told["reason"], ModelError)

    def _watch(self, answered: threading.Event, late: threading.Event) -> None:
        """End it where it takes too long, also where it is stopped and can do nothing."""
        clock = AwakeClock()
        while not answered.wait(_GLANCE_S):
            if clock() > self._limit_s:
                late.set()
                end_group(self._child)
                return

    def _death(self) -> str:
        status = self._child.wait()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")
        return child.death("the process that exported it", status, said)


def main() -> None:
    """Answer requests from standard input: first a module to export, then files to compare it
    with. What the user's code prints goes to standard error."""
    child.serve(int(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lines = iter(sys.stdin)
    request = json.loads(next(lines))
    import torch  # noqa: F401  before the user's path, as a library is

    sys.path += [entry for entry in request["path"] if entry not in sys.path]
    asked = request["source"]
    source = ModuleSource(**{**asked, "size": tuple(asked["size"])})

    def answer(made: Any) -> None:
        print(json.dumps(made), file=answers, flush=True)

    try:
        with child.limited_memory(request["memory"]), exporting(source) as module:
            answer({"told": module.write(Path(request["out"]))})
            for line in lines:
                answer({"told": _compared(module, json.loads(line))})
    except MemoryError:
        answer(
            {"error": "ModelError", "reason": f"{source.entry}: too little memory to export it"}
        )
    except TrimtabError as error:
        answer({"error": type(error).__name__, "reason": str(error)})
    os._exit(0)  # threads of the user's code would keep it alive


def _compared(module: Exporting, request: Mapping[str, str]) -> Any:
    return asdict(module.agreement(Path(request["path"]), list(np.load(request["images"]))))
