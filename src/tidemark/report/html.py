"""The report as one HTML file that needs no network and runs without its script."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tidemark.files import PUBLIC, write_bytes
from tidemark.report import human
from tidemark.report.views import view

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jinja2 import Environment

    from tidemark.report.model import Machine, Workload
    from tidemark.report.views import WorkloadView


def write_html(path: Path, workloads: Sequence[tuple[Path, Workload]]) -> None:
    """Write the report of workloads, each with the results that it is from.

    Everything in it is from the results: same input, same bytes.

    :raises tidemark.errors.StorageError: when ``path`` cannot be written
    """
    views = [
        view(results, one, f"workload-{index}") for index, (results, one) in enumerate(workloads)
    ]
    template = _environment().get_template("report.html.j2")
    write_bytes(path, template.render(**_context(views)).encode(), PUBLIC)


@cache
def _environment() -> Environment:
    """Return the template engine; cached, as compiling takes longer than filling in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tidemark.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("count", "size", "seconds", "share", "rate", "plural"):
        environment.filters[name] = getattr(human, name)
    return environment


def _context(views: Sequence[WorkloadView]) -> dict[str, Any]:
    script = _asset("inspect.js")
    return {
        "views": views,
        "failed": [one for one in views if one.verdict.state == "failed"],
        "incomplete": [one for one in views if one.verdict.state == "incomplete"],
        "machine": _only_machine(views),
        "began": min(_armed(views), default=None),
        "sums": _sums(views),
        "style": _asset("report.css"),
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


def _asset(name: str) -> str:
    """Return the text of a file of ours, to be put into the page as it is."""
    return files("tidemark.report").joinpath("templates", name).read_text(encoding="utf-8")


def _armed(views: Sequence[WorkloadView]) -> list[str]:
    return [e.epoch.armed_at for one in views for e in one.epochs if e.epoch.armed_at]


def _only_machine(views: Sequence[WorkloadView]) -> Machine | None:
    """Return the machine that all workloads ran on, or None where they differ."""
    machines = {one.workload.live.machine for one in views if one.workload.live}
    return machines.pop() if len(machines) == 1 else None


def _sums(views: Sequence[WorkloadView]) -> dict[str, float]:
    """Return the figures of the tiles: sums over all workloads."""
    every = [one.totals for one in views]
    return {
        "epochs": sum(len(one.epochs) for one in views),
        "compared": sum(one.compared or 0 for one in every),
        "different": sum(one.different or 0 for one in every),
        "missed": sum(one.missed or 0 for one in every),
        "dump_bytes": sum(one.dump_bytes or 0 for one in every),
        "full_bytes": sum(one.full_bytes or 0 for one in every),
        "frozen_max": max((one.frozen_max or 0.0 for one in every), default=0.0),
    }
