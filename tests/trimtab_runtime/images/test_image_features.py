"""Features of images against what OpenCV and NumPy say directly."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from sample_models import texture_images

from trimtab_runtime.errors import EngineError, WorkloadError
from trimtab_runtime.images import features as module
from trimtab_runtime.images.features import IMAGE_FEATURES, LONGEST_SIDE, image_features, opencv

Array = np.ndarray[Any, np.dtype[Any]]


def scene(seed: int = 0) -> Array:
    """uint8 (96, 120, 3): a bright box and thin lines on a dark texture."""
    image = texture_images(1, seed=seed, size=120)[0][0][:96] // 3
    cv2.rectangle(image, (20, 30), (79, 49), (250, 240, 200), -1)
    cv2.line(image, (5, 5), (110, 5), (255, 255, 255), 1)
    return np.ascontiguousarray(image)


def of(image: Array, *names: str) -> list[float]:
    found: list[float] = image_features(image, names).tolist()
    return found


def bins(image: Array, name: str) -> Array:
    return image_features(image, [f"{name}_{number}" for number in range(1, 8)])


def test_brightness_and_contrast() -> None:
    image = scene()
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
    pixels = image.reshape(-1, 3).astype(np.float64)
    mean, squares = pixels.mean(0), (pixels**2).mean(0)
    weights = np.array([0.241, 0.691, 0.068])
    found = of(
        image,
        "brightness",
        "brightness_rms",
        "perceived_brightness",
        "perceived_brightness_rms",
        "contrast",
    )
    expected = [
        gray.mean(),
        np.sqrt((gray**2).mean()),
        np.sqrt(weights @ mean**2),
        np.sqrt(weights @ squares),
        gray.std(),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_keypoints() -> None:
    gray = cv2.cvtColor(scene(), cv2.COLOR_RGB2GRAY)
    corners = cv2.FastFeatureDetector_create(threshold=20).detect(gray, None)
    assert of(scene(), "keypoints") == [len(corners)]
    assert len(corners) >= 4


def test_hue() -> None:
    image = scene(3)
    hue = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 0]
    counts, _ = np.histogram(hue, 7, (0, 180))
    np.testing.assert_allclose(bins(image, "hue"), counts / hue.size, rtol=1e-6)
    red, blue = np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 200
    assert bins(red, "hue").argmax() == 0
    assert bins(blue, "hue").argmax() == 4


def test_edges() -> None:
    image = scene()
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    right = cv2.Sobel(gray, cv2.CV_16S, 1, 0, ksize=3)
    down = cv2.Sobel(gray, cv2.CV_16S, 0, 1, ksize=3)
    edges = cv2.Canny(right, down, 100, 200)
    count, places = cv2.connectedComponents(edges, connectivity=8)
    lengths = [int((places == number).sum()) for number in range(1, count)]
    expected = [
        sum(low < n <= high for n in lengths)
        for low, high in ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 128), (128, 10**9))
    ]
    np.testing.assert_allclose(bins(image, "edge_length"), np.array(expected) / len(lengths))
    angles = cv2.phase(right.astype(np.float64), down.astype(np.float64))[edges > 0] % np.pi
    counts, _ = np.histogram(angles, 7, (0, np.pi))
    np.testing.assert_allclose(bins(image, "edge_angle"), counts / angles.size, atol=2e-3)


@pytest.mark.parametrize(("across", "bin_number"), [(True, 1), (False, 4)])
def test_edges_of_stripes(across: bool, bin_number: int) -> None:
    """Upright edges have a gradient to the side (0 degrees), level ones one down (90)."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::16], image[:, 1::16] = 255, 255
    image = image if across else np.ascontiguousarray(image.transpose(1, 0, 2))
    assert bins(image, "edge_angle")[bin_number - 1] > 0.9


def test_the_main_object() -> None:
    """A box of 60 x 20 pixels: its contour runs through the outermost of them."""
    image = np.zeros((96, 120, 3), np.uint8)
    image[30:50, 20:80] = 255
    image[70:75, 20:30] = 255
    area, ratio = of(image, "area_by_perimeter", "aspect_ratio")
    assert area == pytest.approx(59 * 19 / (2 * (59 + 19)))
    assert ratio == 3.0


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 9, 3), (1, 400, 3), (600, 2, 3)])
@pytest.mark.parametrize("level", [0, 255])
def test_images_without_anything_on_them(shape: tuple[int, ...], level: int) -> None:
    found = image_features(np.full(shape, level, np.uint8))
    assert found.shape == (len(IMAGE_FEATURES),)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert bins(np.full(shape, level, np.uint8), "edge_length").sum() == 0


def test_large_images_are_reduced_first() -> None:
    large = cv2.resize(scene(), (1200, 960), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(large, (LONGEST_SIDE, 205), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(image_features(large), image_features(small))


def test_only_what_is_named_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(view: Any) -> Any:
        raise AssertionError("nobody asked for edges")

    monkeypatch.setitem(module._HISTOGRAMS, "edge_length", never)
    whole = image_features(scene(), [n for n in IMAGE_FEATURES if "edge_length" not in n])
    assert len(whole) == len(IMAGE_FEATURES) - 7
    assert of(scene(), "hue_2", "contrast") == [whole[-6], whole[5]]


def test_names_and_images_that_cannot_be() -> None:
    for name in ("hue_8", "hue", "edge_length_0", "sharpness", ""):
        with pytest.raises(ValueError, match="no feature is called"):
            image_features(scene(), [name])
    for image in (scene()[..., 0], scene().astype(np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(WorkloadError, match="an image uint8"):
            image_features(image)


def test_without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    opencv.cache_clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(EngineError, match="pip install opencv-python-headless"):
        opencv()


def test_opencv_waits_until_it_is_asked_for() -> None:
    """Plans without image features need none, and have one thread of it where they do."""
    code = (
        "import sys, json, trimtab_runtime, trimtab_runtime.probe.measure as m;"
        "before = 'cv2' in sys.modules;"
        "from trimtab_runtime.images.features import opencv;"
        "print(json.dumps([before, opencv().getNumThreads()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert json.loads(done.stdout) == [False, 1]
