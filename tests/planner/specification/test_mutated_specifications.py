"""A thousand and more wrong specifications: each is read, or refused with the path of a field."""

import copy
import json
import re
import string
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples

from trimtab.planner.specification.job import JobSpec, load_spec
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import SpecificationError
from trimtab_runtime.metrics import METRICS

TEXT = """\
name: line-camera
device: local
models:
  - {path: lite0.onnx, input: {size: 224, resize: bicubic, mean: 127, std: 128, layout: nchw,
     dtype: float32, colour: rgb, crop: 0.875}, output: {kind: logits}}
  - {path: mobilenet.tflite, name: mobile, input: {size: [224, 192], mean: [1, 2, 3],
     std: [4.5, 5, 6]}, output: {kind: probabilities, offset: 1}}
  - name: own
    torch: {entry: "nets:Small", arguments: {classes: 4}, state: small.pt, folder: nets}
    input: {size: 64}
reference: lite0.onnx
baseline: mobile
workload:
  images: photos/
  labels: photos/labels.csv
  classes: [cat, dog]
  splits: {fit: 300, tune: 500, test: 500, seed: 0, group: object}
  stream: {kind: independent}
objectives: {top1: max, latency_mean_ms: min, peak_memory_mb: min}
constraints: ["top1 >= 0.99 * baseline", "latency_p95_ms <= 30"]
techniques: {cascade: true, quantisation: [w8a8]}
runtime: {threads: [1, 2]}
budget: {minutes: 20, measurements: 30}
together: 12
verify: 6
"""
WHOLE = yaml.safe_load(TEXT)
#: A field (`models[1].input.size`), or the file that cannot be read as fields at all.
_STEP = r"(?:[\w-]+|\[[^\n]+?\])"
PATH = re.compile(rf"(\S[^\n]*\.yaml|{_STEP}(\.?{_STEP})*): \S")

_words = st.sampled_from(
    [
        "",
        "max",
        "min",
        "top1",
        "w8a8",
        "local",
        "independent",
        "inf",
        "NaN",
        "1e999",
        "~",
        "../..",
        "/",
        "~nobody/x",
        "top1 >= baseline",
        "a:b",
        "nets:Small",
        "${HOME}",
        "%s{0}",
        " ",
        "\x00",
        "a\x00b",
        "\ud800",
        "\u202e",
    ]
) | st.sampled_from(["é" * 300, "x" * 100_000, "top1 >= " + "9" * 400])
_floats = st.sampled_from([1e308, 1e-320, 0.5, -0.0, float("inf"), float("-inf"), float("nan")])
_numbers = _floats | st.sampled_from(
    [-1, 0, 1, 2, 1024, 2**31, 2**63, 2**64, 10**400, -(10**400), True, False, None]
)
_scalars = _words | _numbers | st.text(max_size=12) | st.dates() | st.binary(max_size=4)
values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_words | _numbers, inner, max_size=3)
    ),
    max_leaves=6,
)


def mutate(node, data):
    """Delete, rename, replace, repeat or add one thing, somewhere inside `node`."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and data.draw(st.integers(0, 3)):
            node = node[key]
            continue
        action = data.draw(st.sampled_from(["replace", "replace", "delete", "rename", "repeat"]))
        if action == "replace":
            node[key] = data.draw(values)
        elif action == "delete":
            del node[key]
        elif isinstance(node, list):
            node.append(copy.deepcopy(node[key]))
        elif action == "rename":
            letters = st.sampled_from(string.ascii_lowercase)
            node[str(key)[:-1] + data.draw(letters | values.filter(is_text))] = node.pop(key)
        else:
            node[data.draw(_scalars)] = copy.deepcopy(node[key])
        return


def is_text(value):
    return isinstance(value, str)


def loaded_or_refused(source):
    """The specification, or None after a refusal that names a field. Anything else escapes."""
    try:
        spec = load_spec(source)
    except SpecificationError as error:
        for line in str(error).split("\n"):
            assert line.strip(), repr(str(error))
        assert PATH.match(str(error)), repr(str(error))
        assert len(str(error)) < 100_000
        return None
    assert isinstance(spec, JobSpec)
    return spec


def test_the_whole_specification_is_good():
    spec = loaded_or_refused(WHOLE)
    assert [model.label for model in spec.models] == ["lite0", "mobile", "own"]


@examples(1000)
@given(data=st.data())
def test_fields_of_any_type_anywhere(data):
    """What is read is also written to the store: as JSON, with a name of its content."""
    changed = copy.deepcopy(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(changed, data)
    spec = loaded_or_refused(changed)
    if spec is not None:
        kept = spec.model_dump(mode="json")
        assert content_key(kept)
        assert load_spec(json.loads(json.dumps(kept))) == spec


@examples(1000)
@given(data=st.data())
def test_any_bytes_in_the_file(data, tmp_path_factory):
    """Flipped bytes, cut ends, odd text and YAML's own tricks in the middle."""
    content = bytearray(TEXT.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(0, len(content) - 1)))
        action = data.draw(st.sampled_from(["flip", "cut", "insert", "remove", "double"]))
        if action == "flip" and content:
            content[place] ^= data.draw(st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128, 255]))
        elif action == "cut":
            del content[place:]
        elif action == "remove":
            del content[place : place + data.draw(st.integers(1, 40))]
        elif action == "double":
            content[place:place] = content[place : place + 60]
        else:
            content[place:place] = data.draw(st.sampled_from(_TRICKS) | st.binary(max_size=6))
    file = tmp_path_factory.getbasetemp() / "mutated.yaml"
    file.write_bytes(bytes(content))
    loaded_or_refused(file)


