"""PyTorch modules named by import path become ONNX files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from trimtab.variants import export_module, inspect_model
from trimtab.variants.torch_export.importing import build, import_paths
from trimtab_runtime.errors import ModelError

NETS = '''
from pathlib import Path

import torch
from torch import nn


class Small(nn.Module):
    """A doc string that must not reach the file."""

    def __init__(self, width=4, classes=4, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, 2), nn.BatchNorm2d(width), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.drop(self.body(x).mean((2, 3))))


def fails():
    raise RuntimeError("the disk is on fire")


def no_module():
    return 7


class Two(Small):
    def forward(self, x):
        y = super().forward(x)
        return y, y


class Map(Small):
    def forward(self, x):
        return self.body(x)


class Restless(Small):
    def forward(self, x):
        return super().forward(x) + torch.rand(1)


class Branching(Small):
    def forward(self, x):
        y = super().forward(x)
        return y if float(y.sum()) > 1e9 else y * int(y.argmax())


class Fixed(Small):
    def forward(self, x):
        return super().forward(x.reshape(1, 3, 32, 32))


ready = Small(seed=5)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("job")
    (found / "job_nets.py").write_text(NETS)
    (found / "job_broken.py").write_text("import a_library_that_is_not_here\n")
    return found


def built(folder: Path, **arguments: int) -> torch.nn.Module:
    names: dict[str, type[torch.nn.Module]] = {}
    exec(compile(NETS, "nets", "exec"), names)
    return names["Small"](**arguments).eval()


@pytest.fixture(scope="module")
def exported(folder: Path) -> Path:
    state = folder / "weights.pth"
    weights = built(folder, seed=9).state_dict()
    torch.save({"state_dict": {"module." + key: value for key, value in weights.items()}}, state)
    return export_module("job_nets:Small", {}, state, 32, folder / "a.onnx", folder=folder)


def test_the_export_answers_as_torch_does(folder: Path, exported: Path) -> None:
    facts = inspect_model(exported)
    assert (facts.input_size, facts.output_width, facts.output_kind) == ((32, 32), 4, "logits")
    image = np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(str(exported)).run(None, {"image": image})
    with torch.no_grad():
        expected = built(folder, seed=9)(torch.from_numpy(image)).numpy()
    assert np.allclose(found, expected, atol=1e-5)


def test_nothing_of_the_job_stays_behind(folder: Path, exported: Path) -> None:
    assert "job_nets" not in sys.modules
    assert str(folder) not in sys.path
    assert b"job_nets" not in exported.read_bytes()
    assert not list(folder.glob(".making-*"))
    assert not onnx.load(str(exported)).graph.node[0].metadata_props


def test_a_folder_below_one_on_the_path_is_forgotten_too(
    folder: Path, exported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where Python was started in a folder above the job's."""
    monkeypatch.syspath_prepend(str(folder.parent))
    state = folder / "weights.pth"
    export_module("job_nets:Small", {}, state, 32, tmp_path / "a.onnx", folder=folder)
    assert "job_nets" not in sys.modules


