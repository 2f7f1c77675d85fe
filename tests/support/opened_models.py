"""Models that are opened, and what their views answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from exported_models import (
    save,
)
from onnx import ModelProto
from sample_models import (
    INPUT,
    activations,
    make_net,
    texture_images,
)

from trimtab.variants import (
    View,
    Wishes,
    inspect_model,
    make_variant,
    open_view,
)
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine
from trimtab_runtime.images.preprocess import Preprocessor

IMAGES, LABELS = texture_images(24, seed=3)
LOGITS = activations(make_net(), IMAGES)[3]


def opened(tmp_path: Path, model: ModelProto, **wishes: Any) -> View:
    source = save(tmp_path / "source.onnx", model)
    return open_view(source, tmp_path / "view", Wishes(**wishes))


def variant_of(
    view: View, input: Mapping[str, Any] = INPUT, output: Mapping[str, Any] | None = None
) -> Variant:
    size = input.get("size")
    pixels = (size, size) if isinstance(size, int) else size
    facts = inspect_model(view.path, pixels)
    return make_variant(view.path, facts, input, output or {}, "m")


def answers(path: Path, variant: Variant, images: Any = IMAGES) -> Any:
    engine = create_engine(str(path), variant, RuntimeOptions("onnxruntime"))
    return np.stack([engine.run(Preprocessor(i).tensor(variant.input)) for i in images])
