"""The claims as a JUnit file: one test case a claim; missed fails, undecided is skipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from reports.render.claim_rows import Row, one_line, rows
from reports.verdict import Verdict


def render_junit(results: Mapping[str, Any]) -> str:
    """The text of the file.

    Elements, attributes and their order are those that both the Jenkins and the Ant schema of
    JUnit files allow.
    """
    found = rows(results)
    environment = results["environment"]
    created = str(environment.get("created") or "1970-01-01T00:00:00")
    root = ET.Element("testsuites")
    suite = ET.SubElement(
        root,
        "testsuite",
        {
            "id": "0",
            "package": "hopbench",
            "name": "hopbench.claims",
            "timestamp": created[:19],
            "hostname": "localhost",
            "tests": str(len(found)),
            "failures": str(sum(row.verdict == Verdict.MISSED for row in found)),
            "errors": "0",
            "skipped": str(sum(row.verdict == Verdict.UNDECIDED for row in found)),
            "time": "0",
        },
    )
    properties = ET.SubElement(suite, "properties")
    for name in ("headline", "run_id", "status"):
        value = one_line(results[name])
        ET.SubElement(properties, "property", {"name": name, "value": value})
    for claim, row in zip(results["claims"], found, strict=True):
        suite.append(_case(row, one_line(claim.get("scenario") or "none")))
    ET.SubElement(suite, "system-out").text = "\n".join(map(one_line, results["problems"]))
    ET.SubElement(suite, "system-err")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(row: Row, scenario: str) -> ET.Element:
    """One claim; a met one has no child."""
    case = ET.Element(
        "testcase",
        {"classname": f"claims.{scenario}", "name": f"{row.id} {row.statement}", "time": "0"},
    )
    if row.verdict == Verdict.MISSED:
        failure = ET.SubElement(case, "failure", {"type": "missed", "message": row.reason})
        failure.text = f"measured {row.measured or 'by observation'}, limit {row.limit or 'none'}"
    elif row.verdict == Verdict.UNDECIDED:
        ET.SubElement(case, "skipped", {"message": row.reason})
    return case
