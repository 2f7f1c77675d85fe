"""Fitted scikit-learn estimators as one small ONNX file that a device runs beside a plan.

skl2onnx converts each estimator; what a router or scorer does before and after is drawn here, so
that the whole is one float32 graph, which onnxruntime runs in some microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.base import BaseEstimator, is_classifier

from trimtab_runtime.errors import ModelError

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

#: What the oldest onnxruntime of a bundle reads.
_OPSETS = {"": 17, "ai.onnx.ml": 3}
_IR = 8
#: Share of the inputs that were learned from on which the file must score as scikit-learn does:
#: at a split of a tree or between two neighbours float32 may fall on the other side.
_ALIKE, _TOLERANCE = 0.98, 1e-3

#: A tensor (1, columns) that an estimator makes.
Column = str


class Graph:
    """An ONNX graph that is drawn node by node; every method returns the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.domains = {"": _OPSETS[""]}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"n_{name}", **attributes))
        return name

    def constant(self, value: Any) -> str:
        """A constant tensor."""
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def largest(self, tensor: str, count: int, axis: int = 1) -> tuple[str, str]:
        """The `count` largest values along an axis, in order, and where they are."""
        name, wanted = f"topk_{len(self.nodes)}", self.constant(np.array([count], np.int64))
        outputs = [name, f"{name}_at"]
        self.nodes.append(helper.make_node("TopK", [tensor, wanted], outputs, axis=axis))
        return name, outputs[1]

    def cast(self, tensor: str) -> str:
        """As float32."""
        return self.op("Cast", tensor, to=TensorProto.FLOAT)

    def joined(self, columns: Sequence[Column]) -> str:
        """Columns side by side."""
        return columns[0] if len(columns) == 1 else self.op("Concat", *columns, axis=1)

    def clipped(self, tensor: str) -> str:
        """Limited to 0 to 1."""
        low, high = (self.constant(np.float32(limit)) for limit in (0, 1))
        return self.op("Clip", tensor, low, high)

    def estimator(self, model: BaseEstimator, features: str, width: int) -> Column:
        """What a fitted estimator says of `features` (1, width): a classifier the probability of
        its second class, a regressor its values. Raises ModelError where it does not convert."""
        from skl2onnx import to_onnx  # half a second, which most jobs do without

        options = {"zipmap": False} if is_classifier(model) else None
        sample = np.zeros((1, width), np.float32)
        try:
            made = to_onnx(model, sample, options=options, target_opset=_OPSETS)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            raise ModelError(f"{type(model).__name__} does not convert to ONNX: {error}") from None
        prefix = f"m{len(self.nodes)}_"
        inlined = onnx.compose.add_prefix(made, prefix).graph
        self.nodes.append(helper.make_node("Identity", [features], [inlined.input[0].name]))
        self.nodes += inlined.node
        self.weights += inlined.initializer
        for opset in made.opset_import:
            known = self.domains.get(opset.domain, 0)
            self.domains[opset.domain] = max(known, opset.version)
        said = str(inlined.output[-1].name)
        if not is_classifier(model):
            return said
        return self.op("Gather", said, self.constant(np.array([1])), axis=1)

    def file(
        self,
        reads: str,
        taken: Sequence[int],
        output: str,
        writes: str,
        shape: Sequence[int],
    ) -> bytes:
        """The file: float32 `reads` of a shape `taken` to float32 `writes` of another `shape`,
        which is the tensor `output`."""
        flat = self.constant(np.array(shape, np.int64))
        self.nodes.append(helper.make_node("Reshape", [output, flat], [writes]))
        kind = TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            "router",
            [helper.make_tensor_value_info(reads, kind, list(taken))],
            [helper.make_tensor_value_info(writes, kind, list(shape))],
            self.weights,
        )
        opsets = [helper.make_opsetid(domain, v) for domain, v in sorted(self.domains.items())]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))


class Runner:
    """Runs a router's or scorer's file as a device does: one input at a time, one thread."""

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._name = self._session.get_inputs()[0].name

    def __call__(self, rows: NDArray[Any]) -> Floats:
        """Outputs (n, ...) of inputs (n, ...)."""
        run, name = self._session.run, self._name
        exact = np.ascontiguousarray(rows, np.float32)
        found = [run(None, {name: exact[i : i + 1]})[0].reshape(-1) for i in range(len(exact))]
        return np.stack(found)


Finish = Callable[[Graph, Sequence[Column]], str]
Expected = Callable[[Doubles], Doubles]


def router_file(
    models: Sequence[BaseEstimator], features: Doubles, finish: Finish, expected: Expected
) -> bytes:
    """A router's file: estimators on the same "features" (1, n), and what `finish` makes of their
    columns: "scores" (1, stages). Checked on the `features` (inputs, n) that were learned from
    against what is `expected` there, (inputs, stages). Raises ModelError."""
    graph, width = Graph(), features.shape[1]
    columns = [graph.estimator(model, "features", width) for model in models]
    wanted, said = expected(features), finish(graph, columns)
    made = graph.file("features", (1, width), said, "scores", (1, wanted.shape[1]))
    check_file(made, features, wanted)
    return made


def check_file(made: bytes, inputs: NDArray[Any], wanted: Doubles) -> None:
    """Raises ModelError unless a file gives what is `wanted` of (nearly) all `inputs`."""
    found = Runner(made)(inputs)
    alike = (np.abs(found - wanted.reshape(found.shape)) <= _TOLERANCE).all(1).mean()
    if alike < _ALIKE:
        raise ModelError(
            f"the ONNX file gives what scikit-learn does on {alike:.0%} of the inputs it learned "
            f"from only; {_ALIKE:.0%} must hold"
        )
