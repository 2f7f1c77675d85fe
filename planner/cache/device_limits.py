"""What the engine of a device does not know yet of ONNX, where it is older than the one here."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from trimtab.profilers import Device
from trimtab.profilers.device import DeviceLost
from trimtab.variants import NewestVersions, newest_versions
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.errors import DeviceError, EngineError, InferenceError, ModelError
from trimtab_runtime.probe.requests import LayersRequest


def device_limit(
    device: Device,
    version: str,
    path: Path,
    size: tuple[int, int] | None,
    known: NewestVersions | None,
) -> NewestVersions | None:
    """The versions that a device's onnxruntime, which is of a `version`, takes, found by one run
    of the file at `path` there; None where it takes the file, where what happens is not about
    versions (which is told when it is measured), and where its onnxruntime is the one here.

    `known` is what it told before. Raises ModelError with both versions where the file was lowered
    to those and is refused again, and DeviceLost.
    """
    if version == onnxruntime.__version__:
        return None
    options = RuntimeOptions("onnxruntime")
    try:
        device.probe(LayersRequest(device.put(path), options, "", runs=1, size=size))
        return None
    except DeviceLost:
        raise
    except DeviceError:  # it died of the file, or a recording of it knows nothing of this
        return None
    except (EngineError, InferenceError, ModelError) as error:
        engine = f"the device's onnxruntime {version}"
        found = newest_versions(str(error), engine)
        if found is None:
            return None
        before = known or NewestVersions(engine)
        merged = NewestVersions(
            engine, found.ir_version or before.ir_version, found.opset or before.opset
        )
        if merged == known:
            raise ModelError(
                f"{path.name}: onnxruntime {onnxruntime.__version__} runs it, {engine} does not, "
                f"even lowered: {error}"
            ) from error
        return merged