_TRICKS = [text.encode() for text in METRICS] + [
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", "\u2028".encode(), b"\t", b"\r", b"---\n", b"...\n"),
    *(b"&a ", b"*a ", b"*b ", b"<<: *a\n", b"&a [*a]", b"? ", b"!!python/object:os.system "),
    *(b"!!binary x", b"!!set {a, b}", b"!!timestamp 9999-99-99", b"!!int 0x", b"!!float x "),
    *(b"9" * 5000, b"0b" + b"1" * 9000, b"1:" * 500 + b"1", b"1e400", b".inf", b".nan", b"0o9"),
    *(b"[" * 400, b"{" * 400, b"- " * 400, b"? " * 500, b"{a: " * 300, b"=", b"2026-02-30"),
    *(b"null: ", b"{1: 2}: 3\n", b"[a]: b\n", b"%YAML 9.9\n", b"%TAG ! !x\n", b"@", b"`"),
]

_NINE = "[1,1,1,1,1,1,1,1,1]"


def _nine(name):
    return "[" + ",".join(["*" + name] * 9) + "]"


_STEPS = list(zip("abcdefghij", "bcdefghijk", strict=True))


@pytest.mark.parametrize(
    "text",
    [
        f"a: &a {_NINE}\n" + "".join(f"{c}: &{c} {_nine(p)}\n" for p, c in _STEPS),
        "name: &a [*a]\nmodels: *a\n",
        "name: &a {x: *a}\nmodels: [*a]\nobjectives: *a\n",
        "models: &m\n" + "".join(f"  - &x{i} {{<<: [*m, *m, *m]}}\n" for i in range(9)),
        "a: &a {x: 1}\n" + "".join(f"{c}: &{c}\n  <<: {_nine(p)}\n" for p, c in _STEPS),
        f"models:\n- torch:\n    arguments:\n      a: &a {_NINE}\n"
        + "".join(f"      {c}: &{c} {_nine(p)}\n" for p, c in _STEPS),
        "models:\n- torch: &t {arguments: {a: *t}}\n",
        "[" * 100_000,
        "models: " + "{a: " * 50_000,
        "- " * 100_000,
        "verify: " + "9" * 1_000_000,
        "verify: " + "1:" * 30_000 + "1",
        "name: " + "'" * 1_000_001,
        "name: ''\n" * 200_000,
        "{" + "[" * 3000 + "]" * 3000 + ": 1}",
    ],
    ids=[
        "laughs",
        "itself",
        "itself in fields",
        "merges",
        "merge bomb",
        "laughs in arguments",
        "itself in arguments",
        "lists",
        "mappings",
        "items",
        "digits",
        "base 60",
        "quotes",
        "repeats",
        "nested key",
    ],
)
def test_bombs_are_refused(tmp_path, text):
    """What is not refused takes all memory, or never ends."""
    file = tmp_path / "job.yaml"
    file.write_text(text)
    assert loaded_or_refused(file) is None


@pytest.mark.parametrize("kind", ["missing", "folder", "large", "empty", "a number"])
def test_files_that_hold_no_fields(tmp_path, kind):
    file = tmp_path / "job.yaml"
    if kind == "folder":
        file.mkdir()
    elif kind != "missing":
        file.write_text({"large": "# " + " " * 2**21, "empty": "", "a number": "7"}[kind])
    assert loaded_or_refused(file) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"modles": []}, "modles: unknown field; did you mean 'models'?"),
        ({"budget": {"minuets": 3}}, "budget.minuets: unknown field; did you mean 'minutes'?"),
        (
            {"workload": {"images": "x", "split": {}}},
            "workload.split: unknown field; did you mean 'splits'?",
        ),
        ({"models": [{"path": "a.onnx", "input": {"sise": 3}}]}, "models[0].input.sise: unknown"),
        ({"objectives": {"top_1": "max"}}, "objectives: unknown metric 'top_1'; did you mean"),
        ({"models": []}, "models: "),
        (
            {"reference": "nobody"},
            "reference: no model is called 'nobody'; choose one of lite0, mobile, own",
        ),
        ({"workload": 3}, "workload: "),
        ({"\ud800": 1}, "specification: "),
        ({"verify": 10**400}, "verify: "),
        ({7: 1}, "[7]: "),
    ],
)
def test_the_path_and_the_nearest_name(change, told):
    with pytest.raises(SpecificationError) as raised:
        load_spec({**WHOLE, **change})
    assert told in str(raised.value)
    assert str(raised.value).count("\n") == 0


def test_every_wrong_field_has_a_line_of_its_own(tmp_path: Path):
    wrong = {**WHOLE, "nmae": 1, "verify": -1, "budget": {"minutes": "soon"}}
    with pytest.raises(SpecificationError) as raised:
        load_spec(wrong)
    starts = sorted(line.partition(":")[0] for line in str(raised.value).split("\n"))
    assert starts == ["budget.minutes", "nmae", "verify"]


@pytest.mark.parametrize(
    "change",
    [
        {"minutes": 3},
        {"sise": 3},
        {"budget": {"resize": "box"}},
        {"workload": {"images": "x", "classes": ["a"], "means": 3}},
    ],
)
def test_suggestions_come_from_the_fields_of_the_place(change):
    """`minutes`, `size`, `resize` and `mean` are fields, of other places."""
    with pytest.raises(SpecificationError) as refused:
        load_spec({**copy.deepcopy(WHOLE), **change})
    assert "unknown field" in str(refused.value)
    assert "did you mean" not in str(refused.value)
