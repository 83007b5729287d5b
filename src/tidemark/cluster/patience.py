"""Where Slurm does not answer at once."""

from __future__ import annotations

from typing import Any


def await_answers() -> None:
    """Have a submitted run ask again where Slurm does not say what its batch jobs do.

    Snakemake's plug-in (2.8) forgets all batch jobs of which it was told nothing, and so waits for
    them for ever. A controller that is busy for ten seconds is enough: the plug-in then turns to
    the accounting, which not every cluster has.
    """
    import snakemake_executor_plugin_slurm as plugin

    asked = plugin.query_job_status

    async def ask(command: str, logger: Any) -> tuple[dict[str, str], float]:
        states, seconds = await asked(command, logger)
        # Jobs that are not told of are taken for such as Slurm does not know yet.
        return ({}, 0.0) if states is None else (states, seconds)

    plugin.query_job_status = ask
