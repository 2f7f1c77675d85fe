"""Features of images, as the device computes them, and what each image took."""

from __future__ import annotations

import time
from typing import Any, Callable

import numpy as np

from trimtab_runtime.images.features import image_features
from trimtab_runtime.images.preprocess import Preprocessor, decode_image
from trimtab_runtime.probe.clock import pin
from trimtab_runtime.probe.requests import FeaturesRequest


def features(request: FeaturesRequest, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Write `features` (images, names) float32 to the request's file; samples `features_ms`, one
    an image, from the decoded image on. Raises EngineError without OpenCV, or WorkloadError."""
    pin(1)
    found = np.empty((len(request.images), len(request.names)), np.float32)
    times: list[float] = []
    for row, path in zip(found, request.images):
        image = decode_image(path)
        if not times:  # the first call imports and allocates
            image_features(Preprocessor(image).rgb(), request.names)
        start = time.perf_counter_ns()
        row[:] = image_features(Preprocessor(image).rgb(), request.names)
        times.append((time.perf_counter_ns() - start) / 1e6)
        progress(len(times), len(request.images))
    np.savez(request.output, features=found)
    return {"values": {}, "samples": {"features_ms": times}, "warnings": []}
