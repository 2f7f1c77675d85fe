"""Does every image decode?"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from trimtab.workloads.images.text import first_few
from trimtab.workloads.workload import Item, Workload
from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.preprocess import decode_image


def check_images(workload: Workload) -> Counter[tuple[int, int]]:
    """Decode every image; how many have which size (width, height) in pixels.

    Raises one WorkloadError that tells how many cannot be read, and why for the first few.
    """
    # Pillow decodes outside the interpreter lock, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(_size_or_reason, workload.items))
    reasons = [result for result in found if isinstance(result, str)]
    if reasons:
        raise WorkloadError(
            f"{len(reasons)} of {len(workload)} image(s) cannot be read; replace or remove them: "
            f"{first_few(reasons)}"
        )
    return Counter(result for result in found if not isinstance(result, str))


def _size_or_reason(item: Item) -> tuple[int, int] | str:
    try:
        return decode_image(str(item.path)).size
    except WorkloadError as error:
        return str(error)
