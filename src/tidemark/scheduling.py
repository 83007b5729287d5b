"""What of Snakemake's scheduling a run of many jobs cannot bear."""

from __future__ import annotations

from typing import Any


def schedule_on_events(workflow: Any) -> None:
    """Have Snakemake look for jobs to start when one has ended, and not besides.

    Its limit of jobs for each second (9.27) has it look again a second after each look, and again
    after that one: in the end as often in a second as jobs have run. To be called when the run
    begins; ``workflow`` is Snakemake's.
    """
    workflow.scheduler.job_rate_limiter = None
