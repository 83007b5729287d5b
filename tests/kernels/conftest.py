"""The plans as tests: every test that was run in a guest is one here, with the kernel's name.

A plan is run as a whole, so its tests are known only afterwards; there is one item for each
kernel, which reports many results. KERNELS in the environment says which are run: the short
groups, as a rule; with "all" the long ones, too; with "newer" kernels of another release.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from boots import Fleet
from junit import FAILED, SKIPPED
from overview import table
from plan import NEWER, PLANS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from boots import Boot
    from junit import Case
    from plan import Plan

WANTED = os.environ.get("KERNELS", "short")
FLEET = pytest.StashKey[Fleet]()
BOOTS = pytest.StashKey[list["Boot"]]()


def chosen() -> list[Plan]:
    """Return the plans that are to be run."""
    if WANTED == "newer":
        return list(NEWER)
    long = WANTED == "all"
    return [
        replace(plan, groups=tuple(g for g in plan.groups if (g.long if long else g.short)))
        for plan in PLANS
    ]


class Plans(pytest.File):
    """The file of the plans."""

    def collect(self) -> Iterator[Kernel]:
        self.session.stash.setdefault(FLEET, Fleet(chosen()))
        for plan in chosen():
            yield Kernel.from_parent(self, name=plan.kernel.name)


class Kernel(pytest.Item):
    """All that is run on one kernel."""

    def runtest(self) -> None:
        """Do nothing: see pytest_runtest_protocol."""

    def boot(self) -> Boot:
        """Run the plan, and keep what came of it for the table at the end."""
        boot = self.session.stash[FLEET].boot(self.name)
        self.config.stash.setdefault(BOOTS, []).append(boot)
        return boot

    def report(self, group: str, case: Case) -> pytest.TestReport:
        """Return the report of a test in the guest."""
        where = (str(self.path.relative_to(self.config.rootpath)), None, f"{self.name} {group}")
        failure: object = None
        if case.outcome == FAILED:
            failure = case.why
        elif case.outcome == SKIPPED:
            failure = (where[0], 1, f"Skipped: on {self.name}: {case.why}")
        return pytest.TestReport(
            nodeid=f"{self.parent.nodeid if self.parent else ''}::{self.name}-{group}::{case.name}",
            location=where,
            keywords={"kernels": 1},
            outcome=case.outcome,  # type: ignore[arg-type] # they are pytest's words
            longrepr=failure,  # type: ignore[arg-type] # a text or a place
            when="call",
            duration=case.seconds,
        )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Plans | None:
    """Take the file of the plans for one of tests."""
    here = file_path.name == "plan.py" and file_path.parent.name == "kernels"
    return Plans.from_parent(parent, path=file_path) if here else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what boots a kernel."""
    for item in items:
        if isinstance(item, Kernel):
            item.add_marker(pytest.mark.kernels)


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Report the tests of a guest one by one."""
    if not isinstance(item, Kernel):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for group, cases in item.boot().groups.items():
        for case in cases:
            item.ihook.pytest_runtest_logreport(report=item.report(group, case))
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the kernels and what was run on them."""
    boots = terminalreporter.config.stash.get(BOOTS, [])
    if boots:
        terminalreporter.section("kernels")
        terminalreporter.write_line(table(boots))
