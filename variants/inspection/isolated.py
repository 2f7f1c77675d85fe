"""Looking at a model file in a process of its own.

To read a file is to run what is in it: it may never return, crash its engine, or take all memory,
and the job must outlive that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from trimtab.variants.files import child, watchdog
from trimtab.variants.inspection.facts import ModelFacts, inspect_model
from trimtab.variants.intake.view import View, Wishes, open_view, prepare
from trimtab_runtime import errors
from trimtab_runtime.codec import decode, encode
from trimtab_runtime.errors import ModelError, TrimtabError

_COMMAND = "from trimtab.variants.inspection.isolated import main; main()"


def inspect_in_subprocess(
    path: Path | str, size: tuple[int, int] | None = None, limit_s: float = 120.0
) -> ModelFacts:
    """:func:`variants.inspect_model` in a fresh process.

    Raises what it raises, and ModelError when one inference gives no answer within `limit_s`, or
    the file crashes its engine or takes more memory than there is.
    """
    path = Path(path)
    told = _ask("facts", path, [str(path.absolute()), size], limit_s)
    return decode(ModelFacts, told)


def open_in_subprocess(
    path: Path | str, folder: Path, wishes: Wishes | None = None, limit_s: float = 120.0
) -> View:
    """:func:`variants.open_view` in a fresh process; raises as :func:`inspect_in_subprocess`."""
    path = Path(path)
    asked = [str(path.absolute()), str(folder.absolute()), encode(wishes or Wishes())]
    told = _ask("view", path, asked, limit_s)
    return View(
        Path(told["path"]),
        told["source_sha256"],
        tuple(told["notes"]),
        tuple(map(Path, told["beside"])),
    )


def _ask(what: str, path: Path, arguments: list[Any], limit_s: float) -> Any:
    request = json.dumps([what, limit_s, os.getpid(), *arguments])
    try:
        done = subprocess.run(
            child.command(_COMMAND, request),
            env=child.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=None if watchdog.SIGNAL else limit_s,
            check=False,
        )
        late = watchdog.SIGNAL is not None and done.returncode == -watchdog.SIGNAL
    except subprocess.TimeoutExpired:
        late = True
    if late:
        raise ModelError(
            f"{path.name}: gave no answer to a random image within {limit_s:g} s; export it "
            "again, or allow more time where it is that slow"
        )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace")
        how = child.death("whoever tried to run it", done.returncode, said)
        raise ModelError(f"{path.name}: {how}; it may be damaged: export it again")
    told = json.loads(done.stdout.splitlines()[-1])
    if "told" in told:
        return told["told"]
    raise getattr(errors, told["error"])(told["reason"])


def main() -> None:
    """Print {"told": what was asked for} or {"error": its class, "reason": its text} as the last
    line."""
    what, limit_s, asked_by, path, *rest = json.loads(sys.argv[1])
    child.serve(asked_by)
    if what == "view":
        prepare()  # takes seconds, which are none of the model's
    watchdog.arm(limit_s)
    try:
        told = {"told": _view(Path(path), *rest) if what == "view" else _facts(Path(path), *rest)}
    except MemoryError:
        told = {"error": "ModelError", "reason": f"{Path(path).name}: too little memory to run it"}
    except TrimtabError as error:
        told = {"error": type(error).__name__, "reason": str(error)}
    print(json.dumps(told))


def _facts(path: Path, size: list[int] | None) -> Any:
    return encode(inspect_model(path, (size[0], size[1]) if size else None))


def _view(path: Path, folder: str, wishes: dict[str, Any]) -> Any:
    found = open_view(path, Path(folder), decode(Wishes, wishes))
    return {
        "path": str(found.path),
        "source_sha256": found.source_sha256,
        "notes": found.notes,
        "beside": list(map(str, found.beside)),
    }
