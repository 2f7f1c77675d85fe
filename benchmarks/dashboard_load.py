"""How long the dashboard takes: `python -m benchmarks.dashboard_load --store DB`.

50 jobs with 5,000 plans in all, half of them in one job, whose front is what is shown; made from
the newest job with plans of the given store. Each round starts the dashboard anew.
`first_front_s`: from asking for the address (nothing is cached) to the first interactive front;
`redraw_s`: from moving a slider to the redrawn front. Medians of five.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.dashboard_browser import browsing, served
from benchmarks.dashboard_stores import multiply
from trimtab.db import Store

JOBS, PLANS, ROUNDS = 50, 5000, 5
_LARGEST = 2550
_TARGETS = {"first_front_s": 3.0, "redraw_s": 0.5}
_CHART = "[data-testid=stEChartsChart]"
_DRAWN = f"{_CHART}[aria-busy=false][aria-label*='plans on the front'] canvas"
_PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
#: What the picture says of itself in words; changes with it. Null while there is none.
_SAYS = f"() => document.querySelector('{_CHART}[aria-busy=false]')?.getAttribute('aria-label')"


def one_round(browser: Any, store: Path, job: str) -> tuple[float, float]:
    """Seconds to the first front, and from a slider to the next."""
    with served(store) as address:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.set_default_timeout(120_000)
        began = time.perf_counter()
        page.goto(f"{address}/front?job={job}")
        page.wait_for_selector(_DRAWN)
        page.evaluate(_PAINTED)
        first = time.perf_counter() - began
        page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
        page.wait_for_timeout(2000)
        slider = page.get_by_role("slider").first
        slider.focus()
        before = page.evaluate(_SAYS)
        began = time.perf_counter()
        slider.press("PageUp")
        changed = f"before => ![undefined, null, before].includes(({_SAYS})())"
        page.wait_for_function(changed, arg=before, polling="raf")
        page.evaluate(_PAINTED)
        redraw = time.perf_counter() - began
        context.close()
    return first, redraw


def main(store: Annotated[Path, typer.Option(help="one with a real job")]) -> None:
    """Make the store, look at it five times, print the figures."""
    small = (PLANS - _LARGEST) // (JOBS - 1)
    sizes = [_LARGEST + (PLANS - _LARGEST) % (JOBS - 1), *[small] * (JOBS - 1)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trimtab.db"
        with Store.open(store, read_only=True) as source, Store.open(path) as target:
            jobs = multiply(source, target, sizes)
        with browsing() as browser:
            rounds = [one_round(browser, path, jobs[0]) for _ in range(ROUNDS)]
    found = {
        "jobs": len(jobs),
        "plans": sum(sizes),
        "first_front_s": round(statistics.median(first for first, _ in rounds), 3),
        "redraw_s": round(statistics.median(redraw for _, redraw in rounds), 3),
        "target_first_front_s": _TARGETS["first_front_s"],
        "target_redraw_s": _TARGETS["redraw_s"],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    typer.run(main)
