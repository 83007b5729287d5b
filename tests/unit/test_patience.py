"""What a submitted run does while Slurm does not answer."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tidemark.cluster.patience import await_answers


@pytest.mark.parametrize(
    ("command", "states"),
    [("false", {}), ("no-such-command", {}), ("echo '7|RUNNING'", {"7": "RUNNING"})],
)
def test_batch_jobs_are_not_forgotten_where_slurm_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, command: str, states: dict[str, str]
) -> None:
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm", reason="make setup-slurm")
    monkeypatch.setattr(plugin, "query_job_status", plugin.query_job_status)
    await_answers()
    told, _ = asyncio.run(plugin.query_job_status(command, logging.getLogger()))
    assert told == states
