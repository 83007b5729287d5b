"""Whether a workload was verified, in one sentence, and every reason why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tidemark.report.human import plural

if TYPE_CHECKING:
    from tidemark.report.model import Epoch, Workload

State = Literal["verified", "failed", "incomplete"]


@dataclass(frozen=True)
class Verdict:
    """``failed`` outweighs ``incomplete``: what is known to be wrong is said first."""

    state: State
    headline: str
    problems: tuple[str, ...] = ()


def judge_epoch(epoch: Epoch) -> Verdict:
    """Return the verdict on one epoch."""
    verify = epoch.verify
    if verify is None:
        return Verdict("incomplete", "not verified", (f"epoch {epoch.number} was not verified",))
    problems = []
    if verify.different:
        problems.append(f"{_pages(verify.different)} different from the truth after restoring")
    if verify.missed:
        problems.append(f"{_pages(verify.missed)} written but missed by the dump")
    if verify.missing:
        problems.append(f"shared memory is in no region of the dump: {', '.join(verify.missing)}")
    if verify.sharing_seen != verify.sharing_of:
        seen = f"{verify.sharing_seen} of {verify.sharing_of}"
        problems.append(f"the sharing was not restored: {seen} mappings saw another's store")
    if not problems:
        return Verdict("verified", "verified")
    return Verdict("failed", "FAILED", tuple(f"epoch {epoch.number}: {what}" for what in problems))


def _pages(number: int) -> str:
    return f"{plural(number, 'page')} {'is' if number == 1 else 'are'}"


def failures(workload: Workload) -> list[str]:
    """Return what is known to be wrong, in one sentence each."""
    verdicts = [judge_epoch(epoch) for epoch in workload.epochs]
    failed = [p for verdict in verdicts if verdict.state == "failed" for p in verdict.problems]
    return failed + _check_problems(workload)


def judge(workload: Workload) -> Verdict:
    """Return the verdict on a workload, from all its epochs and its own check."""
    verdicts = [judge_epoch(epoch) for epoch in workload.epochs]
    failed = failures(workload)
    unknown = [p for verdict in verdicts if verdict.state == "incomplete" for p in verdict.problems]
    if failed:
        return Verdict("failed", "Verification FAILED", (*failed, *workload.unfinished, *unknown))
    if unknown or not verdicts:
        done = len(verdicts) - len(unknown)
        headline = f"Incomplete: {done} of {plural(len(verdicts), 'epoch')} verified"
        return Verdict("incomplete", headline, (*workload.unfinished, *unknown))
    return Verdict("verified", "; ".join(("Verified bit for bit", *_reserves(workload))))


def _reserves(workload: Workload) -> list[str]:
    """Return what a verdict does not speak of, in words."""
    verified = [epoch.verify for epoch in workload.epochs if epoch.verify]
    pages = sum(verify.unjudged for verify in verified)
    objects = {name for verify in verified for name in verify.unjudged_objects}
    found = []
    if pages:
        found.append(f"{plural(pages, 'page')} could not be judged")
    if objects:
        found.append(f"{plural(len(objects), 'object')} could not be judged")
    if workload.notices:
        found.append("parts of the record are missing")
    return found


def _check_problems(workload: Workload) -> list[str]:
    live = workload.live
    if live is None or live.check is None or live.check_exit == 0:
        return []
    return [f"the workload's own check failed with exit code {live.check_exit}"]
