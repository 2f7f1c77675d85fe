"""What is in the wheels: one name to import, and all that lies below it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from distributions import ROOT, build

#: Folders that are imported below `trimtab`, by their links.
ROOMS = {link.name for link in (ROOT / "src" / "trimtab").iterdir() if link.is_symlink()}


def packaged(wheel: Path) -> set[str]:
    """The files of a wheel beside its own records."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    return {name for name in names if ".dist-info/" not in name}


def below(folder: str, name: str) -> set[str]:
    """The files of a folder, where they belong in a wheel."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {
        f"{name}/{path.relative_to(ROOT / folder).as_posix()}"
        for path in found
        if "__pycache__" not in path.parts
    }


def test_the_wheel_holds_every_room_below_one_name(wheel: Path) -> None:
    assert {"planner", "dashboard", "db"} < ROOMS
    expected = below("trimtab_runtime", "trimtab_runtime") | {"trimtab/__init__.py"}
    for room in ROOMS:
        expected |= below(room, f"trimtab/{room}")
    assert packaged(wheel) == expected


def test_the_wheel_holds_what_is_no_module(wheel: Path) -> None:
    dashboard, migrations = "trimtab/dashboard", "trimtab/db/migrations"
    assert packaged(wheel) >= {
        *(f"{dashboard}/{name}" for name in ("icon.svg", "style.css", "theme.toml")),
        *(f"{migrations}/{name}" for name in ("env.py", "script.py.mako")),
        f"{migrations}/versions/v0001_initial.py",
    }


def test_streamlit_puts_nothing_on_the_path_but_its_script() -> None:
    """It puts the script's folder first."""
    assert below("dashboard/script", "script") == {"script/main.py"}


def test_a_wheel_of_the_checkout_holds_the_same(wheel: Path, tmp_path: Path) -> None:
    """`make wheels` takes no source distribution between."""
    assert packaged(build(tmp_path, ROOT, "--wheel")) == packaged(wheel)


def test_the_wheel_for_devices_holds_their_part_alone(tmp_path: Path) -> None:
    found = packaged(build(tmp_path, ROOT / "packaging" / "runtime", "--wheel"))
    expected = below("trimtab_runtime", "trimtab_runtime")
    assert found == expected | {"trimtab_runtime/LICENSE"}
