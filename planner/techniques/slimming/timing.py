"""The time saved by replacing regions of a network, measured on the device."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trimtab.db import MeasurementRecord
from trimtab.planner.cache.keys import race_content, race_key
from trimtab.planner.cache.measurements import ATTEMPTS, steadiest
from trimtab.planner.cache.variants import StoredVariant
from trimtab.planner.jobs.context import JobContext
from trimtab.profilers.device import device_key
from trimtab.variants.slimming import Network, Proposal, extract
from trimtab_runtime.codec import encode
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.probe.requests import RaceRequest

if TYPE_CHECKING:
    import onnx


_ROUNDS = 48


def measured_savings(
    job: JobContext,
    member: StoredVariant,
    network: Network,
    proposals: Sequence[Proposal],
    threads: int,
) -> tuple[float, list[float]]:
    """Milliseconds of the whole network, and what each proposal saves of it.

    Regions, blocks and the whole network take turns in one process; of those that compute the
    same with other weights one is timed. A saving is the median over rounds of what a region took
    longer than the block in the same round. Raises DeviceError, or the probe's own error.
    """
    models = [network.model]
    for proposal in proposals:
        models += [extract(network, proposal.region), proposal.block]
    keys = [_shape_key(model) for model in models]
    different = dict(zip(keys, models, strict=True))
    samples = _raced(job, member, different, threads)
    whole, *rest = (samples[key] for key in keys)
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return float(np.median(whole)), [float(np.median(old - new)) for old, new in pairs]


def _raced(
    job: JobContext, member: StoredVariant, models: Mapping[str, onnx.ModelProto], threads: int
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds (rounds,) of every model, measured once or found in the store."""
    options = RuntimeOptions("onnxruntime", "default", threads)
    content = race_content(models, _ROUNDS)
    key = race_key(job.fingerprint, options, content)
    found = job.store.get_measurement(key)
    if found is None or found.state != "ok":
        with tempfile.TemporaryDirectory(prefix="trimtab-race-") as folder:
            files = [_written(Path(folder) / f"{name}.onnx", m) for name, m in models.items()]
            put = job.device.put
            request = RaceRequest(tuple(put(path) for path in files), options, _ROUNDS)
            result = steadiest(job.device, request, ATTEMPTS, job.journal)
        found = job.store.put_measurement(
            MeasurementRecord(
                key,
                device_key(job.fingerprint),
                member.key,
                encode(options),
                content,
                values=dict(result.values),
                samples={name: list(values) for name, values in result.samples.items()},
                warnings=result.warnings,
            )
        )
    return {name: np.array(found.samples[f"{n}_ms"]) for n, name in enumerate(models)}


def _written(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def _shape_key(model: onnx.ModelProto) -> str:
    """sha256 of what a model computes, whatever its tensors are called and its weights are."""
    import onnx

    graph = model.graph
    numbers: dict[str, int] = {}

    def number(name: str) -> str:
        return str(numbers.setdefault(name, len(numbers))) if name else ""

    bare = onnx.ModelProto()
    bare.opset_import.extend(model.opset_import)
    bare.graph.input.extend(graph.input)
    for value in bare.graph.input:
        value.name = number(value.name)
    for node in graph.node:
        copy = bare.graph.node.add()
        copy.CopyFrom(node)
        copy.name = ""
        for names in (copy.input, copy.output):
            names[:] = [number(name) for name in names]
    for tensor in sorted(graph.initializer, key=lambda t: numbers.get(t.name, -1)):
        said = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims)
        if tensor.data_type != onnx.TensorProto.FLOAT:  # sizes and axes, which are no weights
            said.CopyFrom(tensor)
        said.name = number(tensor.name)
        bare.graph.initializer.append(said)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()
