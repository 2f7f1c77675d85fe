"""A check as files: JUnit XML for CI, Markdown for a pull request."""

from __future__ import annotations

from xml.etree import ElementTree

from trimtab.planner.gate.findings import CheckReport, Finding
from trimtab.planner.reports.text import UNKNOWN, number

_WORDS = {"ok": "ok", "worse": "**worse**", "unknown": "unknown"}


def figure(value: float | None, unit: str) -> str:
    """A value with its unit."""
    return UNKNOWN if value is None else f"{number(value)} {unit}"


def junit_xml(report: CheckReport) -> str:
    """A test case for each figure: failed where it is worse, skipped where it is unknown."""
    worse = [found for found in report.findings if found.verdict == "worse"]
    unknown = [found for found in report.findings if found.verdict == "unknown"]
    suite = ElementTree.Element(
        "testsuite",
        name=f"trimtab check {report.job}",
        tests=str(len(report.findings)),
        failures=str(len(worse)),
        errors="0",
        skipped=str(len(unknown)),
        time=f"{report.seconds:.1f}",
    )
    for found in report.findings:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"trimtab.check.{report.job}", name=found.name
        )
        text = f"{found.name}: {_both(found)}, {found.change}"
        if found.verdict == "worse":
            ElementTree.SubElement(case, "failure", message=text, type="worse")
        elif found.verdict == "unknown":
            ElementTree.SubElement(case, "skipped", message=text)
        else:
            ElementTree.SubElement(case, "system-out").text = text
    tree = ElementTree.Element("testsuites")
    tree.append(suite)
    ElementTree.indent(tree)
    return ElementTree.tostring(tree, encoding="unicode", xml_declaration=True) + "\n"


def markdown(report: CheckReport) -> str:
    """The verdict, the figures as a table, and what must be read with them."""
    lines = [
        f"### Trimtab: {_plain(report.job)} {'passed' if report.passed else 'failed'}",
        "",
        _plain(report.sentence),
        "",
        "| | shipped | new | change | |",
        "|---|---|---|---|---|",
    ]
    for found in report.findings:
        cells = (
            found.name,
            figure(found.shipped, found.unit),
            figure(found.new, found.unit),
            _plain(found.change),
            _WORDS[found.verdict],
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {_plain(note)}" for note in report.notes)]
    lines.append(f"- On {_plain(report.device)}, in {report.seconds:.0f} s.")
    return "\n".join(lines) + "\n"


def _both(found: Finding) -> str:
    return f"{figure(found.shipped, found.unit)} before, {figure(found.new, found.unit)} now"


def _plain(text: str) -> str:
    """Names of the user's are no markup."""
    for sign in ("\\", "|", "*", "_", "`", "<", "["):
        text = text.replace(sign, f"\\{sign}")
    return text
