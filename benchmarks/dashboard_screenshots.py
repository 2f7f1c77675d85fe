"""Pictures of every page of the dashboard.

    python -m benchmarks.dashboard_screenshots --store DB --output docs/dashboard

At 1280 pixels (light and dark) and 390 (light). Several --store are gathered in one; without any,
a small job is planned. `--job` is the one that fronts and plans are shown of, by default the first
with plans. Without `--output` the pictures are thrown away. Prints one JSON object as its last
line: how many `pages` there are, and those that are `too_wide`, of which there should be none.
"""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from benchmarks._options import DEFAULT_DATA, NoData
from benchmarks._small_job import small_store
from benchmarks.dashboard_browser import browsing, let_in, served, settle
from benchmarks.dashboard_stores import gathered

_PAGES = ("overview", "jobs", "front", "plan", "compare", "devices", "start")
_LOOKS = (("light", 1280), ("dark", 1280), ("light", 390))
_TALLEST, _PALETTE = 1900, 160
_OVERFLOW = """() => Math.max(document.documentElement.scrollWidth,
    document.querySelector('[data-testid=stMain]').scrollWidth) - window.innerWidth"""
_HEIGHT = "() => document.querySelector('[data-testid=stMain]').scrollHeight"


def shoot(page: Any, address: str, target: Path, width: int) -> int:
    """One page, as high as it is; by how many pixels it is too wide."""
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address)
    settle(page)
    page.wait_for_timeout(1500)
    height = min(int(page.evaluate(_HEIGHT)) + 10, _TALLEST)
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(2000)
    with Image.open(io.BytesIO(page.screenshot())) as image:
        drawn = image.convert("RGB").quantize(_PALETTE, Image.Quantize.FASTOCTREE)
        drawn.save(target, "PNG", optimize=True)
    return int(page.evaluate(_OVERFLOW))


def main(
    store: Annotated[list[Path] | None, typer.Option(help="several are gathered in one")] = None,
    job: Annotated[str, typer.Option(help="by default the first with plans")] = "",
    plan: Annotated[str, typer.Option(help="by default the chosen one")] = "",
    output: Annotated[Path | None, typer.Option(help="a folder for the pictures")] = None,
    only: Annotated[list[str] | None, typer.Option(help="pages; by default all")] = None,
    _data: NoData = DEFAULT_DATA,
) -> None:
    """Shoot the pages, say which are too wide."""
    names = only or _PAGES
    too_wide = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        gathered(store or [small_store(Path(folder))], Path(folder)) as one,
        served(one) as address,
        browsing() as browser,
    ):
        pictures = output or Path(folder) / "pictures"
        pictures.mkdir(parents=True, exist_ok=True)
        for scheme, width in _LOOKS:
            context = browser.new_context(color_scheme=scheme)
            let_in(context, address)
            page = context.new_page()
            page.set_default_timeout(180_000)
            for name in names:
                told = f"job={job}" if job and name not in ("overview", "jobs") else ""
                told += f"&plan={plan}" if plan and name == "plan" else ""
                place = f"{address}/{'' if name == 'overview' else name}?{told}"
                target = pictures / f"{name}-{width}-{scheme}.png"
                over = shoot(page, place, target, width)
                if over > 0:
                    too_wide[target.name] = over
            context.close()
    print(json.dumps({"pages": len(names) * len(_LOOKS), "too_wide": too_wide}))


if __name__ == "__main__":
    typer.run(main)
