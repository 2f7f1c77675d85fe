"""An environment on a device, made without its registry; and the wheel that it begins with."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from ssh_server import SSHD, SshServer

from trimtab.profilers.ssh import SshDevice
from trimtab.profilers.ssh.preparing import clean, prepare, survey
from trimtab.profilers.ssh.wheel import runtime_wheel
from trimtab_runtime.errors import DeviceError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    if SSHD is None:
        pytest.skip("there is no sshd here (Debian: apt-get install openssh-server)")
    found = SshServer(tmp_path / "sshd")
    monkeypatch.setenv("HOME", str(found.home))
    yield found
    found.stop()


def _needed(name: str) -> dict[str, Distribution]:
    """A distribution and what it needs, by name."""
    found = {name: distribution(name)}
    for line in found[name].requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found |= _needed(requirement.name)
    return found


def _packed(found: Distribution, folder: Path) -> None:
    """An installed distribution as the wheel that it came from."""
    tags = [
        line.split(": ")[1]
        for line in (found.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag: ")
    ]
    name = found.name.replace("-", "_")
    target = folder / f"{name}-{found.version}-{tags[-1]}.whl"
    with zipfile.ZipFile(target, "w") as wheel:
        for file in found.files or ():
            if ".." not in file.parts and file.suffix != ".pyc" and file.name != "INSTALLER":
                wheel.write(Path(str(file.locate())), file.as_posix())


def test_an_environment_is_made_of_wheels_alone(
    server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for found in (_needed("onnxruntime") | _needed("pillow")).values():
        _packed(found, wheels)
    said: list[str] = []
    with SshDevice(server.target) as device:
        before = survey(device, sys.executable)
        assert [text for text in before.missing if "devices prepare" in text]
        made = prepare(device, ["onnxruntime", "litert"], said.append, wheels, sys.executable)
        assert made == ["onnxruntime"]
        assert "litert: does not install" in said
        after = survey(device)
        assert after.missing == []
        assert after.engines == {"onnxruntime": distribution("onnxruntime").version}
        assert "CPUExecutionProvider" in after.providers
        assert clean(device, everything=True) > 10
    assert not server.device.exists()


def test_too_few_wheels_are_told_with_what_gets_the_rest(
    server: SshServer, tmp_path: Path
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with SshDevice(server.target) as device:
        with pytest.raises(DeviceError, match=r"wheels: there is no \.whl file in it"):
            prepare(device, [], print, wheels, sys.executable)
        _packed(distribution("pillow"), wheels)
        needed = r"pip download .*manylinux_2_28_.* numpy pillow onnxruntime ai-edge-litert`"
        with pytest.raises(DeviceError, match=needed):
            prepare(device, ["onnxruntime", "litert"], print, wheels, sys.executable)


def test_a_device_without_python_is_told_how_to_get_it(server: SshServer) -> None:
    with SshDevice(server.target) as device:
        found = survey(device, "/no/such/python")
        assert any("apt-get install python3 python3-venv" in text for text in found.missing)
        with pytest.raises(DeviceError, match=r"Python 3\.9 or newer \(there is none\)"):
            prepare(device, ["onnxruntime"], print, python="/no/such/python")


def test_our_own_wheel_is_that_of_a_release(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    for name in ("trimtab_runtime", "packaging", "LICENSE"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / "sources" / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    folder = tmp_path / "sources" / "packaging" / "runtime"
    subprocess.run([*build, str(folder)], check=True, capture_output=True)
    (released,) = tmp_path.glob("*.whl")
    (tmp_path / "own").mkdir()
    own = runtime_wheel(tmp_path / "own")
    assert own.name == released.name
    with zipfile.ZipFile(released) as expected, zipfile.ZipFile(own) as found:
        modules = [name for name in expected.namelist() if name.endswith(".py")]
        assert sorted(n for n in found.namelist() if n.endswith(".py")) == sorted(modules)
        assert all(found.read(name) == expected.read(name) for name in modules)
        metadata = f"{own.name.split('-py3')[0]}.dist-info/METADATA"
        told = [archive.read(metadata).decode().splitlines() for archive in (expected, found)]
        fields = ("Name:", "Version:", "Requires-Python:", "Requires-Dist:")
        needs = [
            {x for x in lines if x.startswith(fields) and "extra ==" not in x} for lines in told
        ]
        assert needs[0] == needs[1]
    (tmp_path / "again").mkdir()
    assert runtime_wheel(tmp_path / "again").read_bytes() == own.read_bytes()
