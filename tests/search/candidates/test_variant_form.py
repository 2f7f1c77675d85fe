"""Forms of variants: as stores have them, and back."""

from __future__ import annotations

import pytest

from trimtab.search.candidates.candidate import ORIGINAL, Candidate, VariantForm
from trimtab_runtime.definitions.plan import RuntimeOptions

#: Of the same candidates, made by commit b108565.
KEYS = (
    "91b49d51947d204abd82147a40b1ef1df9d13f7007592faed4b88af5ede1d15b",
    "e9180f99042c95598241438c481a39cd1e4d9f57ba0633a5302e437d6135cb30",
)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("as_is", ORIGINAL),
        ("w8a8", VariantForm(scheme="w8a8")),
        ("slim1", VariantForm("slim", 1)),
        ("prune0.25", VariantForm("prune", 0.25)),
        ("slim12 w8a8", VariantForm("slim", 12, "w8a8")),
    ],
)
def test_a_form_is_written_and_read(text: str, form: VariantForm) -> None:
    assert VariantForm.parse(text) == form
    assert form.text == text


@pytest.mark.parametrize("text", ["", " ", "slim1  w8a8", "w8a8 slim1", "Slim1", "w8a8 w8a8"])
def test_what_is_no_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no form of a variant"):
        VariantForm.parse(text)


def test_keys_are_those_of_earlier_stores() -> None:
    """Literal keys of commit b108565, where the form was a field `precision` of text."""
    options = RuntimeOptions("onnxruntime", "default", 2)
    assert Candidate("net", ORIGINAL, options).key == KEYS[0]
    assert Candidate("net", VariantForm("slim", 1, "w8a8"), options).key == KEYS[1]
