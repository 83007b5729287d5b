"""Reading the results of tests, as pytest and ctest write them in JUnit's format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from pathlib import Path

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Case:
    """One test: ``why`` is how it failed, or in one line the reason for which it was skipped."""

    name: str
    outcome: str
    seconds: float
    why: str = ""


def read_cases(report: Path) -> list[Case]:
    """Return the tests of a report.

    :raises OSError: when there is none
    :raises ET.ParseError: when it is not whole
    """
    root = ET.parse(report).getroot()  # noqa: S314 - our own file
    return [_case(element) for element in root.iter("testcase")]


def _case(element: ET.Element) -> Case:
    place = element.get("classname", "").rpartition(".")[2]
    name = element.get("name", "")
    name = name if place in {"", name} else f"{place}::{name}"
    seconds = float(element.get("time", 0))
    skip = element.find("skipped")
    if skip is not None:
        return Case(name, SKIPPED, seconds, _reason(element, skip))
    for kind in ("failure", "error"):
        failure = element.find(kind)
        if failure is not None:
            why = [failure.get("message", ""), failure.text or ""]
            why.append(element.findtext("system-out") or "")
            return Case(name, FAILED, seconds, "\n".join(filter(None, why)))
    return Case(name, PASSED, seconds)


def _reason(element: ET.Element, skip: ET.Element) -> str:
    """Return why a test was skipped; a C test says so in its output."""
    output = (element.findtext("system-out") or "").strip()
    if output.startswith("skipped: "):
        return output.removeprefix("skipped: ").splitlines()[0]
    return (skip.get("message") or "no reason given").splitlines()[0]
