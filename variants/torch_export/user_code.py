"""Where the user's own code is imported from, and where in it an error arose."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trimtab.variants.files.base import first_line

_OURS = Path(__file__).resolve().parents[2]
_LIBRARIES = ("torch", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "trimtab")


@contextmanager
def user_modules(folder: Path | str | None) -> Iterator[None]:
    """`folder` first on the import path, and modules that it has of its own imported from there,
    even where others of the same names were imported before. Afterwards all is as it was: modules
    from the folder are forgotten (what lies in an environment below it stays)."""
    if folder is None:
        yield
        return
    root = Path(folder).resolve()
    path, before = list(sys.path), dict(sys.modules)
    for name in set(before):
        if _is_anothers(name.partition(".")[0], root):
            del sys.modules[name]
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - set(before):
            if _is_of(sys.modules[name], root, path):
                del sys.modules[name]
        sys.modules.update(before)


def _is_anothers(name: str, root: Path) -> bool:
    """Whether a module that was imported from elsewhere is also in the folder."""
    if name in sys.stdlib_module_names:
        return False  # as for any program: it was imported before the user's code
    own = next(
        (p for p in (root / f"{name}.py", root / name / "__init__.py") if p.is_file()), None
    )
    if own is None:
        return False
    origin = getattr(sys.modules.get(name), "__file__", None)
    return origin is None or Path(origin).resolve() != own.resolve()


def _is_of(module: object, root: Path, path: list[str]) -> bool:
    """Whether a module lies in the folder, and in no place of the import path below it: a place
    above it does not make its modules importable by their names."""
    origin = getattr(module, "__file__", None)
    if not origin or not Path(origin).is_absolute():  # torch.ops says "_ops.py"
        return False
    file = Path(origin).resolve()
    below = [each for each in (Path(p).resolve() for p in path) if each.is_relative_to(root)]
    return file.is_relative_to(root) and not any(map(file.is_relative_to, below))


def told(error: BaseException, folder: Path | str | None) -> str:
    """Kind and first line of an error, and the file and line of the user's code that it arose in:
    the innermost line that lies in `folder`, else outside of torch, of Python and of this code."""
    reason = error.msg if isinstance(error, SyntaxError) else first_line(error)
    text = f"{type(error).__name__}: {reason}"
    place = _place(error, None if folder is None else Path(folder).resolve())
    return f"{text} ({place})" if place else text


def _place(error: BaseException, root: Path | None) -> str | None:
    places = list(_places(error))
    own = [place for place in places if root is not None and place[0].is_relative_to(root)]
    found = own or [place for place in places if not _is_library(place[0])]
    if not found:
        return None
    file, line = found[-1]
    inside = root is not None and file.is_relative_to(root)
    return f"{file.relative_to(root) if inside and root else file}, line {line}"


def _places(error: BaseException) -> Iterator[tuple[Path, int]]:
    """File and line of all frames, of the error and those that caused it, the innermost last."""
    cause = error.__cause__ or error.__context__
    if isinstance(error, SyntaxError) and error.filename:
        yield from () if cause is None else _places(cause)
        yield Path(error.filename).resolve(), error.lineno or 0
        return
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith("<"):
            yield Path(frame.filename).resolve(), frame.lineno or 0
    if cause is not None:
        yield from _places(cause)


def _is_library(file: Path) -> bool:
    """Whether a file is of torch's, of Python's or ours, where an error says nothing of the user's
    code."""
    for place in range(len(file.parts) - 1, 0, -1):
        if file.parts[place - 1] in ("site-packages", "dist-packages"):
            return Path(file.parts[place]).stem in _LIBRARIES
    return file.is_relative_to(_OURS) or file.is_relative_to(Path(os.__file__).resolve().parent)
