"""Sessions that run on noise: onnxruntime's, bound so that a run copies nothing, and LiteRT's."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, Callable, Optional, Union

import numpy as np

from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.engines._litert import open_interpreter
from trimtab_runtime.engines._onnx import load_session
from trimtab_runtime.engines.base import told
from trimtab_runtime.errors import EngineError, InferenceError, ModelError

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


class NoiseSession:
    """A session whose inputs are filled with noise: normal where they are real, else 0..127.

    An open first dimension becomes 1; other open sides of an image become `size` (height, width).
    Raises EngineError, or ModelError where the file cannot be loaded or its input is not known.
    """

    def __init__(
        self,
        path: str,
        options: RuntimeOptions,
        seed: int,
        size: Optional[tuple[int, int]] = None,
        profile: Optional[str] = None,
    ) -> None:
        self.name = os.path.basename(path)
        if options.engine != "onnxruntime":
            raise EngineError(
                f"{self.name}: times within a network are told by onnxruntime alone, of ONNX "
                f"files; {options.engine} has no profiler that Python reaches"
            )
        self._session = load_session(path, self.name, options, profile)
        self._binding = self._session.io_binding()
        generator = np.random.default_rng(seed)
        self._inputs: list[tuple[Any, Any]] = []
        for wanted in self._session.get_inputs():
            values = _noise(self.name, wanted, size, generator)
            self._inputs.append((values.copy(), values))
            self._binding.bind_cpu_input(wanted.name, self._inputs[-1][0])
        #: What the last run wrote, by name. Only these arrays own the memory that is bound.
        self.outputs: dict[str, np.ndarray[Any, Any]] = {}
        #: How often it ran, the run that told the shapes of its outputs included.
        self.runs = 1
        self._bind_outputs()

    def run_ms(self) -> float:
        """Milliseconds of one run. What it reads was written just before, as in a network."""
        self.runs += 1
        for place, values in self._inputs:
            np.copyto(place, values)
        try:
            start = time.perf_counter_ns()
            self._session.run_with_iobinding(self._binding)
            return (time.perf_counter_ns() - start) / 1e6
        except Exception as error:  # onnxruntime's own errors share no public base class
            raise InferenceError(f"{self.name}: {told(error)}") from error

    def end_profile(self) -> str:
        """The path of the file that was profiled into; no run is profiled any more."""
        return str(self._session.end_profiling())

    def _bind_outputs(self) -> None:
        """To memory of ours: made anew in every run, it would count page faults."""
        from onnxruntime import OrtValue

        names = [output.name for output in self._session.get_outputs()]
        wanted = [each.name for each in self._session.get_inputs()]
        feeds = {name: values for name, (_, values) in zip(wanted, self._inputs)}
        try:
            for name, made in zip(names, self._session.run(names, feeds)):
                self.outputs[name] = np.array(made)
                value = OrtValue.ortvalue_from_numpy(self.outputs[name])
                self._binding.bind_ortvalue_output(name, value)
        except Exception as error:  # as above
            raise InferenceError(f"{self.name}: {told(error)}") from error


class LiteRTNoiseSession:
    """A LiteRT interpreter whose inputs are filled with noise, as NoiseSession's are. Raises
    EngineError, or ModelError where the file cannot be loaded."""

    def __init__(self, path: str, options: RuntimeOptions, seed: int) -> None:
        self.name = os.path.basename(path)
        self._interpreter = open_interpreter(path, self.name, options)
        generator = np.random.default_rng(seed)
        self._inputs: list[tuple[int, Any]] = []
        for wanted in self._interpreter.get_input_details():
            shape, dtype = wanted["shape"], np.dtype(wanted["dtype"])
            self._inputs.append((wanted["index"], _values(shape, dtype, generator)))

    def run_ms(self) -> float:
        """Milliseconds of one run. What it reads was written just before, as in a network."""
        try:
            for index, values in self._inputs:
                self._interpreter.set_tensor(index, values)
            start = time.perf_counter_ns()
            self._interpreter.invoke()
            return (time.perf_counter_ns() - start) / 1e6
        except (ValueError, RuntimeError) as error:
            raise InferenceError(f"{self.name}: {told(error)}") from error


def noise_session(
    path: str, options: RuntimeOptions, seed: int
) -> Union[NoiseSession, LiteRTNoiseSession]:
    """A session of the engine that the options name, for a file of fixed input shapes."""
    if options.engine == "litert":
        return LiteRTNoiseSession(path, options, seed)
    return NoiseSession(path, options, seed)


def _values(
    shape: Sequence[int], dtype: np.dtype[Any], generator: np.random.Generator
) -> np.ndarray[Any, Any]:
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 128, shape).astype(dtype)


def _noise(
    name: str, wanted: Any, size: Optional[tuple[int, int]], generator: np.random.Generator
) -> np.ndarray[Any, Any]:
    if wanted.type not in _DTYPES:
        raise ModelError(
            f"{name}: its input {wanted.name!r} is of type {wanted.type}; it must be one of "
            f"{', '.join(_DTYPES)}"
        )
    return _values(_fixed(name, wanted, size), np.dtype(_DTYPES[wanted.type]), generator)


def _fixed(name: str, wanted: Any, size: Optional[tuple[int, int]]) -> list[int]:
    """The input's shape without open dimensions."""
    told_shape = [side if isinstance(side, int) and side > 0 else None for side in wanted.shape]
    found = [1, *told_shape[1:]] if told_shape and told_shape[0] is None else list(told_shape)
    if size is not None and len(found) == 4:
        last = found[3] in (1, 3) and found[1] not in (1, 3)
        for axis, side in zip((1, 2) if last else (2, 3), size):
            found[axis] = side if found[axis] is None else found[axis]
    fixed = [side for side in found if side is not None]
    if len(fixed) < len(found):
        shape = ", ".join("?" if side is None else str(side) for side in told_shape)
        raise ModelError(
            f"{name}: its input {wanted.name!r} leaves its shape open ({shape}); name the height "
            "and width of an image, or export it with a fixed shape"
        )
    return fixed


def warm_up(run_ms: Callable[[], float], least_s: float, alive: Callable[[], None]) -> None:
    """Run until two windows of ten agree within 5 %, at most ten times `least_s`."""
    begin, times = time.perf_counter(), [run_ms()]
    while True:
        alive()
        elapsed = time.perf_counter() - begin
        last, before = np.median(times[-10:]), np.median(times[-20:-10] or [0.0])
        steady = len(times) > 20 and abs(last - before) <= 0.05 * before
        if elapsed >= least_s and (steady or elapsed >= 10 * least_s):
            return
        times.append(run_ms())
