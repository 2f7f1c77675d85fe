"""trimtab_runtime as a wheel, made of the package that this process runs.

A release builds the same from packaging/runtime; an installed planner has no sources to build
from, and must send what it runs itself. A wheel is also a zip file that Python imports from.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import trimtab_runtime

#: What pip gets for each engine; a board's own build of one serves as well.
ENGINES = {
    "onnxruntime": "onnxruntime",
    "litert": "ai-edge-litert",
    "tflite-runtime": "tflite-runtime",
}
_NEEDS = ("numpy>=1.22", "pillow")
_TIME = (2020, 1, 1, 0, 0, 0)


def runtime_wheel(folder: Path) -> Path:
    """Write the wheel into `folder`. The same sources give the same bytes."""
    version = trimtab_runtime.__version__
    root = Path(trimtab_runtime.__file__).parent
    files = {
        f"trimtab_runtime/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*.py"))
    }
    info = f"trimtab_runtime-{version}.dist-info"
    files[f"{info}/METADATA"] = _metadata(version).encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: trimtab\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD").encode()
    target = folder / f"trimtab_runtime-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return target


def _metadata(version: str) -> str:
    lines = ["Metadata-Version: 2.1", "Name: trimtab-runtime", f"Version: {version}"]
    lines += ["Requires-Python: >=3.9", *(f"Requires-Dist: {need}" for need in _NEEDS)]
    return "\n".join(lines) + "\n"


def _record(files: dict[str, bytes], itself: str) -> str:
    rows = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(content)}")
    return "\n".join([*rows, f"{itself},,"]) + "\n"
