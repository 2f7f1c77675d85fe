"""Features of a photograph that cost less than any network: the published candidates.

Source: Taylor et al., LCTES 2018, and Marco et al., TECS 2020, as SOURCES.md restates them in
section 3. The papers name the features and leave their arithmetic open; ours stands at each
function. OpenCV computes them, with one thread; it is imported when the first is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

from trimtab_runtime.errors import EngineError, WorkloadError

Array = Any

#: Larger images are reduced to so many pixels a side first: it bounds what features cost, and key
#: points and edges of photographs are counted at one scale.
LONGEST_SIDE = 256
#: Of the Canny edge detector, in units of its 3x3 Sobel gradient.
EDGE_LOW, EDGE_HIGH = 100, 200
#: Of the FAST detector, in grey levels.
KEYPOINT_THRESHOLD = 20
#: Upper ends of the bins of edge lengths, in pixels; the last bin is open.
EDGE_LENGTHS = (4, 8, 16, 32, 64, 128)
_BINS = 7
#: What red, green and blue count for in perceived brightness (their squares are summed).
_PERCEIVED = (0.241, 0.691, 0.068)


@cache
def opencv() -> Any:
    """The module cv2, told once to use one thread. Raises EngineError where it is missing."""
    try:
        module = importlib.import_module("cv2")
    except ImportError:
        raise EngineError(
            "OpenCV is missing, which image features need: pip install opencv-python-headless"
        ) from None
    module.setNumThreads(1)
    return module


class _View:
    """An image, and what several of its features share."""

    def __init__(self, image: Array) -> None:
        self.cv2 = opencv()
        longest = max(image.shape[:2])
        if longest > LONGEST_SIDE:
            height, width = (max(1, round(n * LONGEST_SIDE / longest)) for n in image.shape[:2])
            image = self.cv2.resize(image, (width, height), interpolation=self.cv2.INTER_AREA)
        self.rgb = image

    @cached_property
    def gray(self) -> Array:
        return self.cv2.cvtColor(self.rgb, self.cv2.COLOR_RGB2GRAY)

    @cached_property
    def levels(self) -> tuple[float, float]:
        """Mean and standard deviation of grey levels."""
        mean, deviation = self.cv2.meanStdDev(self.gray)
        return float(mean[0, 0]), float(deviation[0, 0])

    @cached_property
    def colours(self) -> tuple[Array, Array]:
        """Mean and standard deviation of red, green and blue, (3,) each."""
        mean, deviation = self.cv2.meanStdDev(self.rgb)
        return mean[:, 0], deviation[:, 0]

    @cached_property
    def gradient(self) -> tuple[Array, Array]:
        """Sobel, int16, to the right and down."""
        right, down = self.cv2.spatialGradient(self.gray)
        return right, down

    @cached_property
    def edges(self) -> Array:
        """Pixels on Canny edges, not 0 there."""
        return self.cv2.Canny(*self.gradient, EDGE_LOW, EDGE_HIGH)

    @cached_property
    def main_object(self) -> Array:
        """Contour of the largest bright region (Otsu's threshold); the frame where there is
        none."""
        cv2 = self.cv2
        _, bright = cv2.threshold(self.gray, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        found, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        largest = max(found, key=cv2.contourArea, default=None)
        if largest is not None and cv2.contourArea(largest) > 0:
            return largest
        height, width = self.gray.shape
        right, low = width - 1, height - 1
        return np.array([[0, 0], [right, 0], [right, low], [0, low]], np.int32)[:, None]


def _shares(counts: Array) -> Array:
    """Counts as fractions of their sum; zeros where there is none."""
    return counts / max(float(counts.sum()), 1.0)


def _keypoints(view: _View) -> float:
    """Number of FAST corners."""
    return len(view.cv2.FastFeatureDetector_create(KEYPOINT_THRESHOLD).detect(view.gray))


def _brightness(view: _View) -> float:
    """Mean grey level."""
    return view.levels[0]


def _brightness_rms(view: _View) -> float:
    """Root mean square of grey levels."""
    return float(np.hypot(*view.levels))


def _perceived(view: _View) -> float:
    """sqrt(0.241 R^2 + 0.691 G^2 + 0.068 B^2) of mean colours."""
    return float(np.sqrt(np.dot(_PERCEIVED, view.colours[0] ** 2)))


def _perceived_rms(view: _View) -> float:
    """The same of each colour's root mean square."""
    mean, deviation = view.colours
    return float(np.sqrt(np.dot(_PERCEIVED, mean**2 + deviation**2)))


def _contrast(view: _View) -> float:
    """Standard deviation of grey levels."""
    return view.levels[1]


def _edge_lengths(view: _View) -> Array:
    """Shares of edges (connected pixels) by their length, which is their number of pixels."""
    cv2 = view.cv2
    stats = cv2.connectedComponentsWithStats(view.edges, connectivity=8)[2]
    lengths = stats[1:, cv2.CC_STAT_AREA]
    return _shares(np.bincount(np.searchsorted(EDGE_LENGTHS, lengths), minlength=_BINS))


def _edge_angles(view: _View) -> Array:
    """Shares of edge pixels by the direction of their gradient, 0 to 180 degrees."""
    there = view.edges > 0
    right, down = (part[there] for part in view.gradient)
    turns = np.arctan2(down, right, dtype=np.float32) / np.float32(np.pi) % np.float32(1)
    return _shares(np.bincount((turns * np.float32(_BINS)).astype(np.int64) % _BINS, None, _BINS))


def _hues(view: _View) -> Array:
    """Shares of pixels by hue, from red over green and blue back to red."""
    cv2 = view.cv2
    hue = cv2.cvtColor(view.rgb, cv2.COLOR_RGB2HSV)
    return _shares(cv2.calcHist([hue], [0], None, [_BINS], [0, 180]).reshape(-1))


def _area_by_perimeter(view: _View) -> float:
    """Of the main object, in pixels."""
    cv2, contour = view.cv2, view.main_object
    return float(cv2.contourArea(contour) / max(cv2.arcLength(contour, True), 1.0))


def _aspect_ratio(view: _View) -> float:
    """Width by height of the main object's upright box."""
    _, _, width, height = view.cv2.boundingRect(view.main_object)
    return float(width / height)


_SINGLE: dict[str, Callable[[_View], float]] = {
    "keypoints": _keypoints,
    "brightness": _brightness,
    "brightness_rms": _brightness_rms,
    "perceived_brightness": _perceived,
    "perceived_brightness_rms": _perceived_rms,
    "contrast": _contrast,
    "area_by_perimeter": _area_by_perimeter,
    "aspect_ratio": _aspect_ratio,
}
_HISTOGRAMS: dict[str, Callable[[_View], Array]] = {
    "edge_length": _edge_lengths,
    "edge_angle": _edge_angles,
    "hue": _hues,
}

#: Every feature by its name; bins of a histogram are numbered from 1.
IMAGE_FEATURES: tuple[str, ...] = (
    *_SINGLE,
    *(f"{name}_{number + 1}" for name in _HISTOGRAMS for number in range(_BINS)),
)


def image_features(image: Array, names: Sequence[str] = IMAGE_FEATURES) -> Array:
    """Features float32 (len(names),) of an RGB image uint8 (H, W, 3); nothing is computed that no
    name needs. Raises EngineError without OpenCV, WorkloadError where the image is no such array,
    ValueError for an unknown name."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise WorkloadError(
            f"features need an image uint8 (H, W, 3), got {image.dtype} {image.shape}"
        )
    view, histograms = _View(image), dict[str, Array]()
    found = np.empty(len(names), np.float32)
    for place, name in enumerate(names):
        if name in _SINGLE:
            found[place] = _SINGLE[name](view)
            continue
        kind, _, number = name.rpartition("_")
        if name not in IMAGE_FEATURES:
            raise ValueError(f"no feature is called {name!r}: {', '.join(IMAGE_FEATURES)}")
        if kind not in histograms:
            histograms[kind] = _HISTOGRAMS[kind](view)
        found[place] = histograms[kind][int(number) - 1]
    return found
