"""No probe outlives whoever asked for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import left_after

import trimtab_runtime
from trimtab_runtime.codec import encode
from trimtab_runtime.probe.requests import MeasureSettings

_ASKER = """
import json, sys
from pathlib import Path
from trimtab.profilers import LocalDevice
from trimtab_runtime.codec import decode
from trimtab_runtime.probe.requests import MeasureRequest

request = decode(MeasureRequest, json.loads(Path(sys.argv[1]).read_text()))
LocalDevice().probe(request, progress=lambda done, total: print(done, total, flush=True))
"""


def _probe_of(asker: subprocess.Popen[bytes]) -> psutil.Process:
    (probe,) = psutil.Process(asker.pid).children()
    assert "trimtab_runtime.probe" in probe.cmdline()
    return probe


@pytest.fixture
def asker(measuring: Any, tmp_path: Path) -> Any:
    """A process whose probe would measure for an hour, and has begun."""
    asked = measuring("small", settings=MeasureSettings(3600.0, 3600.0, max_rounds=10**9))
    (tmp_path / "asked.json").write_text(json.dumps(encode(asked)), encoding="utf-8")
    command = [sys.executable, "-c", _ASKER, str(tmp_path / "asked.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"0 1\n"
        yield process
        process.kill()


def test_a_probe_ends_when_its_asker_is_killed(asker: subprocess.Popen[bytes]) -> None:
    probe = _probe_of(asker)
    asker.kill()
    asker.wait()
    assert left_after([probe]) == []


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has /proc")
def test_memory_exhaustion_takes_the_probe_first(asker: subprocess.Popen[bytes]) -> None:
    probe = _probe_of(asker)
    assert Path(f"/proc/{probe.pid}/oom_score_adj").read_text().strip() == "1000"
    own = Path("/proc/self/oom_score_adj").read_text()
    assert Path(f"/proc/{asker.pid}/oom_score_adj").read_text() == own


@pytest.mark.parametrize("stdin", [subprocess.DEVNULL, subprocess.PIPE], ids=["null", "pipe"])
def test_by_hand_a_probe_does_not_care_for_its_input(stdin: int, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"kind": "fingerprint"}')
    command = [sys.executable, "-m", "trimtab_runtime.probe", "request.json", "result.json"]
    root = str(Path(trimtab_runtime.__file__).parent.parent)
    environment = {"PYTHONPATH": root}
    process = subprocess.Popen(command, cwd=tmp_path, stdin=stdin, env=environment)
    process.communicate(b"" if stdin == subprocess.PIPE else None)
    assert process.returncode == 0
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "ok"
