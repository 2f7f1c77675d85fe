"""How long a bundle takes when somebody else measures it: in a fresh process, with the bundle's
own runtime and nothing of the planner's.

    PYTHONPATH=plan.pyz python benchmarks/_bundle_ms.py plan.pyz IMAGES.txt

prints the mean milliseconds from a decoded image to its answer, by the wall clock.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

WARM_UP = 20


def main(bundle: str, listing: str) -> None:
    """Decode all images that a file lists, one a line, then answer them one after the other."""
    from trimtab_runtime import Plan
    from trimtab_runtime.images.preprocess import decode_image

    plan = Plan.load(bundle)
    images = [decode_image(path) for path in Path(listing).read_text("utf-8").splitlines()]
    for image in images[:WARM_UP]:
        plan.rehearse(image)
    begun = time.perf_counter()
    for image in images:
        plan.classify(image)
    print(1e3 * (time.perf_counter() - begun) / len(images))


if __name__ == "__main__":
    main(*sys.argv[1:])
