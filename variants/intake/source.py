"""Reading an ONNX file whole: what it is, and the weights that it keeps in files beside."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.variants.files.base import first_line
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

#: A protobuf message holds less than 2 GB; some is left for the graph itself.
LIMIT_BYTES = 2**31 - 2**26


_CHECKPOINTS = (".pt", ".pth", ".th", ".ckpt", ".safetensors")
_POINTER = b"version https://git-lfs.github.com/"
_SUFFIXES = (".onnx", ".tflite")


def check_file(path: Path) -> None:
    """Raises ModelError where no model file can be read at a path."""
    suffix = path.suffix.lower()
    if suffix in _CHECKPOINTS:
        raise ModelError(
            f"{path.name}: a {suffix} file holds weights, no model; name the class that uses them "
            "(package.module:Class) and give this file as its state dict"
        )
    if suffix not in _SUFFIXES:
        raise ModelError(f"{path.name}: a model file must end in .onnx or .tflite")
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file")
    try:
        with path.open("rb") as stream:
            start = stream.read(len(_POINTER))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    if not start:
        raise ModelError(f"{path}: the file is empty; export or copy it again")
    if start == _POINTER:
        raise ModelError(
            f"{path.name}: a pointer of Git LFS stands where the model should be; fetch it: "
            "git lfs pull"
        )


def read_model(path: Path) -> ir.Model:
    """The model, with weights that lie in files beside it mapped, not read.

    Raises ModelError when it is damaged, and when a file of weights is missing, too short or
    lies outside of the model's folder.
    """
    import onnx
    import onnx_ir as ir

    try:
        proto = onnx.load(str(path), load_external_data=False)
        scores_of_zipmaps(proto.graph)
        model = ir.from_proto(proto)
    except Exception as error:  # onnx_ir passes on what protobuf, onnx and Python raise
        raise ModelError(
            f"{path.name}: damaged or no ONNX file ({first_line(error)}); export or copy it again"
        ) from error
    rebase(model, path.parent)
    if not len(model.graph):
        raise ModelError(f"{path.name}: holds no ONNX graph; export or copy it again")
    for tensor in _external(model):
        _check_beside(path, tensor)
    return model


def scores_of_zipmaps(graph: onnx.GraphProto) -> None:
    """Where a ZipMap makes dictionaries of an output's scores, the scores are the output instead.
    In place."""
    import onnx

    maps = {
        node.output[0]: node
        for node in graph.node
        if (node.domain, node.op_type) == ("ai.onnx.ml", "ZipMap")
    }
    for value in graph.output:
        node = maps.get(value.name)
        if node is not None:
            scores = onnx.helper.make_tensor_value_info(
                node.input[0], onnx.TensorProto.FLOAT, None
            )
            value.CopyFrom(scores)
            graph.node.remove(node)


def bring_beside(
    model: ir.Model, source: Path, files: Sequence[Path], folder: Path
) -> tuple[Path, ...]:
    """Copies in `folder` of the files of weights beside `source`, which the model then reads: what
    are links there (as in the caches of hubs) are files here."""
    found = []
    for file in files:
        place = folder / file.relative_to(source.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
        found.append(place)
    rebase(model, folder)
    return tuple(found)


def rebase(model: ir.Model, folder: Path) -> None:
    """Files beside lie in `folder`."""
    import onnx_ir as ir

    for graph in [*model.graphs(), *(function.graph for function in model.functions.values())]:
        ir.external_data.set_base_dir(graph, folder)


def external_files(path: Path, model: ir.Model) -> list[Path]:
    """The files beside the model that hold weights, by name."""
    names = {str(tensor.location) for tensor in _external(model)}
    return [path.parent / name for name in sorted(names)]


def source_identity(path: Path) -> str:
    """:func:`source_sha256` of a model file of any kind. Raises ModelError."""
    check_file(path)
    if path.suffix.lower() != ".onnx":
        return source_sha256(path, [])
    return source_sha256(path, external_files(path, read_model(path)))


def source_sha256(path: Path, beside: list[Path]) -> str:
    """The identity of a model: its file's sha256; with files beside it that of all of theirs."""
    digests = [_file_sha256(each) for each in (path, *beside)]
    if not beside:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def weights_bytes(model: ir.Model) -> int:
    """What the weights take in memory."""
    return sum(int(tensor.nbytes) for tensor in _tensors(model))


def merge_external(model: ir.Model) -> None:
    """Read all weights into memory, in place."""
    import onnx_ir as ir

    ir.external_data.load_to_model(model)  # which leaves those of attributes
    for node in _nodes(model):
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR:
                node.attributes[name] = ir.AttrTensor(name, _in_memory(attribute.as_tensor()))
            elif attribute.type == ir.AttributeType.TENSORS:
                several = [_in_memory(tensor) for tensor in attribute.as_tensors()]
                node.attributes[name] = ir.AttrTensors(name, several)


def _in_memory(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    import onnx_ir as ir

    if not isinstance(tensor, ir.ExternalTensor):
        return tensor
    (read,) = ir.external_data.convert_tensors_from_external([tensor])
    return read


def _file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """All tensors, wherever they stand."""
    import onnx_ir as ir

    for graph in model.graphs():
        held = [value.const_value for value in graph.initializers.values()]
        yield from (tensor for tensor in held if tensor is not None)
    for node in _nodes(model):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR:
                yield attribute.as_tensor()
            elif attribute.type == ir.AttributeType.TENSORS:
                yield from attribute.as_tensors()


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Those of the graph, of the graphs inside of it, and of the local functions."""
    for graph in model.graphs():
        yield from graph
    for function in model.functions.values():
        yield from function.all_nodes()


def _external(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    import onnx_ir as ir

    return (tensor for tensor in _tensors(model) if isinstance(tensor, ir.ExternalTensor))


def _check_beside(path: Path, tensor: ir.ExternalTensor) -> None:
    place = path.parent / str(tensor.location)
    if not Path(os.path.normpath(place)).is_relative_to(os.path.normpath(path.parent)):
        raise ModelError(
            f"{path.name}: keeps {tensor.name!r} in {tensor.location}, outside of its own folder, "
            "which is not read; put the file beside the model and export it again"
        )
    if not place.is_file():
        other = path.with_name(f"{path.name}.data")
        renamed = f", and under this name ({other.name} lies there)" if other.is_file() else ""
        raise ModelError(
            f"{path.name}: keeps weights in {tensor.location}, which is missing; copy it beside "
            f"the model file{renamed}"
        )
    end = (tensor.offset or 0) + (tensor.length or tensor.nbytes)
    if end > place.stat().st_size:
        raise ModelError(
            f"{path.name}: {tensor.location} has {place.stat().st_size} bytes, but {end} are "
            "needed; copy it again"
        )
