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

from trimtab.variants import export_module, exported_module, inspect_model, module_source
from trimtab.variants.torch_export.building import build, module_file
from trimtab.variants.torch_export.exporting import exporting
from trimtab.variants.torch_export.user_code import user_modules
from trimtab_runtime.errors import ModelError

NETS = '''
import collections
from pathlib import Path

import torch
from torch import nn

Answer = collections.namedtuple("Named", ["loss", "logits"])


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


class Checking(Small):
    def forward(self, x):
        if float(x.abs().max()) > 1e9:
            raise ValueError("these are no pixels")
        return super().forward(x)


class Fixed(Small):
    def forward(self, x):
        return super().forward(x.reshape(1, 3, 32, 32))


class Unknown(Small):
    def forward(self, x):
        return torch.special.i0e(super().forward(x))


class Named(Small):
    def forward(self, x):
        return Answer(None, super().forward(x))


class Kept(Small):
    def forward(self, x):
        return {"logits": super().forward(x), "features": self.body(x)}


ready = Small(seed=5)
'''
_FIRE = next(n for n, line in enumerate(NETS.splitlines(), 1) if "on fire" in line)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("job")
    (found / "job_nets.py").write_text(NETS)
    (found / "job_broken.py").write_text("import a_library_that_is_not_here\n")
    (found / "job_syntax.py").write_text("x = 1\ndef f(:\n    pass\n")
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
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where Python was started in a folder above the job's."""
    monkeypatch.syspath_prepend(str(folder.parent))
    with user_modules(folder):
        build("job_nets:Small", {})
    assert "job_nets" not in sys.modules


ROOMS = ["dashboard", "db", "planner", "profilers", "search", "variants", "workloads"]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with modules of their own that are called like folders of ours, and one
    that is called like a library."""
    found = tmp_path_factory.mktemp("user")
    for name in (*ROOMS, "yaml"):
        (found / f"{name}.py").write_text(f"OWNER = 'the user of {name}'\n")
    (found / "search.py").unlink()
    (found / "search").mkdir()
    (found / "search" / "__init__.py").write_text("from search.space import OWNER\n")
    (found / "search" / "space.py").write_text("OWNER = 'the user of search'\n")
    (found / "networks").mkdir()
    (found / "networks" / "__init__.py").write_text("")
    (found / "networks" / "own.py").write_text(
        "import os\nimport torch\nfrom torch import nn\n"
        f"import yaml, {', '.join(ROOMS)}\n"
        "from search.space import OWNER\n\n\n"
        "class Own(nn.Module):\n"
        f"    owners = [room.OWNER for room in (yaml, {', '.join(ROOMS)})]\n\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        print('built')\n"
        "        torch.manual_seed(0)\n"
        "        self.head = nn.Linear(3, len(self.owners))\n\n"
        "    def forward(self, x):\n"
        "        return self.head(x.mean((2, 3)))\n\n\n"
        "def dies():\n"
        "    os._exit(3)\n"
    )
    return found


def test_a_network_gets_its_own_modules_whatever_was_imported_before(package: Path) -> None:
    import yaml

    before = dict(sys.modules)
    with user_modules(package):
        found = build("networks.own:Own", {})
    assert found.owners == [f"the user of {name}" for name in ("yaml", *ROOMS)]
    assert sys.modules["yaml"] is yaml
    assert not {"networks", "networks.own", *ROOMS} & set(sys.modules)
    assert {name: sys.modules[name] for name in before} == before


def test_it_is_exported_in_a_process_of_its_own(
    package: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The tests' working directory is a checkout of ours, with folders of all these names."""
    source = module_source("networks.own:Own", {}, None, 16, folder=package)
    with exported_module(source, tmp_path / "own.onnx") as exported:
        images = [np.full((1, 3, 16, 16), level, np.float32) for level in (-1, 0, 2)]
        agreement = exported.agreement(exported.path, images)
    assert inspect_model(exported.path).output_width == 1 + len(ROOMS)
    assert (exported.notes, agreement.images, agreement.others) == ((), 3, 0)
    assert agreement.exact
    assert capfd.readouterr().out == ""


def test_a_process_that_dies_is_told(package: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"networks.own:dies: the process .* status 3"):
        export_module("networks.own:dies", {}, None, 16, tmp_path / "a.onnx", folder=package)


def test_a_file_of_another_network_is_told(folder: Path, exported: Path) -> None:
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    with exporting(module_source("job_nets:Small", {}, None, 32, folder=folder)) as module:
        found = module.agreement(exported, [image])
    assert found.refused
    assert not found.exact
    assert "of the largest score on 1 image" in found.text()


def test_the_older_exporter_is_used_where_the_current_one_fails(
    folder: Path, tmp_path: Path
) -> None:
    with exporting(module_source("job_nets:Checking", {}, None, 32, folder=folder)) as module:
        notes = module.write(tmp_path / "a.onnx")
        images = [np.full((1, 3, 32, 32), level, np.float32) for level in (-1, 0, 2)]
        assert module.agreement(tmp_path / "a.onnx", images).exact
    assert "torch's current exporter fails (GuardOnDataDependentSymNode" in notes[0]
    assert f"job_nets.py, line {line_of('x.abs().max()')})" in notes[0]
    assert f"job_nets.py, line {line_of('x.abs().max()')}" in notes[1]


