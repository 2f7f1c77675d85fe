"""Views of model files: made once, then found in the store by the files' content."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import onnxruntime

from trimtab.db import Store, VariantRecord
from trimtab.planner.cache.device_limits import device_limit
from trimtab.planner.cache.facts import keep_facts
from trimtab.planner.cache.keys import view_key
from trimtab.profilers import Device
from trimtab.variants import (
    View,
    Wishes,
    identity_in_subprocess,
    open_and_inspect_in_subprocess,
)
from trimtab_runtime.errors import StoreError

_FORMAT = "view"
_LOWERINGS = 2  # the intermediate representation, the opset
#: Views that this process made, for its other stores: of files up to so many bytes, the latest.
_SMALL_BYTES, _REMEMBERED = 2**22, 64
_MADE: OrderedDict[str, tuple[bytes | None, View]] = OrderedDict()


@dataclass(frozen=True)
class ViewCache:
    """What :func:`variants.open_view` makes, kept as a variant, with what the view tells; where
    there is a `device` whose `engine` (the version of its onnxruntime) is another than the one
    here, as that takes it."""

    store: Store
    device: Device | None = None
    engine: str = onnxruntime.__version__

    def open(self, path: Path, wishes: Wishes, folder: Path, limit_s: float) -> View:
        """The view of a member's file, in `folder` where it is another one.

        Raises as :func:`variants.open_and_inspect_in_subprocess`, and ModelError where the weights
        are too many for one file, or the device's engine takes no version that it can be lowered
        to.
        """
        found = self._opened(path, wishes, folder, limit_s)
        if self.device is None or path.suffix.lower() != ".onnx":
            return found
        for number in range(_LOWERINGS):
            newest = device_limit(self.device, self.engine, found.path, wishes.size, wishes.newest)
            if newest is None:
                break
            wishes = replace(wishes, newest=newest)
            found = self._opened(path, wishes, folder / f"lowered{number}", limit_s)
        return found

    def _opened(self, path: Path, wishes: Wishes, folder: Path, limit_s: float) -> View:
        name = view_key(identity_in_subprocess(path, limit_s), wishes)
        found = self._kept(name, path, folder)
        if found is None:
            found = _remembered(name, path, folder)
            if found is None:
                found, facts = open_and_inspect_in_subprocess(path, folder, wishes, limit_s)
                if facts is not None:
                    keep_facts(self.store, found.path, wishes.size, facts)
                _remember(name, path, found)
            self._keep(name, path, found)
        found.check_single(path.name)
        return found

    def _kept(self, name: str, path: Path, folder: Path) -> View | None:
        found = self.store.get_variant(name)
        if found is None:
            return None
        view = path
        if found.artefact_sha256 is not None:
            view = folder / f"{path.stem}{path.suffix.lower()}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.store.artefacts.path(found.artefact_sha256), view)
            except StoreError:  # removed or altered: it is made anew
                return None
        return View(view, found.recipe["source_sha256"], tuple(found.recipe["notes"]))

    def _keep(self, name: str, path: Path, view: View) -> None:
        if view.beside:
            return
        own = view.path == path
        made = None if own else self.store.save_file(view.path, kind="model", name=path.name)
        self.store.put_variant(
            VariantRecord(
                key=name,
                member=path.stem,
                name=path.name,
                format=_FORMAT,
                artefact_sha256=made.sha256 if made else None,
                size_bytes=made.size_bytes if made else None,
                recipe={
                    "step": "viewed",
                    "source_sha256": view.source_sha256,
                    "notes": list(view.notes),
                },
                io={},
            )
        )


def _remember(name: str, path: Path, view: View) -> None:
    own = view.path == path
    if view.beside or (not own and view.path.stat().st_size > _SMALL_BYTES):
        return
    _MADE[name] = None if own else view.path.read_bytes(), view
    while len(_MADE) > _REMEMBERED:
        _MADE.popitem(last=False)


def _remembered(name: str, path: Path, folder: Path) -> View | None:
    """A view that this process made before, written into `folder` where it is another file."""
    if name not in _MADE:
        return None
    content, view = _MADE[name]
    if content is None:
        return replace(view, path=path)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{path.stem}{path.suffix.lower()}"
    target.write_bytes(content)
    return replace(view, path=target)
