"""What axe-core finds wrong with every page of the dashboard, for people who cannot see it well.

    npm install axe-core
    python -m benchmarks.dashboard_accessibility --axe node_modules/axe-core/axe.min.js

At 1280 pixels (light and dark) and 390 (light), of the rules of WCAG 2.2 A and AA. Streamlit's
own elements are looked at too. Without --store a small job is planned. Prints one JSON object as
its last line: the number of `pages`, and by rule what is `serious` (or critical), of which there
should be nothing, and what is `minor`: how many elements, an example, and on which pages.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks._options import DEFAULT_DATA, ROOT, NoData
from benchmarks._small_job import small_store
from benchmarks.dashboard_browser import browsing, let_in, served, settle

_PAGES = ("", "jobs", "front", "plan", "compare", "devices", "start")
_LOOKS = (("light", 1280), ("dark", 1280), ("light", 390))
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_RUN = "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})"
_SERIOUS = ("serious", "critical")


def look(page: Any, name: str, axe: str, found: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Add what is wrong with a page to what was `found`."""
    page.evaluate(axe)
    for rule in page.evaluate(_RUN, _RULES)["violations"]:
        kind = "serious" if rule["impact"] in _SERIOUS else "minor"
        entry = found[kind].setdefault(rule["id"], {"elements": 0, "pages": []})
        entry["elements"] += len(rule["nodes"])
        entry.setdefault("example", rule["nodes"][0]["html"][:200])
        entry.setdefault("why", rule["nodes"][0]["failureSummary"].replace("\n", " ")[:300])
        entry["pages"].append(name)


def main(
    store: Annotated[Path | None, typer.Option(help="by default one with a small job")] = None,
    axe: Annotated[Path, typer.Option(help="axe.min.js of the npm package axe-core")] = ROOT
    / "node_modules"
    / "axe-core"
    / "axe.min.js",
    _data: NoData = DEFAULT_DATA,
) -> None:
    """Look at every page in every way."""
    if not axe.is_file():
        raise typer.BadParameter(f"{axe} is not there; npm install axe-core, and name it: --axe")
    script = axe.read_text(encoding="utf-8")
    found: dict[str, dict[str, dict[str, Any]]] = {"serious": {}, "minor": {}}
    with (
        tempfile.TemporaryDirectory() as folder,
        served(store or small_store(Path(folder))) as address,
        browsing() as browser,
    ):
        for scheme, width in _LOOKS:
            context = browser.new_context(color_scheme=scheme)
            let_in(context, address)
            page = context.new_page()
            page.set_default_timeout(180_000)
            page.set_viewport_size({"width": width, "height": 1200})
            for name in _PAGES:
                page.goto(f"{address}/{name}")
                settle(page)
                look(page, f"{name or 'overview'}-{width}-{scheme}", script, found)
            context.close()
    print(json.dumps({"pages": len(_PAGES) * len(_LOOKS), **found}))


if __name__ == "__main__":
    typer.run(main)
