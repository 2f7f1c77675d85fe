"""How long the dashboard takes where there is much to show.

A small real job on made-up times is multiplied to 50 jobs with 5,000 plans in all, half of them in
one job, whose front and chosen plan are looked at. Each round starts the dashboard anew.

    first_front_s      from asking for the address (nothing is cached) to the first interactive
                       front
    redraw_s           from moving a slider to the redrawn front
    plan_page_s        from asking for the address of a plan, when its front was looked at before,
                       to its figures
    plan_page_cold_s   the same of a dashboard that has just been started

Medians of five rounds; `target_` names what we aim at. Prints one JSON object as its last line.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from benchmarks._options import DEFAULT_DATA, NoData
from benchmarks._small_job import plan_small_job
from benchmarks.dashboard_browser import browsing, let_in, served
from benchmarks.dashboard_stores import multiply
from trimtab.db import Store

JOBS, PLANS, ROUNDS = 50, 5000, 5
_LARGEST = 2550
_TARGETS = {"first_front_s": 3.0, "redraw_s": 0.5, "plan_page_s": 1.5}
_CHART = "[data-testid=stEChartsChart]"
_DRAWN = f"{_CHART}[aria-busy=false][aria-label*='plans on the front'] canvas"
#: The cards of a plan, each with a figure.
_FIGURES = ".tt-cards .tt-value"
_PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
#: What the picture says of itself in words; changes with it. Null while there is none.
_SAYS = f"() => document.querySelector('{_CHART}[aria-busy=false]')?.getAttribute('aria-label')"


class Round(NamedTuple):
    """Seconds that each of these took."""

    first_front_s: float
    redraw_s: float
    plan_page_s: float
    plan_page_cold_s: float


def one_round(browser: Any, store: Path, job: str) -> Round:
    """Two dashboards are started: one shows the front first, the other a plan."""
    with served(store) as address:
        context, page = _opened(browser, address)
        first = _seconds_to(page, f"{address}/front?job={job}", _DRAWN)
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
        plan = _seconds_to(page, f"{address}/plan?job={job}", _FIGURES)
        context.close()
    with served(store) as address:
        context, page = _opened(browser, address)
        cold = _seconds_to(page, f"{address}/plan?job={job}", _FIGURES)
        context.close()
    return Round(first, redraw, plan, cold)


def _opened(browser: Any, address: str) -> tuple[Any, Any]:
    """A browser's context with nothing in its cache, and a page in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    let_in(context, address)
    page = context.new_page()
    page.set_default_timeout(120_000)
    return context, page


def _seconds_to(page: Any, address: str, selector: str) -> float:
    """From asking for an address until something is there and painted."""
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(selector)
    page.evaluate(_PAINTED)
    return time.perf_counter() - began


def make_store(folder: Path) -> tuple[Path, list[str], int]:
    """A store with many plans, in a folder; the ids of its jobs, the largest first, and the number
    of plans."""
    small = (PLANS - _LARGEST) // (JOBS - 1)
    sizes = [_LARGEST + (PLANS - _LARGEST) % (JOBS - 1), *[small] * (JOBS - 1)]
    one, many = folder / "one" / "trimtab.db", folder / "many" / "trimtab.db"
    one.parent.mkdir()
    many.parent.mkdir()
    with Store.open(one) as source, Store.open(many) as target:
        plan_small_job(folder, source)
        return many, multiply(source, target, sizes), sum(sizes)


def main(
    rounds: Annotated[int, typer.Option(help="each with two dashboards")] = ROUNDS,
    _data: NoData = DEFAULT_DATA,
) -> None:
    """Make the store, look at it, print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        store, jobs, plans = make_store(Path(folder))
        with browsing() as browser:
            found = [one_round(browser, store, jobs[0]) for _ in range(rounds)]
    columns = zip(Round._fields, zip(*found, strict=True), strict=True)
    figures = {name: round(statistics.median(values), 3) for name, values in columns}
    targets = {f"target_{name}": value for name, value in _TARGETS.items()}
    print(json.dumps({"jobs": len(jobs), "plans": plans, **figures, **targets}))


if __name__ == "__main__":
    typer.run(main)