def test_a_network_gets_its_own_modules_whatever_ours_are_called(tmp_path: Path) -> None:
    """The tests' working directory is first on the path, and has folders of all these names."""
    rooms = ["dashboard", "db", "planner", "profilers", "search", "variants", "workloads"]
    for name in rooms:
        (tmp_path / f"{name}.py").write_text(f"OWNER = 'the user of {name}'\n")
    (tmp_path / "network.py").write_text(
        f"from torch import nn\nimport {', '.join(rooms)}\n\n\n"
        "class Own(nn.Module):\n"
        f"    owners = [room.OWNER for room in ({', '.join(rooms)})]\n"
    )
    before = {name: module for name, module in sys.modules.items() if name.startswith("trimtab")}
    with import_paths(tmp_path):
        found = build("network:Own", {})
    assert found.owners == [f"the user of {name}" for name in rooms]
    assert not {"network", *rooms} & set(sys.modules)
    assert {name: sys.modules[name] for name in before} == before


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(
    folder: Path, exported: Path, tmp_path: Path
) -> None:
    code = (
        "from trimtab.variants import export_module; import sys; f, o = sys.argv[1:]; "
        "export_module('job_nets:Small', {}, f + '/weights.pth', 32, o, folder=f)"
    )
    root, out = Path(__file__).parents[2], tmp_path / "b.onnx"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(out)],
        cwd=root,
        env={"PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (exported, out)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("entry", "arguments", "message"),
    [
        ("job_nets.Small", {}, "is named 'package.module:callable'"),
        ("job_missing:Small", {}, "there is no module job_missing in "),
        ("os:system", {"command": "true"}, "there is no module os in "),
        ("job_nets:torch.nn.Identity", {}, "torch is a module or belongs"),
        ("job_nets:Path", {}, "Path is a module or belongs"),
        ("job_broken:Small", {}, "No module named 'a_library_that_is_not_here'"),
        ("job_nets:Large", {}, r"there is no Large in .*job_nets\.py"),
        ("job_nets:fails", {}, "RuntimeError: the disk is on fire"),
        ("job_nets:Small", {"depth": 3}, "unexpected keyword argument 'depth'"),
        ("job_nets:ready", {"width": 3}, "no class or function to call"),
        ("job_nets:no_module", {}, r"must make a torch\.nn\.Module, made a int"),
        ("job_nets:Two", {}, r"one tensor \(1, classes\), got a tuple"),
        ("job_nets:Map", {}, r"got \(1, 4, 11, 11\)"),
        ("job_nets:Fixed", {}, r"fails on an image \(1, 3, 24, 24\)"),
        ("job_nets:Restless", {}, "answers differently from torch"),
        ("job_nets:Branching", {}, "cannot export it to ONNX"),
    ],
)
def test_modules_that_cannot_be_used(
    folder: Path, tmp_path: Path, entry: str, arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        export_module(entry, arguments, None, 24, tmp_path / "a.onnx", folder=folder)
    assert not list(tmp_path.iterdir())


def test_the_folder_is_the_users_own(tmp_path: Path) -> None:
    """Neither the standard library nor what is installed is a folder of the user's; and a file
    there cannot stand for a module that Python has already."""
    library = Path(os.__file__).parent
    for place in (library, library / "json", Path(torch.__file__).parents[1]):
        with pytest.raises(ModelError, match="belongs to Python itself"):
            export_module("os:system", {"command": "true"}, None, 24, tmp_path / "a", folder=place)
    (tmp_path / "os.py").write_text("def system(): ...\n")
    with pytest.raises(ModelError, match="Python has a module os of its own"):
        export_module("os:system", {}, None, 24, tmp_path / "a.onnx", folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("head.bias"), r"1 keys are missing \(head\.bias\)"),
        (lambda state: state.update(extra=torch.ones(1)), r"1 keys are unexpected \(extra\)"),
        (lambda state: state.update({"head.bias": torch.ones(5)}), "another shape"),
        (lambda state: state.update({"epoch": 3}), "must hold a dictionary of tensors"),
    ],
)
def test_weights_that_do_not_fit(
    folder: Path, tmp_path: Path, change: object, message: str
) -> None:
    state = dict(built(folder).state_dict())
    change(state)  # type: ignore[operator]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=message):
        export_module("job_nets:Small", {}, tmp_path / "w.pth", 24, tmp_path / "a", folder=folder)


def test_weight_files_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.pth", tmp_path / "cut.pth"
    torch.save(torch.nn.Linear(2, 2), whole)
    torch.save(built(folder).state_dict(), cut)
    cut.write_bytes(cut.read_bytes()[:1000])
    for path, message in (
        (whole, "save the weights alone"),
        (cut, "damaged"),
        (tmp_path / "none.pth", "no such file"),
    ):
        with pytest.raises(ModelError, match=message):
            export_module("job_nets:Small", {}, path, 24, tmp_path / "a.onnx", folder=folder)
