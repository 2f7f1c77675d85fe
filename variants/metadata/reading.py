"""All that describes a model: its file, what its module told, and the files beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.variants.metadata.class_files import read_class_files
from trimtab.variants.metadata.description import Description, parsed
from trimtab.variants.metadata.hugging_face import read_model_config, read_processor
from trimtab.variants.metadata.keys import read_keys
from trimtab.variants.metadata.module_file import read_module_file
from trimtab.variants.metadata.tflite import read_tflite
from trimtab.variants.metadata.timm import read_pretrained_config

_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_CONFIG = "config.json"
#: Hugging Face's exporters put the model into a folder of this name, below its configurations.
_BELOW = "onnx"
_MOST_BYTES = 2**24


@dataclass(frozen=True)
class ModelDescription:
    """What describes a model, the strongest `sources` first: the file itself before files beside
    it. `leaves_size_open` says whether the file takes images of several sizes."""

    sources: tuple[Description, ...] = ()
    leaves_size_open: bool = False

    @property
    def size(self) -> tuple[int, int] | None:
        """The (height, width) that closes what the file leaves open."""
        sizes = (source.input["size"] for source in self.sources if "size" in source.input)
        return next(sizes, None) if self.leaves_size_open else None

    @property
    def size_source(self) -> str:
        """Where `size` is from; '' where there is none."""
        sources = (source.source for source in self.sources if "size" in source.input)
        return next(sources, "") if self.leaves_size_open else ""

    @property
    def size_note(self) -> str:
        """What is told of `size`; '' where there is none."""
        if self.size is None:
            return ""
        told = "x".join(map(str, self.size))
        return f"its size, which the file leaves open, is read from {self.size_source}: {told}"

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(text for source in self.sources for text in source.problems)


def describe_model(path: Path) -> ModelDescription:
    """Read what describes the model file at `path`.

    What is there and cannot be read is told among the problems; a model file that cannot be read
    describes nothing: whoever opens it says why.
    """
    opened: tuple[list[Description], bool] = ([], False)
    if path.suffix.lower() == ".onnx":
        opened = _of_onnx(path)
    elif path.suffix.lower() == ".tflite" and path.is_file():
        opened = list(read_tflite(path)), False
    found = [*opened[0], *read_module_file(path), *_beside(path)]
    return ModelDescription(tuple(each for each in found if not each.empty), opened[1])


def _of_onnx(path: Path) -> tuple[list[Description], bool]:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError):
        return [], False
    weights = {tensor.name for tensor in model.graph.initializer}
    images = [value for value in model.graph.input if value.name not in weights]
    sides = [side.dim_value for value in images for side in value.type.tensor_type.shape.dim[1:]]
    properties = {entry.key: entry.value for entry in model.metadata_props}
    nested = parsed(properties.pop("pretrained_cfg", None))
    found = [read_keys(properties, "the file's metadata")]
    if isinstance(nested, dict):
        source = "the file's metadata (pretrained_cfg)"
        found.insert(0, read_pretrained_config(nested, source))
    return found, not sides or 0 in sides


def _beside(path: Path) -> Iterator[Description]:
    folders = [path.parent]
    if path.parent.name == _BELOW:
        folders.append(path.parent.parent)
    for name in (*_PROCESSORS, _CONFIG):
        file = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if file is not None:
            yield from _of_config(file)
    classes = (read_class_files(folder / path.name) for folder in folders)
    yield from [found for found in classes if found is not None][:1]


def _of_config(file: Path) -> Iterator[Description]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError("too large for a configuration")
        config: Any = json.loads(file.read_text("utf-8-sig"))
        if not isinstance(config, dict):
            raise ValueError(f"it holds a {type(config).__name__}, no fields")
    except (OSError, ValueError, RecursionError) as error:
        yield Description(file.name, problems=(f"{file.name}: cannot be read ({error})",))
        return
    inner = config.get("image_processor")
    if file.name in _PROCESSORS and "pretrained_cfg" not in config:
        yield read_processor(inner if isinstance(inner, dict) else config, file.name)
        return
    pretrained = config.get("pretrained_cfg")
    if isinstance(pretrained, Mapping):
        source = f"{file.name} (pretrained_cfg)"
        yield read_pretrained_config(pretrained, source, config.get("label_names"))
        return
    yield read_model_config(config, file.name)
