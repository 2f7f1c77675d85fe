"""An onnxruntime model in segments, which may stop behind any of them.

Inputs and outputs are bound once to buffers of our own, so that a tensor goes from segment to
segment without a copy, and a vector is read where it was written. Of what onnxruntime offers this
costs least a segment (onnxruntime 1.31, one x86 core): 14 microseconds with a tiny network's work,
against 24 of `run`, which copies, and 97 of `run_with_ort_values`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from trimtab_runtime.definitions.exits import Exits
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines._onnx import load_session
from trimtab_runtime.engines.base import SegmentedEngine, told
from trimtab_runtime.engines.outputs import class_outputs
from trimtab_runtime.errors import InferenceError, ModelError

Array = Any


class _Segment:
    """A session and, from its first run on, the buffers that it reads and writes."""

    def __init__(self, name: str, session: Any, outputs: int, in_place: bool) -> None:
        inputs, found = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(found) < outputs:
            raise ModelError(
                f"{name}: one input and {outputs} output(s) needed, it has {len(inputs)} and "
                f"{len(found)}"
            )
        self._name, self._session, self._binding = name, session, session.io_binding()
        self._input, self._in_place = inputs[0].name, in_place
        self._names = [output.name for output in found[:outputs]]
        self._read: Optional[Array] = None
        self.written: list[Array] = []

    def run(self, tensor: Array) -> None:
        """Fill `written`."""
        try:
            if not self.written:
                self._bind_outputs(tensor)
            if tensor is not self._read or not self._in_place:  # a copy was bound
                self._binding.bind_cpu_input(self._input, tensor)
                self._read = tensor
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # onnxruntime's own errors share no public base class
            raise InferenceError(f"{self._name}: {told(error)}") from error

    def _bind_outputs(self, tensor: Array) -> None:
        from onnxruntime import OrtValue

        made = [np.array(a) for a in self._session.run(self._names, {self._input: tensor})]
        for name, array in zip(self._names, made):
            self._binding.bind_ortvalue_output(name, OrtValue.ortvalue_from_numpy(array))
        self.written = made


class OnnxSegments(SegmentedEngine):
    """Sessions of one model, one a segment."""

    def __init__(self, variant: Variant, segments: Sequence[_Segment]) -> None:
        super().__init__(variant)
        self._segments, self._next = list(segments), 0
        self._tensor: Array = None

    def start(self, tensor: Array) -> None:
        self._tensor, self._next = tensor, 0

    def tap(self) -> tuple[Array, Optional[Array]]:
        _, vector, *logits = self._step()
        return vector.reshape(-1), logits[0].reshape(-1) if logits else None

    def finish(self) -> Array:
        while self._next < len(self._segments):
            written = self._step()
        return class_outputs(written[0].copy(), self.variant.output)

    def _step(self) -> list[Array]:
        segment = self._segments[self._next]
        segment.run(self._tensor)
        self._tensor, self._next = segment.written[0], self._next + 1
        return segment.written


def create(
    paths: Sequence[str], variant: Variant, exits: Exits, options: RuntimeOptions
) -> OnnxSegments:
    if len(paths) != len(exits.segments):
        raise ModelError(
            f"{variant.name}: {len(exits.segments)} segments needed, got {len(paths)} files"
        )
    in_place = options.provider in ("default", "CPUExecutionProvider")
    counts = [3 if "heads" in tap.kinds else 2 for tap in exits.taps]
    found = []
    for number, (path, outputs) in enumerate(zip(paths, [*counts, 1])):
        name = f"{variant.name}, segment {number}"
        found.append(_Segment(name, load_session(path, name, options), outputs, in_place))
    return OnnxSegments(variant, found)
