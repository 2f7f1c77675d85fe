"""The runtime's own source: devices run old Pythons."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import trimtab_runtime

SOURCES = sorted(Path(trimtab_runtime.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_it_is_python_3_9(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 9))
    future = "from __future__ import annotations" in text
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.FunctionDef) and not future:
            raise AssertionError(f"{source.name}:{node.lineno}: annotations are evaluated")
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "zip":
            assert "strict" not in [keyword.arg for keyword in node.keywords], node.lineno
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dataclass":
            given = {keyword.arg for keyword in node.keywords}
            assert not given & {"slots", "kw_only"}, node.lineno


def test_all_of_it_is_looked_at() -> None:
    assert {"plan.py", "archive.py", "__main__.py", "_onnx.py"} <= {path.name for path in SOURCES}
