"""Files that hang, crash or starve whoever runs them are looked at in a process of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from bad_models import endless_model, greedy_model, nan_model, write_model
from processes import only_does
from sample_models import onnx_model, write_onnx
from sample_tflite import write_tflite

from trimtab.variants import inspect_in_subprocess, inspect_model
from trimtab_runtime.errors import ModelError


def test_it_tells_what_reading_here_tells(tmp_path: Path) -> None:
    for path in (
        write_onnx(tmp_path / "a.onnx", 2),
        write_tflite(tmp_path / "b.tflite", 4, quantised=True),
    ):
        assert inspect_in_subprocess(path) == inspect_model(path)
    opened = write_onnx(tmp_path / "open.onnx", 2, size="side")
    assert inspect_in_subprocess(opened, (48, 32)) == inspect_model(opened, (48, 32))
    assert inspect_in_subprocess(opened, (48, 32)).tried_size == (48, 32)
    assert inspect_in_subprocess(opened).tried_size is None


def test_a_refusal_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes(onnx_model(2).SerializeToString()[:150])
    for read in (inspect_model, inspect_in_subprocess):
        with pytest.raises(ModelError, match=r"half\.onnx: damaged or no ONNX file"):
            read(path)


def test_an_inference_that_never_returns_is_ended(tmp_path: Path) -> None:
    path = write_model(endless_model(), tmp_path / "endless.onnx")
    with pytest.raises(ModelError, match=r"endless\.onnx: gave no answer within 4 s; export"):
        inspect_in_subprocess(path, limit_s=4)


def test_too_little_memory_is_told_as_such(tmp_path: Path) -> None:
    path = write_model(greedy_model(), tmp_path / "greedy.onnx")
    with pytest.raises(ModelError, match=r"greedy\.onnx: .*too little memory; take a smaller"):
        inspect_in_subprocess(path)


def test_nan_on_noise_is_told(tmp_path: Path) -> None:
    path = write_model(nan_model(above=0.9), tmp_path / "nan.onnx")
    with pytest.raises(ModelError, match=r"nan\.onnx: answers a random image with NaN"):
        inspect_in_subprocess(path)


@pytest.mark.parametrize(
    ("number", "told"),
    [(signal.SIGKILL, "killed, most likely for taking all memory"), (signal.SIGSEGV, "signal 11")],
)
def test_a_crash_is_the_files_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, told: str
) -> None:
    path = write_onnx(tmp_path / "crash.onnx", 2)
    # No harmless file makes an engine crash: the process ends itself instead.
    only_does(f"kill -{number.value} $$", tmp_path, monkeypatch)
    with pytest.raises(ModelError, match=rf"crash\.onnx: .*{told}.*export it again"):
        inspect_in_subprocess(path)


def test_the_working_directory_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit(7)")
    write_onnx(tmp_path / "a.onnx", 2)
    monkeypatch.chdir(tmp_path)
    assert inspect_in_subprocess(Path("a.onnx")).output_width == 4
    assert os.getcwd() == str(tmp_path)
