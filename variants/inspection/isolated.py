"""Looking at a model file in a process of its own.

To read a file is to run what is in it: it may never return, crash its engine, or take all memory,
and the job must outlive that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from trimtab.variants.files import watchdog
from trimtab.variants.inspection.facts import ModelFacts, inspect_model
from trimtab.variants.intake.view import View, Wishes, open_view, prepare
from trimtab_runtime import errors
from trimtab_runtime.codec import decode, encode
from trimtab_runtime.errors import ModelError, TrimtabError

_COMMAND = "from trimtab.variants.inspection.isolated import main; main()"
_KILLED = -9
_LOOK_S = 0.05


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
    return _seen(_ask("view", path, asked, limit_s))


def open_and_inspect_in_subprocess(
    path: Path | str, folder: Path, wishes: Wishes | None = None, limit_s: float = 120.0
) -> tuple[View, ModelFacts | None]:
    """Both of the above in one fresh process: a file's view, and what the view tells when it is
    run with the size of `wishes`. A view with weights beside it is not inspected."""
    path = Path(path)
    asked = [str(path.absolute()), str(folder.absolute()), encode(wishes or Wishes())]
    told = _ask("both", path, asked, limit_s)
    return _seen(told["view"]), decode(ModelFacts, told["facts"]) if told["facts"] else None


def _seen(told: dict[str, Any]) -> View:
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
            # -P: what lies in the working directory is not to be imported.
            [sys.executable, "-P", "-c", _COMMAND, request],
            env={**os.environ, "PYTHONPATH": _import_path()},
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
        raise ModelError(f"{path.name}: {_death(done)}; it may be damaged: export it again")
    told = json.loads(done.stdout.splitlines()[-1])
    if "told" in told:
        return told["told"]
    raise getattr(errors, told["error"])(told["reason"])


def _import_path() -> str:
    """This code first, then what was on the path anyway."""
    return os.pathsep.join(
        filter(None, [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH")])
    )


def _death(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode == _KILLED:
        return "whoever tried to run it was killed, most likely for taking all memory"
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
    return " ".join([f"whoever tried to run it died of {how}", *(f"({line})" for line in last)])


def main() -> None:
    """Print {"told": what was asked for} or {"error": its class, "reason": its text} as the last
    line."""
    with suppress(OSError):  # where memory runs out, Linux shall take this process, not the job
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    what, limit_s, asked_by, path, *rest = json.loads(sys.argv[1])
    if os.name == "posix":  # elsewhere a launcher may stand between
        threading.Thread(target=_end_with, args=(asked_by,), daemon=True).start()
    if what != "facts" and Path(path).suffix.lower() == ".onnx":
        prepare()  # takes seconds, which are none of the model's
    watchdog.arm(limit_s)
    try:
        told = {"told": _TASKS[what](Path(path), *rest)}
    except MemoryError:
        told = {"error": "ModelError", "reason": f"{Path(path).name}: too little memory to run it"}
    except TrimtabError as error:
        told = {"error": type(error).__name__, "reason": str(error)}
    print(json.dumps(told))


def _end_with(process: int) -> None:
    """Nobody waits for the answer once who asked is dead, and its folder is removed."""
    while os.getppid() == process:
        time.sleep(_LOOK_S)
    os._exit(1)


def _facts(path: Path, size: list[int] | None) -> Any:
    return encode(inspect_model(path, (size[0], size[1]) if size else None))


def _view(path: Path, folder: str, wishes: dict[str, Any]) -> Any:
    return _told(open_view(path, Path(folder), decode(Wishes, wishes)))


def _both(path: Path, folder: str, wishes: dict[str, Any]) -> Any:
    said = decode(Wishes, wishes)
    view = open_view(path, Path(folder), said)
    facts = None if view.beside else encode(inspect_model(view.path, said.size))
    return {"view": _told(view), "facts": facts}


def _told(found: View) -> dict[str, Any]:
    return {
        "path": str(found.path),
        "source_sha256": found.source_sha256,
        "notes": found.notes,
        "beside": list(map(str, found.beside)),
    }


_TASKS: dict[str, Callable[..., Any]] = {"facts": _facts, "view": _view, "both": _both}
