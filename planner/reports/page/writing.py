"""A report as a file: HTML, Markdown, or a PDF that Chromium prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from trimtab.planner.reports.page.blocks import Page
from trimtab.planner.reports.page.html import as_html
from trimtab.planner.reports.page.markdown import as_markdown
from trimtab_runtime.errors import PlanningError

FORMATS = (".html", ".pdf", ".md")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PRINTS_S = 120


def write_report(page: Page, target: Path) -> Path:
    """Write it as what the name of the file says. Raises PlanningError for another name, where
    the file cannot be written, and for a PDF without Chromium."""
    kind = target.suffix.lower()
    if kind not in FORMATS:
        raise PlanningError(f"{target}: a report must be one of {', '.join(FORMATS)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".pdf":
            _print_pdf(as_html(page), target)
        else:
            text = as_html(page) if kind == ".html" else as_markdown(page)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PlanningError(f"{target}: cannot be written ({error.strerror})") from error
    return target


def _print_pdf(text: str, target: Path) -> None:
    """Have a browser without a window print the page, in a profile of its own."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise PlanningError(
            f"{target}: a PDF is printed by Chromium, which is not here ({', '.join(_BROWSERS)}); "
            "install it, or write report.html and print that from any browser"
        )
    with tempfile.TemporaryDirectory(prefix="trimtab-report-") as folder:
        page, printed = Path(folder) / "report.html", Path(folder) / "report.pdf"
        page.write_text(text, encoding="utf-8")
        call = [browser, "--headless", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer"]
        call += ["--disable-background-networking", f"--user-data-dir={folder}/profile"]
        # Chromium's sandbox refuses to start as root; the page has no script, and is ours.
        call += ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            done = subprocess.run(
                [*call, f"--print-to-pdf={printed}", page.as_uri()],
                capture_output=True,
                text=True,
                timeout=_PRINTS_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PlanningError(f"{target}: {browser} has not printed in {_PRINTS_S} s") from error
        if not printed.is_file():
            told = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise PlanningError(f"{target}: {browser} printed nothing: {told}")
        shutil.copyfile(printed, target)
