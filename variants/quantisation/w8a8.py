"""Static w8a8 quantisation of ONNX models: every layer that can be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trimtab.variants.files.base import Array
from trimtab.variants.files.writing import strip_notes, write_model
from trimtab.variants.quantisation.static import QuantisationRecipe, StaticQuantiser
from trimtab_runtime.definitions.plan import Variant


def quantise_w8a8(
    source: Path,
    variant: Variant,
    images: Sequence[Path | str | Array],
    out: Path,
    recipe: QuantisationRecipe | None = None,
    seed: int = 0,
) -> Path:
    """Quantise the float ONNX file `source` of `variant` into `out`.

    The same file, images, recipe and seed give the same bytes on the same version of onnxruntime.
    Raises what :class:`StaticQuantiser` raises, and ModelError where nothing could be quantised.
    """
    source, out = Path(source), Path(out)
    with StaticQuantiser(source, variant, images, recipe or QuantisationRecipe(), seed) as made:
        model = made.quantised()
    strip_notes(model)
    write_model(model, out)
    return out
