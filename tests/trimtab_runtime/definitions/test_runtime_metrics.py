"""Names of metrics: those of the list, and the recall of any class."""

from __future__ import annotations

import pytest

from trimtab_runtime.codec import DecodeError, decode, encode
from trimtab_runtime.definitions.plan import OperatingPoint
from trimtab_runtime.metrics import METRICS, find_metric, recall_of, recalled_class

CLASSES = [
    "defective",
    "two words",
    "a[0]",
    "]",
    "[",
    "recall[x]",
    "x >= 3",
    "\u7532",
    "a\nb",
    " ",
]


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_of_the_list_is_found(name: str) -> None:
    assert find_metric(name) is METRICS[name]
    assert recalled_class(name) is None


@pytest.mark.parametrize("of", CLASSES)
def test_the_recall_of_any_class_is_a_metric(of: str) -> None:
    found = find_metric(recall_of(of))
    assert found.name == f"recall[{of}]"
    assert recalled_class(found.name) == of
    assert (found.kind, found.maximise, found.unit) == ("quality", True, "fraction")
    assert repr(of) in found.text


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("macro-f1", "macro_f1"),
        ("latency_mean", "latency_mean_ms"),
        ("recall[]", "recall[CLASS]"),
        ("recal[CLAS]", "recall[CLASS]"),
        ("zzz", None),
        ("", None),
        ("recall[a", None),
        ("recall[a] ", None),
        ("Recall[a]", None),
    ],
)
def test_what_is_no_metric_is_told_with_all_that_are(name: str, nearest: str | None) -> None:
    with pytest.raises(ValueError, match="unknown metric") as raised:
        find_metric(name)
    text = str(raised.value)
    assert text.startswith(f"unknown metric {name!r}; ")
    assert all(known in text for known in (*METRICS, "recall[CLASS]"))
    if nearest is not None:
        assert f"did you mean {nearest!r}?" in text
    assert recalled_class(name) is None


def test_operating_points_carry_recalls() -> None:
    point = OperatingPoint((0.5,), {"recall[a b]": 0.25, "macro_f1": 0.5})
    assert decode(OperatingPoint, encode(point)) == point
    for name in ("recall", "recall[]", "speed"):
        with pytest.raises(DecodeError, match=r"metrics: unknown metric"):
            decode(OperatingPoint, {"metrics": {name: 1.0}})
