"""onnxruntime with any of its execution providers."""

from __future__ import annotations

import os
from typing import Any, Optional, Union

import numpy as np

from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines.base import Engine, one_input_one_output, told
from trimtab_runtime.engines.outputs import class_outputs
from trimtab_runtime.errors import EngineError, InferenceError, ModelError


def _onnxruntime() -> Any:
    # Read once, at the import: official builds else send events home from a thread of their own,
    # beside what is measured, and leave a file in the temp folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError:
        raise EngineError("onnxruntime is missing: pip install onnxruntime") from None
    return onnxruntime


def version() -> str:
    return str(_onnxruntime().__version__)


def providers() -> list[str]:
    """Execution providers that this build of onnxruntime offers."""
    return [str(name) for name in _onnxruntime().get_available_providers()]


#: Of every build, and not a way to compute here: the second sends inputs to a remote service.
_EVERYWHERE = ("CPUExecutionProvider", "AzureExecutionProvider")
#: What a provider that has threads of its own calls their number.
_OWN_THREADS = {
    "OpenVINOExecutionProvider": "num_of_threads",
    "XnnpackExecutionProvider": "intra_op_num_threads",
}


def accelerators() -> list[str]:
    """Execution providers beyond those that every build has."""
    return [name for name in providers() if name not in _EVERYWHERE]


def session_options(options: RuntimeOptions) -> Any:
    """onnxruntime's SessionOptions for our options."""
    ort = _onnxruntime()
    found = ort.SessionOptions()
    found.intra_op_num_threads = options.threads
    found.inter_op_num_threads = 1
    found.log_severity_level = 3
    found.graph_optimization_level = {
        "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
        "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }[options.graph_optimisation]
    found.add_session_config_entry(
        "session.intra_op.allow_spinning", "1" if options.spinning else "0"
    )
    return found


class OnnxEngine(Engine):
    """An onnxruntime session."""

    def __init__(self, variant: Variant, session: Any) -> None:
        super().__init__(variant)
        one_input_one_output(variant.name, len(session.get_inputs()), len(session.get_outputs()))
        self._session = session
        self._input = session.get_inputs()[0].name

    def run(self, tensor: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        try:
            (raw,) = self._session.run(None, {self._input: tensor})
        except Exception as error:  # onnxruntime's own errors share no public base class
            raise InferenceError(f"{self.variant.name}: {told(error)}") from error
        return class_outputs(raw, self.variant.output)


def load_session(
    path: str, name: str, options: RuntimeOptions, profile: Optional[str] = None
) -> Any:
    """An InferenceSession of the file at `path`, which errors call `name`. `profile` is what the
    name of a file begins with that gets the times of its nodes."""
    ort = _onnxruntime()
    wanted = "CPUExecutionProvider" if options.provider == "default" else options.provider
    if wanted not in providers():
        raise EngineError(f"onnxruntime has no {wanted} here, only {', '.join(providers())}")
    settings = session_options(options)
    if profile is not None:
        settings.enable_profiling, settings.profile_file_prefix = True, profile
    try:
        session = ort.InferenceSession(path, settings, providers=_chosen(wanted, options.threads))
    except Exception as error:  # onnxruntime's own errors share no public base class
        raise ModelError(f"{name}: onnxruntime cannot load it ({told(error)})") from error
    if wanted not in session.get_providers():  # it says so on standard error, and goes on without
        raise EngineError(
            f"onnxruntime was built with {wanted} but cannot start it here (a missing driver or "
            "library?); see what it says on standard error"
        )
    return session


def _chosen(wanted: str, threads: int) -> list[Union[str, tuple[str, dict[str, str]]]]:
    """The provider, and the CPU for operators that it does not have."""
    said = {_OWN_THREADS[wanted]: str(threads)} if wanted in _OWN_THREADS else {}
    first = (wanted, said) if said else wanted
    return [first] if wanted == "CPUExecutionProvider" else [first, "CPUExecutionProvider"]


def create(path: str, variant: Variant, options: RuntimeOptions) -> OnnxEngine:
    return OnnxEngine(variant, load_session(path, variant.name, options))