@pytest.mark.parametrize(("entry", "kind"), [("Named", "Named"), ("Kept", "dict")])
def test_scores_with_a_name_are_found(folder: Path, tmp_path: Path, entry: str, kind: str) -> None:
    source = module_source(f"job_nets:{entry}", {}, None, 24, folder=folder)
    with exporting(source) as module:
        notes = module.write(tmp_path / "a.onnx")
    assert notes[0].startswith(f"it returns a {kind}")
    assert "'logits' is taken for the scores" in notes[0]
    image = np.random.default_rng(1).standard_normal((1, 3, 24, 24)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(str(tmp_path / "a.onnx")).run(None, {"image": image})
    with torch.no_grad():
        expected = built(folder)(torch.from_numpy(image)).numpy()
    assert np.allclose(found, expected, atol=1e-5)


def line_of(text: str) -> int:
    return next(n for n, line in enumerate(NETS.splitlines(), 1) if text in line)


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(
    folder: Path, exported: Path, tmp_path: Path
) -> None:
    code = (
        "from trimtab.variants import export_module; import sys; f, o = sys.argv[1:]; "
        "export_module('job_nets:Small', {}, f + '/weights.pth', 32, o, folder=f)"
    )
    root, out = Path(__file__).parents[3], tmp_path / "b.onnx"
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
        ("job_syntax:f", {}, r"SyntaxError: .* \(job_syntax\.py, line 2\)"),
        ("job_nets.Small", {}, "is named 'package.module:callable'"),
        ("job_missing:Small", {}, "there is no module job_missing in "),
        ("os:system", {"command": "true"}, "there is no module os in "),
        ("job_nets:torch.nn.Identity", {}, "torch is a module or belongs"),
        ("job_nets:Path", {}, "Path is a module or belongs"),
        (
            "job_broken:Small",
            {},
            r"No module named 'a_library_that_is_not_here' \(job_broken\.py, line 1\)",
        ),
        ("job_nets:Large", {}, r"there is no Large in .*job_nets\.py"),
        (
            "job_nets:fails",
            {},
            rf"RuntimeError: the disk is on fire \(job_nets\.py, line {_FIRE}\)",
        ),
        ("job_nets:Small", {"depth": 3}, "unexpected keyword argument 'depth'"),
        ("job_nets:ready", {"width": 3}, "no class or function to call"),
        ("job_nets:no_module", {}, r"must make a torch\.nn\.Module, made a int"),
        ("job_nets:Two", {}, r"one tensor \(1, classes\), got a tuple"),
        ("job_nets:Map", {}, r"got \(1, 4, 11, 11\)"),
        ("job_nets:Fixed", {}, r"fails on an image \(1, 3, 24, 24\): .*job_nets\.py, line"),
        ("job_nets:Restless", {}, "answers one image twice in different ways"),
        ("job_nets:Branching", {}, "answers differently from torch, .*avoid control flow"),
        ("job_nets:Unknown", {}, r"cannot export it to ONNX \(.*its older exporter: "),
    ],
)
def test_modules_that_cannot_be_used(
    folder: Path, tmp_path: Path, entry: str, arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        write(entry, arguments, None, 24, tmp_path / "a.onnx", folder)
    assert not list(tmp_path.iterdir())


def write(
    entry: str,
    arguments: dict[str, int],
    state: Path | None,
    size: int,
    out: Path,
    folder: Path,
) -> None:
    """In this process, which saves the seconds that another takes to import torch."""
    with exporting(module_source(entry, arguments, state, size, folder=folder)) as module:
        module.write(out)


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


def test_what_another_python_has_installed_is_not_the_users_either(tmp_path: Path) -> None:
    library, packages = tmp_path / "lib" / "python3.9", tmp_path / "dist-packages" / "own"
    for place in (library / "importlib", packages, tmp_path / "mine"):
        place.mkdir(parents=True)
    for file in (library / "os.py", packages / "os.py"):
        file.touch()
    (tmp_path / "mine" / "linked.py").symlink_to(os.__file__)
    for place, module in ((library, "os"), (packages, "os"), (tmp_path / "mine", "linked")):
        with pytest.raises(ModelError, match="belongs to Python itself"):
            module_file(f"{module}:system", place)
    (tmp_path / "mine" / "own.py").symlink_to(tmp_path / "mine" / "nets.py")
    (tmp_path / "mine" / "nets.py").touch()
    assert module_file("own:Net", tmp_path / "mine").name == "own.py"


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
        write("job_nets:Small", {}, tmp_path / "w.pth", 24, tmp_path / "a", folder)


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
            write("job_nets:Small", {}, path, 24, tmp_path / "a.onnx", folder)
