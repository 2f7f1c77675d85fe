"""The one view of a model file that everything here reads and runs."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.variants.files.writing import write_model
from trimtab.variants.intake.batches import same_rows, take_single_images
from trimtab.variants.intake.ends import (
    choose_output,
    image_of,
    one_input,
    real_outputs,
    scores_of_choices,
)
from trimtab.variants.intake.equality import largest_difference
from trimtab.variants.intake.plain import make_plain, name_nodes, sort_nodes
from trimtab.variants.intake.running import close_batch, write_run_shapes
from trimtab.variants.intake.shapes import (
    ImageShape,
    declared_dims,
    find_shape,
    first_layer,
    metadata_size,
    write_shape,
)
from trimtab.variants.intake.source import (
    LIMIT_BYTES,
    bring_beside,
    check_file,
    external_files,
    merge_external,
    read_model,
    source_sha256,
    weights_bytes,
)
from trimtab.variants.intake.tflite import view_tflite
from trimtab.variants.intake.trial import Trial, noise
from trimtab.variants.intake.versions import (
    NewestVersions,
    lower_versions,
    newest_versions,
    reference_difference,
)
from trimtab.variants.intake.wishes import Wishes
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx

#: Raised whenever the same file and wishes give another view: stores keep views that were made.
VIEW_VERSION = 2
#: How far, of the largest answer, onnx's reference and onnxruntime may be apart.
_LOWERED_TOLERANCE = 1e-3
_SAME_NAME = "two nodes with same node name"


@dataclass(frozen=True)
class View:
    """The file at `path` stands for the model: it is the model's own file where nothing had to
    change. Weights that do not fit into it lie in the files `beside`. `source_sha256` is the
    identity of the model as it came, `notes` are sentences to be told."""

    path: Path
    source_sha256: str
    notes: tuple[str, ...] = ()
    beside: tuple[Path, ...] = ()

    def check_single(self, name: str) -> None:
        """Raises ModelError, which calls the model `name`, where weights lie beside."""
        if self.beside:
            raise ModelError(
                f"{name}: its weights are more than the 2 GB that one file can hold, and a plan "
                "is made of single files"
            )


def open_view(
    path: Path | str,
    folder: Path,
    wishes: Wishes | None = None,
    limit_bytes: int = LIMIT_BYTES,
) -> View:
    """Make the view of a model file, in `folder` where it is another one.

    Of an ONNX file: weights in files beside are merged (where they are more than `limit_bytes`
    they stay in files of their own), one image goes in and one tensor comes out, layout and
    channels are fixed, and the graph is plain (see :func:`make_plain`). A plain graph is kept only
    where it gives the same bits on random images as the graph before; else the graph stays as it
    is, and that is told. Of a TFLite file one signature and one output are left.

    Raises ModelError where the file is missing, damaged or refused by its engine, or cannot be
    made a graph with one image in and one tensor of scores out.
    """
    path = Path(path)
    check_file(path)
    wishes = wishes or Wishes()
    if path.suffix.lower() != ".onnx":
        output = wishes.output if wishes.output is not None else wishes.output_index
        view, notes = view_tflite(
            path, folder / path.name, wishes.signature, output, wishes.classes
        )
        return View(view, source_sha256(path, []), tuple(notes))
    if wishes.signature is not None:
        raise ModelError(f"{path.name}: signature: only TFLite files have signatures")
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it tells of each shape it cannot infer
    return _Opening(path, folder, wishes, limit_bytes).view()


def prepare() -> None:
    """Import what opening a file needs, which takes a second or more."""
    for name in ("onnx_ir.passes.common", "onnxruntime", "onnxscript.optimizer"):
        importlib.import_module(name)


class _Opening:
    """One ONNX file on its way to its view."""

    def __init__(self, path: Path, folder: Path, wishes: Wishes, limit_bytes: int) -> None:
        self._path, self._folder, self._wishes = path, folder, wishes
        self._model = read_model(path)
        files = external_files(path, self._model)
        self._sha256 = source_sha256(path, files)
        self._beside: tuple[Path, ...] = ()
        self._notes: list[str] = []
        #: The model as the engine refused it, where it did.
        self._refused: onnx.ModelProto | None = None
        #: Whether the file itself cannot stand for the model.
        self._changed = bool(files)
        if not files:
            return
        small = weights_bytes(self._model) <= limit_bytes
        if not small or any(file.is_symlink() or file.stat().st_nlink > 1 for file in files):
            self._beside = bring_beside(self._model, path, files, folder)
        if small:
            merge_external(self._model)
            for file in self._beside:
                file.unlink()
            self._beside = ()

    def view(self) -> View:
        self._lower_versions()
        self._changed |= sort_nodes(self._model)
        self._change(one_input(self._path, self._model))
        self._change(real_outputs(self._model))
        if self._wishes.output is None and self._wishes.output_index is None:
            self._change(scores_of_choices(self._model))
        self._single_images()
        shape = self._close()
        adapted = self._write("adapted") if self._changed else self._path
        if shape is not None and adapted != self._path:
            self._compare(adapted, shape)
        done = make_plain(self._model)
        if shape is not None and not self._beside:
            done += self._know_shapes(shape)
        found = adapted
        if done and shape is not None:
            found = self._plain(adapted, shape, done)
        if found != self._path:  # errors call files by their names
            found = found.rename(self._folder / self._path.name)
        return View(found, self._sha256, tuple(self._notes), self._beside)

    def _change(self, notes: Sequence[str]) -> None:
        self._notes += notes
        self._changed = self._changed or bool(notes)

    def _write(self, name: str) -> Path:
        import onnx_ir as ir

        out = self._folder / f"{name}.onnx"
        write_model(ir.to_proto(self._model), out)
        return out

    def _lower_versions(self) -> None:
        """To what was said, and what the engine here takes: once for the intermediate
        representation, once for the operators; and name nodes where it refuses two of one name."""
        import onnx_ir as ir
        import onnxruntime

        if self._wishes.newest is not None:
            self._lower_to(self._wishes.newest)
        for _ in range(3):
            try:
                Trial(self._write("trial") if self._changed else self._path, self._path.name)
                return
            except ModelError as error:
                refusal = str(error)
                if self._refused is None and not self._beside:
                    self._refused = ir.to_proto(self._model)
                newest = newest_versions(refusal, f"onnxruntime {onnxruntime.__version__}")
                if newest is not None:
                    self._lower_to(newest)
                elif _SAME_NAME in refusal and name_nodes(self._model):
                    self._change(["several of its nodes have one name; they get others"])
                else:
                    raise

    def _lower_to(self, newest: NewestVersions) -> None:
        self._model, notes = lower_versions(self._path, self._model, newest)
        self._change(notes)

    def _single_images(self) -> None:
        """A batch of several becomes one where each image's answer stays what it is."""
        image = image_of(self._model)
        dims = declared_dims(image)
        if self._beside or not dims or dims[0] in (None, 1):
            return
        batched, kept = self._write("batched"), self._model.clone()
        take_single_images(self._model, image, dims[0])
        single = self._write("trial")
        shape = self._shape(Trial(single, self._path.name))
        if shape is not None and same_rows(batched, single, (dims[0], *shape.dims[1:])):
            self._change(
                [f"it takes batches of {dims[0]}; one by one, images get the same answers"]
            )
        else:
            self._model = kept

    def _shape(self, trial: Trial) -> ImageShape | None:
        """That of an image which goes through, of what is said and declared."""
        image, said = image_of(self._model), self._wishes
        size = said.size or metadata_size(dict(self._model.metadata_props))
        return find_shape(
            declared_dims(image), trial.takes, first_layer(image), said.layout, said.channels, size
        )

    def _close(self) -> ImageShape | None:
        """Choose the output and close the input's shape, by trial."""
        trial = Trial(self._write("trial"), self._path.name)
        image, said, shape = image_of(self._model), self._wishes, self._shape(trial)
        answers = {} if shape is None else trial.run(noise(shape.dims, trial.type))
        before = list(self._model.graph.outputs)
        self._notes += choose_output(
            self._path,
            self._model,
            answers,
            said.output if said.output is not None else said.output_index,
            said.classes,
        )
        self._changed |= self._model.graph.outputs[0] is not before[0] or len(before) > 1
        if shape is not None:
            changed, notes = write_shape(image, shape, said.size is not None)
            self._changed |= changed
            self._notes += notes
        return shape

    def _compare(self, adapted: Path, shape: ImageShape) -> None:
        """Tell where what had to change gives other answers than the file as it came."""
        if self._refused is not None:
            self._compare_lowered(self._refused, adapted, shape)
            return
        name = str(self._model.graph.outputs[0].name)
        difference = largest_difference(self._path, adapted, shape.dims, name)
        if difference:
            self._notes.append(
                f"with these changes its answers differ from the file's by up to {difference:.2g}"
            )

    def _compare_lowered(self, before: onnx.ModelProto, adapted: Path, shape: ImageShape) -> None:
        difference = reference_difference(before, adapted, shape.dims)
        if difference is None:
            self._notes.append("onnx's reference cannot run it: its answers were not compared")
        elif difference > _LOWERED_TOLERANCE:
            raise ModelError(
                f"{self._path.name}: onnxruntime refuses it as it is, and changed as told ("
                f"{'; '.join(self._notes)}) it answers otherwise, by {difference:.2g} of the "
                "largest answer, as onnx's reference says; export it again with an older opset"
            )

    def _know_shapes(self, shape: ImageShape) -> list[str]:
        """What inference leaves open, from a batch of one image, and from a run."""
        done = []
        if close_batch(self._model):
            done = ["a batch of one image", *make_plain(self._model)]
        if write_run_shapes(
            self._model, lambda: self._write("trial"), lambda kind: noise(shape.dims, kind)
        ):
            done.append("shapes found by a run")
        return done

    def _plain(self, adapted: Path, shape: ImageShape, done: Sequence[str]) -> Path:
        try:
            plain = self._write("model")
            difference = largest_difference(adapted, plain, shape.dims)
        except ModelError as error:
            self._notes.append(f"it is used as it stands, no plain graph of it loads: {error}")
            return adapted
        if difference == 0.0:
            return plain
        if largest_difference(adapted, adapted, shape.dims) != 0.0:
            return adapted  # it draws random numbers, which is told where it is inspected
        self._notes.append(
            f"it is used as it stands: made plain ({', '.join(done)}), its answers would differ "
            f"by up to {difference:.2g}"
        )
        return adapted
