"""The layer profile of a variant of the store, measured where its measurement was made."""

from __future__ import annotations

import tempfile
from pathlib import Path

from db import MeasurementRecord, Store
from planner.layers import LayerProfile, profile_layers
from planner.views import printable
from profilers import connect
from profilers.device import device_key, machine_key
from trimtab_runtime.codec import decode
from trimtab_runtime.definition import RuntimeOptions
from trimtab_runtime.errors import PlanningError


def why_no_layers(store: Store, record: MeasurementRecord) -> str | None:
    """Why the layers of a measured variant cannot be measured now; None where they can."""
    variant = store.get_variant(record.variant_key)
    device = store.get_device(record.device_key)
    if variant is None or device is None or variant.artefact_sha256 is None:
        return "its file is not in the store"
    if variant.format != "onnx":
        return f"it is a {variant.format} file, and only onnxruntime tells the times of operators"
    local = connect("local")
    fingerprint = local.fingerprint()
    if device_key(fingerprint) != record.device_key:
        return f"it was measured on another device ({printable(device.address)}); ask there"
    lease = store.lease_holder(machine_key(fingerprint, local.machine()))
    if lease is not None:
        return f"{printable(lease.holder)} is measuring on this device; wait until it is done"
    return None


def layers_of(store: Store, record: MeasurementRecord) -> LayerProfile:
    """Measure them, with the options of the measurement. Raises PlanningError where that cannot
    be done now, EngineError, ModelError or DeviceError."""
    why = why_no_layers(store, record)
    variant = store.get_variant(record.variant_key)
    if why is not None or variant is None or variant.artefact_sha256 is None:
        raise PlanningError(why or "the variant is not in the store")
    size = variant.io["input"].get("size")
    with tempfile.TemporaryDirectory(prefix="trimtab-layers-") as folder:
        model = Path(folder) / "model.onnx"
        model.symlink_to(store.artefacts.path(variant.artefact_sha256))
        options = decode(RuntimeOptions, record.options)
        return profile_layers(connect("local"), model, options, size=tuple(size) if size else None)
