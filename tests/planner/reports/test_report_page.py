"""A job on one page: what it says, and that it says it literally and alone."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_models import INPUT, write_onnx, write_photos

import trimtab
from trimtab.db import Store
from trimtab.planner.cli import main
from trimtab.planner.reports.front import front_view
from trimtab.planner.reports.page.blocks import Code, Page, Paragraphs, Section, Table
from trimtab.planner.reports.page.html import as_html
from trimtab.planner.reports.page.markdown import as_markdown
from trimtab.planner.reports.page.sections import report_page
from trimtab.planner.reports.page.writing import write_report
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.probe.requests import MeasureSettings

_QUICK = MeasureSettings(seconds=0.0, max_seconds=5, min_rounds=8, warmup_seconds=0.0)
_SECTIONS = [
    "Verdict",
    "The front",
    "Why not another plan",
    "Where the milliseconds went",
    "What is lost, class by class",
    "Predicted against measured",
    "Device, data, versions",
    "To repeat it",
]
EVIL = "<script>alert(1)</script> | **b** `x`"


class Elements(HTMLParser):
    """Tags of a page with their attributes, and its texts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def store(tmp_path_factory, machine):
    """A store with a job whose chosen plan is not its baseline."""
    folder = tmp_path_factory.mktemp("reported")
    for name, width in {"small": 4, "large": 128}.items():
        write_onnx(folder / f"{name}.onnx", width=width)
    write_photos(folder / "photos", 150)
    spec = {
        "name": EVIL,
        "models": [
            {"path": str(folder / f"{n}.onnx"), "input": INPUT} for n in ("small", "large")
        ],
        "workload": {
            "images": str(folder / "photos"),
            "splits": {"fit": 60, "tune": 50, "test": 40},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "baseline": "large",
        "constraints": ["top1 >= 0.3 * baseline"],
        "techniques": {"cascade": False, "quantisation": []},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 2},
        "together": 4,
        "verify": 1,
    }
    path = folder / "store" / "trimtab.db"
    path.parent.mkdir()
    with Store.open(path) as opened:
        trimtab.plan(spec, opened, settings=_QUICK, device=machine, setup="ignored")
    return path


@pytest.fixture
def opened(store):
    with Store.open(store, read_only=True) as found:
        yield found


def test_the_page_says_everything_and_fetches_nothing(store, opened, tmp_path, capsys):
    target = tmp_path / "report.html"
    assert main(["--store", str(store), "report", "-o", str(target)]) == 0
    assert f"Wrote {target}" in capsys.readouterr().out
    page = Elements(target.read_text(encoding="utf-8"))
    told = " ".join(page.texts)
    titles = [text for text in page.texts if text in _SECTIONS]
    view = front_view(opened, opened.list_jobs()[0])
    label = view.row(view.chosen).label
    assert titles == _SECTIONS
    assert f"Ship {label}" in told or f"Nothing beat {label}" in told
    assert EVIL in told
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.found}
    sources = [a["src"] for tag, a in page.found if tag == "img"]
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert all(a.get("alt") is not None for tag, a in page.found if tag == "img")


def test_photographs_are_those_that_are_newly_wrong(opened):
    job = opened.list_jobs()[0]
    with_images, without = (report_page(opened, job, images) for images in (1000, 0))
    losses = next(s for s in with_images.sections if s.title == "What is lost, class by class")
    table = next(block for block in losses.blocks if isinstance(block, Table))
    lost = sum(int(row[table.head.index("newly wrong")]) for row in table.rows)
    shown = [each for block in losses.blocks for each in getattr(block, "photographs", ())]
    assert len(shown) == lost
    assert all(each.jpeg.startswith(b"\xff\xd8") for each in shown)
    blocks = [block for section in without.sections for block in section.blocks]
    assert not any(hasattr(block, "photographs") for block in blocks)


def test_the_specification_on_the_page_is_that_of_the_job(opened, tmp_path):
    job = opened.list_jobs()[0]
    again = report_page(opened, job, 0).sections[-1]
    command, code = [block for block in again.blocks if isinstance(block, Code)]
    assert command.text == f"trimtab plan {job.id}.yaml"
    place = tmp_path / "again.yaml"
    place.write_text(code.text, encoding="utf-8")
    found = trimtab.load_spec(place)
    assert json.loads(found.model_dump_json()) == job.spec


def test_markdown_shows_texts_literally():
    blocks = [Paragraphs([EVIL], strong=True), Table(["a", "b"], [[EVIL, "1"]]), Code("x ``` y")]
    text = as_markdown(Page(EVIL, "", [Section("s", blocks)]))
    literal = r"\<script\>alert(1)\</script\> \| \*\*b\*\* \`x\`"
    assert f"# {literal}\n" in text
    assert f"**{literal}**" in text
    assert f"| {literal} | 1 |" in text
    assert "````\nx ``` y\n````" in text


def test_html_shows_texts_literally():
    page = Page(EVIL, EVIL, [Section(EVIL, [Table([EVIL], [[EVIL]]), Code(EVIL)])])
    text = as_html(page)
    assert "<script" not in text
    assert Elements(text).texts.count(EVIL) == 6


@pytest.mark.slow
def test_a_pdf_is_printed(opened, tmp_path):
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium here (Debian: apt-get install chromium)")
    page = report_page(opened, opened.list_jobs()[0], 2)
    assert write_report(page, tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_what_cannot_be_written_is_said(tmp_path, monkeypatch, store, capsys):
    page = Page("x", "y")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlanningError, match="printed by Chromium, which is not here"):
        write_report(page, tmp_path / "report.pdf")
    (tmp_path / "file").touch()
    with pytest.raises(PlanningError, match="cannot be written"):
        write_report(page, tmp_path / "file" / "report.html")
    assert main(["--store", str(store), "report", "-o", "report.docx"]) == 2
    assert re.search(r"\.html, \.pdf, \.md", capsys.readouterr().err)
    assert not Path("report.docx").exists()


@pytest.mark.slow
# SQLAlchemy 2.1 deprecates what MLflow 3.17 asks of it.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_holds_the_job_its_figures_its_bundle_and_its_report(store, opened, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("trimtab", artifact_location=f"{tmp_path}/files")
    for _ in range(2):  # the second time replaces the first
        target = str(tmp_path / "report.html")
        assert main(["--store", str(store), "report", "-o", target, "--mlflow", uri]) == 0
    (run,) = client.search_runs([experiment])
    job = opened.list_jobs()[0]
    entry = opened.get_plan(job.id, job.summary["chosen"])
    assert run.data.tags["trimtab.job"] == job.id
    assert run.data.params["baseline"]
    assert run.data.metrics["top1_test"] == entry.value("top1", "test", "replayed")
    files = {file.path: file.file_size for file in client.list_artifacts(run.info.run_id)}
    assert set(files) == {"specification.json", "front.json", "report.html", "plan.pyz"}
    assert all(files.values())
