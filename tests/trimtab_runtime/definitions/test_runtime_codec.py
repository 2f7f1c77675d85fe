"""JSON both ways of everything that a plan, a manifest or a request is made of."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any

import early_strategies as early
import pytest
import routed_strategies as routed
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples

from trimtab_runtime.bundles import manifest
from trimtab_runtime.bundles.manifest import Manifest
from trimtab_runtime.codec import DecodeError, canonical, content_key, decode, encode
from trimtab_runtime.definitions import exits, routers
from trimtab_runtime.definitions import plan as definition
from trimtab_runtime.definitions.exits import Centres, Exits, ExitThresholds, Memory, Prior, Tap
from trimtab_runtime.definitions.plan import (
    InputFormat,
    OperatingPoint,
    OutputFormat,
    PlanDefinition,
    Quantisation,
    RuntimeOptions,
    Stage,
    Structure,
    Variant,
)
from trimtab_runtime.definitions.routers import Router, Scorer
from trimtab_runtime.formats import FITS, POINT_FILTERS
from trimtab_runtime.metrics import METRICS
from trimtab_runtime.probe.requests import KINDS

finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(1e-30, 1e30)
hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
texts = st.text(max_size=8)
quantisations = st.builds(Quantisation, scale=positive, zero_point=st.integers(-255, 255))


@st.composite
def geometries(draw: st.DrawFn, channels: int) -> dict[str, Any]:
    """Fields of an InputFormat that go together."""
    fit = draw(st.sampled_from(FITS))
    last = fit in ("crop", "pad") and draw(st.booleans())
    size = draw(st.tuples(st.integers(1, 8000), st.integers(1, 8000)))
    more = draw(st.tuples(st.integers(0, 99), st.integers(0, 99)))
    found: dict[str, Any] = {"size": size, "fit": fit, "resize_last": last}
    if fit == "inside":
        pass  # the graph resizes
    elif not last and draw(st.booleans()):
        found["resize_size"] = (size[0] + more[0], size[1] + more[1])
    elif not (last and fit == "pad"):
        found["crop"] = draw(st.floats(0.5, 1))
    if fit == "pad":
        count = draw(st.sampled_from([1, channels]))
        each = st.integers(0, 255)
        found["pad_colour"] = tuple(draw(st.lists(each, min_size=count, max_size=count)))
    found["resize"] = draw(st.sampled_from(definition.RESIZE_FILTERS))
    found["antialias"] = found["resize"] not in POINT_FILTERS or draw(st.booleans())
    return found


@st.composite
def input_formats(draw: st.DrawFn) -> InputFormat:
    colour = draw(st.sampled_from(definition.COLOURS))
    counts = st.sampled_from([1] if colour == "gray" else [1, 3])
    scale = finite.filter(bool)
    geometry = draw(geometries(1 if colour == "gray" else 3))
    return InputFormat(
        **geometry,
        mean=tuple(draw(counts.flatmap(lambda n: st.lists(finite, min_size=n, max_size=n)))),
        std=tuple(draw(counts.flatmap(lambda n: st.lists(scale, min_size=n, max_size=n)))),
        layout=draw(st.sampled_from(definition.LAYOUTS)),
        dtype=draw(st.sampled_from(definition.DTYPES)),
        colour=colour,
        quantisation=draw(st.none() | quantisations),
    )


output_formats = st.builds(
    OutputFormat,
    kind=st.sampled_from(definition.OUTPUT_KINDS),
    offset=st.integers(0, 5),
    quantisation=st.none() | quantisations,
)


def runtime_options(spinning: st.SearchStrategy[bool]) -> st.SearchStrategy[RuntimeOptions]:
    return st.builds(
        RuntimeOptions,
        engine=st.sampled_from(definition.ENGINES),
        provider=st.sampled_from(["default", "CPUExecutionProvider", "XNNPACK"]) | texts,
        threads=st.integers(1, 1024),
        spinning=spinning,
        graph_optimisation=st.sampled_from(definition.GRAPH_LEVELS),
    )


variants = st.builds(
    Variant,
    name=texts,
    sha256=hexes,
    format=st.sampled_from(["onnx", "tflite"]),
    size_bytes=st.integers(0, 2**60),
    input=input_formats(),
    output=output_formats,
)


def stages(spinning: st.SearchStrategy[bool]) -> st.SearchStrategy[Stage]:
    return st.builds(
        Stage,
        variant=hexes,
        options=runtime_options(spinning),
        temperature=positive,
        exits=st.none() | early.exit_plans,
        scorer=st.none() | routed.scorers,
    )


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    count = draw(st.integers(1, 3))
    chosen = draw(st.lists(stages(st.just(False)), min_size=count, max_size=count))
    chosen[-1] = dataclasses.replace(chosen[-1], scorer=None)
    taps = [tap for stage in chosen if stage.exits for tap in stage.exits.taps]
    if count == 1 and not taps:
        options = dataclasses.replace(chosen[0].options, spinning=draw(st.booleans()))
        chosen = [dataclasses.replace(chosen[0], options=options)]
    kinds, rule = (
        {kind for tap in taps for kind in tap.kinds},
        draw(st.sampled_from(definition.RULES)),
    )
    if count > 1 and kinds <= {"heads"} and draw(st.booleans()):
        seen = tuple(routed.FEATURE_KINDS)[: None if chosen[0].exits else 2]
        router = draw(routed.routers(input_formats(), count, seen))
        return Structure("premodel", tuple(chosen), rule, router=router)
    route = "single" if count == 1 else "cascade"
    return Structure(route, tuple(chosen), rule, draw(early.memories_for(kinds)))


def points(structure: Structure | None = None) -> st.SearchStrategy[OperatingPoint]:
    least, most = (0, 3) if structure is None else (len(structure.stages) - 1,) * 2
    lists = st.lists(finite, min_size=least, max_size=most)
    ends = early.thresholds if structure is None else early.thresholds_for(structure.exit_kinds)
    return st.builds(
        OperatingPoint,
        thresholds=lists.map(tuple),
        metrics=st.dictionaries(st.sampled_from(sorted(METRICS)), finite, max_size=4),
        exits=ends,
        price=routed.prices if structure is None or structure.router else st.just(0.0),
    )


@st.composite
def plan_definitions(draw: st.DrawFn) -> PlanDefinition:
    structure = draw(structures())
    point = draw(points(structure))
    return PlanDefinition(structure, point.thresholds, point.exits, point.price)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    structure = draw(structures())
    cut = {stage.variant for stage in structure.stages if stage.exits}
    used = []
    for sha in dict.fromkeys(stage.variant for stage in structure.stages):
        made = dataclasses.replace(draw(variants), sha256=sha)
        used.append(dataclasses.replace(made, format="onnx") if sha in cut else made)
    bundled = draw(st.lists(points(structure), min_size=1, max_size=3))
    files = {f"models/{variant.file_name}": variant.sha256 for variant in used}
    for ends in (stage.exits for stage in structure.stages if stage.exits):
        files.update({f"models/{sha}.onnx": sha for sha in ends.segments})
        files[f"arrays/{ends.arrays}.npz"] = ends.arrays
    files.update({f"models/{sha}.onnx": sha for sha in structure.deciders})
    pairs = st.dictionaries(texts, texts, max_size=3)
    return Manifest(
        protocol=manifest.PROTOCOL,
        name=draw(texts),
        trimtab_version=draw(texts),
        structure=structure,
        variants=tuple(used),
        points=tuple(bundled),
        point=draw(st.integers(0, len(bundled) - 1)),
        labels=tuple(draw(st.lists(texts, min_size=1, max_size=4))),
        requires=tuple(draw(st.lists(texts, max_size=2))),
        engines=draw(pairs),
        device=draw(pairs),
        tolerance=draw(positive),
        files={**draw(pairs), **files},
    )


pieces = st.builds(
    manifest.Piece,
    file=texts,
    start=st.integers(0, 2**40),
    length=st.integers(1, 2**40),
)

provenances = st.builds(
    manifest.Provenance,
    job=texts,
    plan=hexes,
    workload=hexes,
    versions=st.dictionaries(texts, texts, max_size=3),
)

ANY: dict[type, st.SearchStrategy[Any]] = {
    Quantisation: quantisations,
    InputFormat: input_formats(),
    OutputFormat: output_formats,
    RuntimeOptions: runtime_options(st.booleans()),
    Variant: variants,
    Stage: stages(st.booleans()),
    OperatingPoint: points(),
    Structure: structures(),
    PlanDefinition: plan_definitions(),
    Manifest: manifests(),
    manifest.Piece: pieces,
    manifest.Provenance: provenances,
    Tap: early.taps,
    Exits: early.exit_plans,
    ExitThresholds: early.thresholds,
    Memory: early.memories,
    Centres: early.centres,
    Prior: early.priors,
    Scorer: routed.scorers,
    Router: routed.routers(input_formats()),
}


def test_every_type_of_a_bundle_is_tried_here() -> None:
    defined = {
        kind
        for module in (definition, manifest, exits, routers)
        for kind in vars(module).values()
        if inspect.isclass(kind) and dataclasses.is_dataclass(kind)
    }
    assert defined == set(ANY)


@pytest.mark.parametrize("kind", list(ANY), ids=lambda kind: kind.__name__)
@examples(40)
@given(data=st.data())
def test_values_survive_json(kind: type, data: st.DataObject) -> None:
    value = data.draw(ANY[kind])
    text = canonical(value)
    again = decode(kind, json.loads(text))
    assert again == value
    assert canonical(again) == text


@examples(60)
@given(input_formats())
def test_fields_at_their_default_are_left_out(fmt: InputFormat) -> None:
    written = encode(fmt)
    for field in dataclasses.fields(InputFormat):
        stands = field.name in written
        required = field.default is dataclasses.MISSING
        assert stands == (required or getattr(fmt, field.name) != field.default)


def test_the_smallest_text_of_a_plan() -> None:
    plan = PlanDefinition(Structure("single", (Stage("ab", RuntimeOptions("litert")),)))
    assert canonical(plan) == (
        '{"structure":{"route":"single","stages":[{"options":{"engine":"litert"},"variant":"ab"}]}}'
    )


def test_content_names_never_change() -> None:
    """Stores and bundles of earlier versions hold these; a change here makes them strangers."""
    onnx, lite = RuntimeOptions("onnxruntime", threads=2), RuntimeOptions("litert")
    fmt = InputFormat((224, 192), resize="bicubic", mean=(127.0,), std=(128.0,), layout="nhwc")
    cascade = Structure("cascade", (Stage("a" * 64, onnx, 1.25), Stage("b" * 64, lite)), "mean")
    assert {
        "format": content_key(fmt),
        "structure": cascade.key,
        "plan": PlanDefinition(cascade, (0.625,)).key,
        "mapping": content_key({"b": 1, "a": [True, None, "é"]}),
    } == {
        "format": "29c3a9ce7dd30497d0f0e221cdc9f57176c409438b54217b9c4783061c14ed0d",
        "structure": "5083a86736adfea8f6ce3c3a013c5685d7e7c3e331b084e6056a4750d5d9882e",
        "plan": "12e73510a5420f9c1f7738535d5719023efdaf8f4509f50d84df1a97ab53768c",
        "mapping": "ef6470ba9d8048e5122c7f3dc9137c14e6d052bd3a8d2c3318d19cc8c1e22b3c",
    }


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        (Quantisation, {"scale": 1.0}, "zero_point: missing"),
        (Quantisation, {"scale": 1.0, "zero_point": 0, "x": 1}, "Quantisation: unknown field 'x'"),
        (Quantisation, {"scale": "1", "zero_point": 0}, "scale: expected float, got '1'"),
        (Quantisation, {"scale": True, "zero_point": 0}, "scale: expected float, got True"),
        (Quantisation, {"scale": 1.0, "zero_point": True}, "zero_point: expected int, got True"),
        (Quantisation, {"scale": 1.0, "zero_point": 1.0}, "zero_point: expected int, got 1.0"),
        (Quantisation, {"scale": float("nan"), "zero_point": 0}, "scale: expected a finite"),
        (Quantisation, {"scale": float("inf"), "zero_point": 0}, "scale: expected a finite"),
        (Quantisation, {"scale": 10**400, "zero_point": 0}, "scale: expected a finite"),
        (Quantisation, {"scale": None, "zero_point": 0}, "scale: expected float, got None"),
        (Quantisation, [], "Quantisation: expected an object, got []"),
        (InputFormat, {"size": [8]}, "size: expected 2 items, got 1"),
        (InputFormat, {"size": 8}, "size: expected a list, got 8"),
        (InputFormat, {"size": [8, 8.5]}, "size[1]: expected int, got 8.5"),
        (InputFormat, {"size": [8, 8], "mean": [0, "0", 0]}, "mean[1]: expected float, got '0'"),
        (InputFormat, {"size": [8, 8], "resize": "cubic"}, "InputFormat: resize must be one of"),
        (InputFormat, {"size": [8, 0]}, "InputFormat: 1 <= size <= 16384 must hold, got (8, 0)"),
        (RuntimeOptions, {"engine": "litert", "spinning": 1}, "spinning: expected bool, got 1"),
        (RuntimeOptions, {"engine": "tensorrt"}, "RuntimeOptions: engine must be one of"),
        (
            Structure,
            {"route": "single", "stages": [{"variant": "a", "options": {}}]},
            "stages[0].options.engine: missing",
        ),
        (
            Structure,
            {"route": "single", "stages": [{"variant": "a", "options": {"engine": "x"}}]},
            "stages[0].options: engine must be one of",
        ),
        (Structure, {"route": "cascade", "stages": []}, "Structure: a cascade plan cannot have 0"),
        (OperatingPoint, {"metrics": {"top1": "high"}}, "metrics.top1: expected float"),
        (OperatingPoint, {"metrics": [1]}, "metrics: expected an object, got [1]"),
        (
            OperatingPoint,
            {"metrics": {"speed": 1.0}},
            "OperatingPoint: metrics: unknown metric 'speed'",
        ),
        (KINDS["measure"], {"stages": [{"model": 3}]}, "stages[0].model: expected str, got 3"),
    ],
)
def test_a_wrong_field_is_named(kind: type, data: Any, message: str) -> None:
    with pytest.raises(DecodeError) as raised:
        decode(kind, data)
    assert str(raised.value).startswith(message)


def test_values_that_json_cannot_hold_are_not_written() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(OperatingPoint((float("nan"),)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", list(ANY), ids=lambda kind: kind.__name__)
@examples(40)
@given(data=st.data())
def test_a_changed_document_decodes_or_says_why(kind: type, data: st.DataObject) -> None:
    document = json.loads(canonical(data.draw(ANY[kind])))
    node = document
    while True:
        names = sorted(node) or ["new"] if isinstance(node, dict) else list(range(len(node)))
        name = data.draw(st.sampled_from(names))
        inner = node.get(name) if isinstance(node, dict) else node[name]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        node = inner
    node[name] = data.draw(json_values)
    try:
        decoded = decode(kind, document)
    except DecodeError:
        return
    assert decode(kind, json.loads(canonical(decoded))) == decoded
