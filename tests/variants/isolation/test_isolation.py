"""Whatever a step over a model does, it is that step's failure, and the next goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import isolated_tasks
import psutil
import pytest
from processes import PATIENCE_S, left_after

from trimtab.variants.isolation import Limits, call, end_idle, memory_for
from trimtab_runtime.errors import BundleError, ModelError
from trimtab_runtime.processes import AwakeClock


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes that can import these steps, and no others."""
    monkeypatch.setenv("PYTHONPATH", str(Path(isolated_tasks.__file__).parent))
    end_idle()
    yield
    end_idle()


def test_one_process_serves_call_after_call_and_asks_back() -> None:
    def answer(asked: Any) -> Any:
        return asked["again"] + 1

    first, process = call(isolated_tasks.asking, "a", 1, answering=answer)
    second, same = call(isolated_tasks.asking, "a", 2, answering=answer)
    assert (first, second, process) == (2, 3, same)
    assert process != os.getpid()
    end_idle()
    _, other = call(isolated_tasks.asking, "a", 2, answering=answer)
    assert other != process


def test_what_a_model_prints_and_reads_is_not_ours() -> None:
    assert call(isolated_tasks.printing, "a", None) == ""


def test_a_refusal_is_raised_as_it_was() -> None:
    with pytest.raises(BundleError, match=r"^as it says$"):
        call(isolated_tasks.refusing, "a", None)


@pytest.mark.parametrize(
    ("task", "request_", "told", "step_s"),
    [
        (isolated_tasks.recursing, None, "RecursionError: .*recursion.*foresee", PATIENCE_S),
        (isolated_tasks.greedy, 2**31, "too little memory", PATIENCE_S),
        (isolated_tasks.ending, 3, "died of status 3", PATIENCE_S),
        (isolated_tasks.endless, None, "gave no answer within 0.5 s", 0.5),
    ],
)
def test_harm_is_the_models(
    task: Callable[..., Any], request_: Any, told: str, step_s: float
) -> None:
    limits = Limits(step_s, memory_bytes=2**30)
    with pytest.raises(ModelError, match=f"^name: .*{told}"):
        call(task, "name", request_, limits)
    assert call(isolated_tasks.printing, "name", None) == ""


def test_each_step_has_the_whole_time() -> None:
    limits = Limits(step_s=PATIENCE_S)
    assert call(isolated_tasks.stepping, "a", 20.0, limits) > 20.0


def test_a_process_that_is_stopped_ends_with_what_it_has_started(tmp_path: Path) -> None:
    file, held = tmp_path / "child", list[psutil.Process]()

    def see() -> None:
        if file.exists() and not held:
            held.append(psutil.Process(int(file.read_text())))

    with pytest.raises(ModelError, match=r"^name: gave no answer within 3 s"):
        call(isolated_tasks.stopping, "name", str(file), Limits(step_s=3), waiting=see)
    assert len(held) == 1
    assert left_after(held) == []


def test_a_stopped_process_is_sent_what_it_does_not_take() -> None:
    """More than its pipe holds."""
    _, process = call(isolated_tasks.asking, "a", 1, answering=lambda asked: 1)
    worker = psutil.Process(process)
    worker.suspend()

    def resume() -> None:
        worker.resume()

    told, _ = call(
        isolated_tasks.asking, "a", "x" * 2**20, answering=lambda asked: 2, waiting=resume
    )
    assert told == 2


def test_a_process_that_died_while_idle_is_nobodys_failure() -> None:
    _, process = call(isolated_tasks.asking, "a", 1, answering=lambda asked: 1)
    worker = psutil.Process(process)
    worker.kill()
    assert left_after([worker]) == []
    assert call(isolated_tasks.printing, "a", None) == ""


def test_time_while_this_process_is_stopped_counts_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([100.0, 100.0, 101.0, 5000.0, 5001.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    clock = AwakeClock()
    assert [clock() for _ in range(4)] == [0.0, 1.0, 6.0, 7.0]


def test_who_waits_is_told(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    call(isolated_tasks.until_there, "a", str(seen), waiting=seen.touch)
    assert seen.exists()


def test_who_waits_may_end_it(tmp_path: Path) -> None:
    begun = tmp_path / "process"

    def stop() -> None:
        if begun.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(isolated_tasks.endless, "a", str(begun), waiting=stop)
    assert not psutil.pid_exists(int(begun.read_text()))


def test_memory_follows_the_weights_beside_a_file(tmp_path: Path) -> None:
    model = tmp_path / "a.onnx"
    model.write_bytes(b"x" * 1000)
    alone = memory_for(model)
    (tmp_path / "a.data").write_bytes(b"x" * 5000)
    (tmp_path / "b.png").write_bytes(b"x" * 5000)
    (tmp_path / "b.onnx").write_bytes(b"x" * 5000)
    assert (memory_for(model) - alone, alone - 4 * 2**30) == (8 * 5000, 8 * 1000)
