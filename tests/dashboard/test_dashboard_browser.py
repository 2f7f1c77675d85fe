"""The dashboard in a real browser: from an empty store to a bundle that runs elsewhere."""

import re
import subprocess
import sys

import pytest
from playwright.sync_api import TimeoutError as NotThere
from processes import until

from trimtab.db import Store
from trimtab.planner.jobs.background import starts

pytestmark = pytest.mark.slow

#: The middle of the largest patch of a colour in the front's picture, on the screen.
_PATCH = """colour => {
    const canvas = document.querySelector('[data-testid=stEChartsChart] canvas');
    const {width, height} = canvas, box = canvas.getBoundingClientRect();
    const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
    const is = at => colour.every((part, n) => data[4 * at + n] === part);
    const patch = {size: 0};
    for (let y = 40; y < height; y++) for (let x = 0, run = 0; x < width; x++) {
        run = is(y * width + x) ? run + 1 : 0;
        if (run > patch.size) Object.assign(patch, {size: run, x: x - run / 2, y});
    }
    const scale = box.width / width;
    return {size: patch.size, x: box.left + patch.x * scale, y: box.top + patch.y * scale};
}"""
_RED = [224, 69, 58]  # the star of the chosen plan, the widest of what is red


def settle(page):
    """Until the application has drawn what it was asked for."""
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")


def overflow(page):
    """Pixels by which something is wider than the screen."""
    return page.evaluate(
        "() => Math.max(document.documentElement.scrollWidth, "
        "document.querySelector('[data-testid=stMain]').scrollWidth) - window.innerWidth"
    )


def drawn(page):
    """The front's picture, once it is there. On a busy machine it once did not come within a
    hundred seconds, and never again in hundreds of tries: then the page is asked for anew, as a
    person would, and what it showed is told if that is in vain too."""
    chart = page.locator("[data-testid=stEChartsChart][aria-busy=false]")
    found = chart.and_(page.get_by_label("plans on the front"))
    try:
        found.wait_for(timeout=60_000)
    except NotThere:
        print(page.url, page.locator("body").inner_text(), page.content(), sep="\n")
        page.reload()
        found.wait_for()
    found.scroll_into_view_if_needed()
    return chart


def click_chosen(page):
    """Click the star of the chosen plan, once the picture tells what is under the mouse."""
    chart = drawn(page)
    settle(page)

    def found():
        at = page.evaluate(_PATCH, _RED)
        page.mouse.move(at["x"] + 40, at["y"] + 40)
        page.mouse.move(at["x"], at["y"])
        page.wait_for_timeout(200)
        return at if chart.get_by_text("mean latency, ms").count() else None

    at = until(found)
    page.mouse.click(at["x"], at["y"])


def test_from_nothing_to_a_bundle_that_runs(page, tools, tmp_path):
    tools.write_zoo(tmp_path)
    (tmp_path / "bad.yaml").write_text("name: x\nmodels: [{path: gone.onnx, inputs: {}}]\n")
    store = tmp_path / "store" / "trimtab.db"
    with tools.served(tmp_path, store) as address:
        page.goto(address.entry)
        page.get_by_text("There is no store yet").wait_for()
        assert not store.exists()
        page.get_by_role("button", name="New job").click()
        upload = page.locator("input[type=file]")
        upload.set_input_files(tmp_path / "bad.yaml")
        page.get_by_text("models[0].inputs (line 2)").wait_for()
        page.get_by_text("unknown field; did you mean 'input'?").wait_for()
        assert page.get_by_role("button", name="Start", exact=True).count() == 0
        upload.set_input_files(tmp_path / "job.yaml")
        page.get_by_role("button", name="Start", exact=True).click()
        page.locator(".tt-chip, .tt-steps").first.wait_for()  # it starts, then it runs
        until(lambda: store.exists() and done(store))
        page.get_by_text(re.compile("^chosen: ")).wait_for()  # without a reload
        page.get_by_test_id("stMainBlockContainer").get_by_role("link", name="Front").click()
        click_chosen(page)
        page.get_by_text("Why it is faster or slower than the baseline").wait_for()
        page.get_by_role("link", name="Front", exact=True).first.click()
        click_chosen(page)  # what was clicked before can be clicked again
        page.wait_for_url(re.compile(r"/plan\?job=\w+&plan=\w+"))
        page.get_by_text("Why it is faster or slower than the baseline").wait_for()
        assert page.evaluate("window.hacked") is None
        assert page.locator("h1 b").count() == 0
        with page.expect_download() as download:
            page.get_by_role("button", name="Export").click()
        bundle = tmp_path / "elsewhere" / download.value.suggested_filename
        download.value.save_as(bundle)
    assert bundle.name.endswith(".pyz")
    run = [sys.executable, "-I", bundle.name, "selftest"]
    told = subprocess.run(run, cwd=bundle.parent, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "selftest passed" in told.stdout


def done(store):
    with Store.open(store, read_only=True) as opened:
        return [job.state for job in opened.list_jobs()] == ["done"]


def test_a_job_is_stopped_and_goes_on(page, tools, tmp_path):
    tools.write_zoo(tmp_path, budget={"measurements": 2}, together=12)
    store = tmp_path / "store" / "trimtab.db"
    with tools.served(tmp_path, store) as address:
        page.goto(address.entry)
        page.goto(f"{address}/start")
        page.locator("input[type=file]").set_input_files(tmp_path / "job.yaml")
        page.get_by_role("button", name="Start", exact=True).click()
        page.get_by_role("button", name="Stop").click()
        page.locator(".tt-chip", has_text="interrupted").wait_for()
        with Store.open(store, read_only=True) as opened:
            (job,) = opened.list_jobs()
            assert job.message == "stopped by the user; run the same command again to resume"
            assert [start.runs for start in starts(opened)] == [False]
        page.goto(f"{address}/?job={job.id}")
        page.get_by_role("button", name="Resume").first.click()
        until(lambda: done(store))
        page.locator(".tt-chip", has_text="done").first.wait_for()


@pytest.fixture(scope="module")
def address(tools, finished, context):
    """A dashboard over a finished job, which the browser has been let into."""
    with tools.served(finished, finished / "store" / "trimtab.db") as found:
        page = context.new_page()
        page.goto(found.entry)
        page.close()
        yield found


def told(page):
    """How many plans the page says are on the front."""
    return page.get_by_text(re.compile(r"^\d+ plans? on the front")).inner_text()


def test_a_slider_moves_the_front_and_the_address(page, address):
    page.goto(f"{address}/front")
    page.get_by_role("slider", name="mean latency, ms at most").press("Home")
    page.wait_for_url(re.compile("limit-latency_mean_ms="))
    page.get_by_text("0 plans on the front").wait_for()
    shared = page.url
    page.goto(f"{address}/front")
    until(lambda: told(page)[0] != "0")
    page.goto(shared)
    page.get_by_text("0 plans on the front").wait_for()


TITLES = {
    "": "Overview",
    "jobs": "Jobs",
    "front": "Front",
    "plan": "Plan",
    "compare": "Compare",
    "devices": "Devices & models",
    "start": "New job",
}


@pytest.mark.parametrize("path", TITLES)
def test_nothing_overflows_and_names_are_no_markup(page, address, path):
    page.goto(f"{address}/{path}")
    page.get_by_test_id("stMainBlockContainer").locator("h1, h2").first.wait_for()
    assert page.title() == f"{TITLES[path]} \N{MIDDLE DOT} Trimtab"
    assert page.get_by_text("Page not found").count() == 0
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        settle(page)
        until(lambda: overflow(page) <= 0)  # pictures follow a little later
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src='x']").count() == 0
