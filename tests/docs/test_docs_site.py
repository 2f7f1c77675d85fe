"""The documentation as a site: built strictly, and nothing in it comes from elsewhere."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
#: What a browser fetches by itself when a page is shown.
FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "link": "href",
}
_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]+)")


class Fetched(HTMLParser):
    """What a page has its browser fetch."""

    def __init__(self, page):
        super().__init__()
        self.addresses, self.classes = [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        self.classes.update((told.get("class") or "").split())
        if told.get(FETCHED.get(tag, "")) and told.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(told[FETCHED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """What `make docs` builds, of a copy of the documentation."""
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    (folder / "src").symlink_to(ROOT / "src")
    (folder / "docs" / "reference").mkdir(exist_ok=True)
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^docs: .*\n((?:\t.*\n)+)", recipe, re.MULTILINE)[1]
    for line in recipe.replace("$(BIN)/python", sys.executable).splitlines():
        done = subprocess.run(
            line.strip().lstrip("@"), shell=True, cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.mark.slow
def test_no_page_fetches_anything_from_elsewhere(site):
    pages = [*site.rglob("*.html")]
    assert len(pages) > 20
    for page in pages:
        found = Fetched(page)
        assert [a for a in found.addresses if re.match(r"([a-z]+:)?//", a)] == [], page
        # These have the theme's script fetch what draws them.
        assert not found.classes & {"mermaid", "asciinema", "md-source"}, page
    for style in site.rglob("*.css"):
        told = style.read_text(encoding="utf-8")
        assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", told) == [], style


@pytest.mark.slow
def test_the_reference_comes_from_the_code(site):
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert "trimtab check-setup" in commands
    python = (site / "python.html").read_text(encoding="utf-8")
    assert 'id="trimtab.planner.plan"' in python
    assert 'id="trimtab_runtime.Plan.classify"' in python


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_pages_outside_the_site_lead_somewhere(page):
    """Those of pages inside are checked when it is built."""
    told = page.read_text(encoding="utf-8")
    assert [link for link in _LINK.findall(told) if not (ROOT / link).exists()] == []
    for link, anchor in re.findall(r"\]\((docs/[\w-]+\.md)#([\w-]+)\)", told):
        text = (ROOT / link).read_text(encoding="utf-8")
        titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert anchor in slugs, f"{link}#{anchor}"
