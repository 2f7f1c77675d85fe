"""Content keys never change: what a store holds is found by them, whichever version made it.

The hashes were computed by the code of commit b108565, by which the keys of all stores that there
were until then were made. A test that fails here means that these stores would be measured again.
"""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from trimtab.planner.cache import keys
from trimtab.variants import QuantisationRecipe, Wishes
from trimtab.workloads import Item
from trimtab_runtime.definitions.exits import NO_MEMORY, Exits, Memory, Tap
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.definitions.routers import Router
from trimtab_runtime.formats import InputFormat, OutputFormat
from trimtab_runtime.probe.requests import MeasureSettings

FINGERPRINT = {
    "cpu": "abacus",
    "machine": "x86_64",
    "isa": "avx2",
    "numpy": "2.1.0",
    "pillow": "11.0",
    "onnxruntime": "1.20.1",
}
VARIANT = Variant(
    "net",
    "ab" * 32,
    "onnx",
    1000,
    InputFormat((32, 48), mean=(127.5,), std=(127.5,)),
    OutputFormat("logits", 1),
)
OPTIONS = RuntimeOptions("onnxruntime", "default", 2)
ITEMS = [Item(Path("x.png"), "x.png", None, None, digit * 64, 1) for digit in "123"]
IMAGES = [item.sha256 for item in ITEMS]
EXITS = Exits((Tap("relu1", "cd" * 32, ("heads",)),), "ef" * 32, "01" * 32)
SETTINGS = MeasureSettings(min_rounds=8)


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version of onnxruntime is part of what is built with it."""
    monkeypatch.setattr(onnxruntime, "__version__", "1.20.1")


def test_measurements() -> None:
    whole = keys.stage_content(VARIANT, OPTIONS, None, None)
    content = keys.measurement_content([whole], SETTINGS, ITEMS, 0, NO_MEMORY, None)
    assert keys.measurement_key(FINGERPRINT, content) == (
        "46ab671a4d84f5fe618df4012fc71df829448f10372326403d7a969e943c8433"
    )


def test_measurements_together_with_exits_a_scorer_memory_and_a_router() -> None:
    stages = [
        keys.stage_content(VARIANT, OPTIONS, EXITS, "77" * 32),
        keys.stage_content(VARIANT, OPTIONS, None, None),
    ]
    router = Router("88" * 32, "tap", (1.0, 2.5))
    content = keys.measurement_content(stages, SETTINGS, ITEMS, 2, Memory(thumbnails=32), router)
    assert keys.measurement_key(FINGERPRINT, content) == (
        "f5b37ab8223cabcba19ffebf7b29cb7c9d36a8665b38620a0943a47a48ea797d"
    )


def test_races_of_blocks() -> None:
    assert keys.race_key(FINGERPRINT, OPTIONS, keys.race_content(["m1", "m2"], 48)) == (
        "0a903fdf728eb0920b9364f9a4486458962566dd6d6d3b3a4bb45e416e0d9200"
    )


@pytest.mark.parametrize(
    ("exits", "thumbnails", "key"),
    [
        (None, False, "182b76cf725a5af845b15c883c6431fcee601c096c6383566f683f231a40cc11"),
        (EXITS, False, "61f01a76b8a95ee826b03c804251ddd82d0bce2f055127229743c02db55096c3"),
        (None, True, "5c408b9e37e8fee45402a30514d17d9454934c290fb36084e3d64e753268f6e3"),
    ],
)
def test_traces(exits: Exits | None, thumbnails: bool, key: str) -> None:
    engine = keys.engine_key(OPTIONS, FINGERPRINT)
    content = keys.outputs_content(VARIANT, engine, exits, thumbnails)
    assert keys.trace_key(FINGERPRINT, content, IMAGES) == key


def test_features_of_images() -> None:
    content = keys.features_content(["keypoints", "contrast"])
    assert keys.trace_key(FINGERPRINT, content, IMAGES) == (
        "e46859293f904136d1a84d34e6b330a79bfa2e12909288ae897823374e8e4538"
    )


@pytest.mark.parametrize(
    ("torch", "key"),
    [
        (None, "15d004138d3089f430a8df979aed0f4224a38764662c01bbc356aa9d371d737c"),
        ("pkg.mod:make", "8bf88d8616866532ef65d010556f0fb1dc370ba1d6f2fa0fe29b4554cacff99f"),
    ],
)
def test_members(torch: str | None, key: str) -> None:
    assert keys.variant_key(keys.member_lineage(VARIANT, VARIANT.sha256, torch)) == key


def test_quantised_variants() -> None:
    lineage = keys.precision_lineage("w8a8", "k1", QuantisationRecipe(), ITEMS)
    assert keys.variant_key(lineage) == (
        "0f780bb25b785f91974cf9cd790f7ad628d9394d5dcf4b73662a58ae2497201e"
    )


def test_slimmed_variants() -> None:
    lineage = keys.slimmed_lineage("k1", ["b1", "b2"], "i1", {"epochs": 2}, {"epochs": 3}, 4)
    assert keys.variant_key(lineage) == (
        "2d216da91512598afb077ebe835d23cf610d6bfa1fa7bdac4f38adcfb09298ea"
    )


def test_segments_and_the_arrays_of_taps() -> None:
    taps, files = [("relu1", ("heads",))], ["cd" * 32, "ef" * 32, "01" * 32]
    found = [keys.variant_key(keys.segment_lineage("k1", taps, files, n)) for n in range(3)]
    assert found == [
        "ccce8aae5cdf99d6aafa00eb7d413a94e83e755400170e6d728230e331a88363",
        "07999337b87e09bddc4a179751fd951ce1786f2223786c35bfc505a957a10249",
        "6327b445cf0e34f320a11c180f78851fd6ef767bed3dfff42fae9d22d62df8fb",
    ]


def test_routers_and_scorers() -> None:
    assert keys.variant_key(keys.decider_lineage("router", ["k1", "k2"], "88" * 32)) == (
        "8c5ff3bdf446d9ee3d722e82afe5d26755e5387f39402e4ce4d3e7405d9f0551"
    )


def test_images() -> None:
    assert keys.images_key(ITEMS) == (
        "793773bd498ce5ce8e7936d9e04d089fabffab2b70ffaa91168174a7ba158b91"
    )


def test_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raising VIEW_VERSION changes this key, and is meant to."""
    monkeypatch.setattr("onnx.__version__", "1.18.0")
    wishes = Wishes(size=(32, 48))
    monkeypatch.setattr(keys, "VIEW_VERSION", 1)
    assert keys.view_key(["ab"], wishes) == (
        "78d2ee71a5131c24869f73ab85f5fddbcf771d2b175aec607a12c04ede18f9e8"
    )
    monkeypatch.setattr(keys, "VIEW_VERSION", 2)
    assert keys.view_key(["ab"], wishes) == (
        "10947054cfe6812a216f83789f78d1f99f4117ee9a582c9abcfe77d9c0c526aa"
    )
