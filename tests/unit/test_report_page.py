"""The report's page: it needs no network, and a name in it is nothing but text."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from report_fixture import Plan, Region, names, report, write_workload
from report_plans import several, sparse, window

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the report of two workloads, with everything that a section can hold."""
    root = tmp_path_factory.mktemp("results")
    plans = (several(), sparse())
    for plan in plans:
        write_workload(root, plan)
    return report(root, *names(*plans))[0]


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the texts of its scripts by type."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = [("", {})]
        self.scripts: list[tuple[str | None, str]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.found[-1]
        if tag == "script" and self.lasttag == "script" and data.strip():
            self.scripts.append((attributes.get("type"), data))
        self.text.append(data)


def test_the_page_loads_nothing(page: str) -> None:
    for tag, attributes in Elements(page).found:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert not {"src", "srcset", "data", "action", "poster", "xlink:href"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith("#")
    assert "@import" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert set(re.findall(r"url\([^)]*\)", page)) == {'url("#stripes")'}


def test_a_hostile_name_stays_text(tmp_path: Path) -> None:
    hostile = '"><img src=x onerror=alert(1)>'
    region = Region(name="</script><script>alert(2)</script>", used=window(0, 9))
    other = Region(2, "memfd", "<blink onclick=alert(3)>", 64, window(0, 9), window(0, 2))
    plan = Plan(hostile, ((region, other),), command="<i>{{ 7 * 7 }}</i>")
    write_workload(tmp_path, plan)
    page, _ = report(tmp_path, (hostile, 1))
    elements = Elements(page)
    assert not {"img", "blink"} & {tag for tag, _ in elements.found}
    assert not [name for _, a in elements.found for name in a if name.startswith("on")]
    assert [kind for kind, _ in elements.scripts] == ["application/json"] * 2 + [None]
    text = "".join(elements.text)
    assert hostile in text
    assert region.name in text
    assert "{{ 7 * 7 }}" in text


def test_only_the_reports_own_script_may_run(page: str) -> None:
    (script,) = [text for kind, text in Elements(page).scripts if kind is None]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
