"""Running a plan in a guest, and what came of each of its tests."""

from __future__ import annotations

import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from foreign import lacking_foreign, run_foreign
from guest import lacking, run_guest
from junit import FAILED, PASSED, SKIPPED, Case, read_cases
from packages import CACHE, ROOT, fetch
from plan import PROBE, SLOWNESS, Group, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future
    from pathlib import Path

from guest import Ended

RESULTS = CACHE / "results"
BOOT_SECONDS = 120
_TAIL = 4000
_AT_ONCE = 2

_COMMANDS = """\
cd {root}
echo advise >/sys/kernel/mm/transparent_hugepage/shmem_enabled
modprobe zram && echo 256M >/sys/block/zram0/disksize && mkswap -q /dev/zram0 && swapon /dev/zram0
export PATH="$PWD/.venv/bin:$PATH" TIDEMARK_TEST_SLOWNESS={slowness} RESULTS=/run/exchange
group() { # name, seconds, command
	echo "guest: $1 begins" >/dev/console
	cat /proc/uptime >"$RESULTS/$1.times"
	REPORT="$RESULTS/$1.xml" timeout -k 9 "$2" sh -c "$3" >"$RESULTS/$1.txt" 2>&1 </dev/null
	echo $? >"$RESULTS/$1.code"
	cat /proc/uptime >>"$RESULTS/$1.times"
}
"""


@dataclass
class Boot:
    """What came of a plan: by group, its tests, and how many seconds they took."""

    kernel: str
    release: str = ""
    seconds: float = 0.0
    groups: dict[str, list[Case]] = field(default_factory=dict)
    wall: dict[str, float] = field(default_factory=dict)


class Fleet:
    """Boots all plans, two at a time, from the moment that the first is asked for."""

    def __init__(self, plans: Iterable[Plan]) -> None:
        self._plans = list(plans)
        self._boots: dict[str, Future[Boot]] = {}

    def boot(self, kernel: str) -> Boot:
        """Return what came of the plan for a kernel, when it is through."""
        if not self._boots:
            RESULTS.mkdir(parents=True, exist_ok=True)
            pool = ThreadPoolExecutor(_AT_ONCE)
            self._boots = {plan.kernel.name: pool.submit(run, plan) for plan in self._plans}
            pool.shutdown(wait=False)
        return self._boots[kernel].result()


def run(plan: Plan) -> Boot:
    """Boot a kernel, run the groups of its plan one after the other, and keep the results."""
    boot = Boot(plan.kernel.name)
    why = lacking_foreign() if plan.kernel.architecture else lacking()
    try:
        if not why:
            (_run_foreign if plan.kernel.architecture else _run_here)(plan, boot)
            if PROBE in plan.groups or plan.kernel.architecture:
                boot.groups.setdefault(PROBE.name, []).append(_answers(plan))
    except LookupError as error:
        why = str(error)
    if why:
        boot.groups = {group.name: [Case("all", SKIPPED, 0, why)] for group in plan.groups}
    (RESULTS / f"{plan.kernel.name}.json").write_text(json.dumps(asdict(boot), indent=1))
    return boot


def _run_here(plan: Plan, boot: Boot) -> None:
    kernel, exchange = fetch(plan.kernel), RESULTS / plan.kernel.name
    limit = BOOT_SECONDS + sum(group.limit for group in plan.groups)
    ended = run_guest(kernel, commands(plan.groups), exchange, limit)
    boot.release, boot.seconds = kernel.release, ended.seconds
    for group in plan.groups:
        boot.groups[group.name] = _cases(group, exchange, ended)
        boot.wall[group.name] = _seconds(exchange / f"{group.name}.times")


def _answers(plan: Plan) -> Case:
    """Return, as a test, whether the probe found missing what is known to be, and nothing else."""
    name = "what is known to be missing is found missing"
    try:
        told = (RESULTS / plan.kernel.name / "probe.json").read_text()
        features = json.loads(told)["features"]
    except (OSError, ValueError, KeyError) as error:
        return Case(name, FAILED, 0, f"the probe gave no answer: {error}")
    missing = {feature for feature, found in features.items() if not found["works"]}
    if missing == plan.lacks:
        return Case(name, PASSED, 0)
    return Case(name, FAILED, 0, f"missing are {sorted(missing)}, expected {sorted(plan.lacks)}")


def _run_foreign(plan: Plan, boot: Boot) -> None:
    """Run the one group that there is without the host's files."""
    (group,) = plan.groups
    boot.release, boot.seconds, cases = run_foreign(plan.kernel, RESULTS / plan.kernel.name)
    boot.groups[group.name] = cases
    boot.wall[group.name] = boot.seconds


def _seconds(times: Path) -> float:
    """Return the time between two lines of /proc/uptime; 0 where there are none."""
    stamps = [float(line.split()[0]) for line in _lines(times)]
    return stamps[-1] - stamps[0] if len(stamps) > 1 else 0.0


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def commands(groups: Iterable[Group]) -> str:
    """Return what the guest's shell has to do."""
    head = _COMMANDS.replace("{root}", shlex.quote(str(ROOT)))
    head = head.replace("{slowness}", str(SLOWNESS))
    lines = (f"group {g.name} {g.limit} {shlex.quote(g.command)}\n" for g in groups)
    return head + "".join(lines)


def _cases(group: Group, exchange: Path, ended: Ended) -> list[Case]:
    """Return the tests of a group; a command without a report is one test itself."""
    code = exchange / f"{group.name}.code"
    output = exchange / f"{group.name}.txt"
    try:
        cases = read_cases(exchange / f"{group.name}.xml")
    except (OSError, ET.ParseError):
        cases = []
    if code.exists() and code.read_text().strip() == "0":
        return cases or [Case("all", PASSED, 0)]
    if any(case.outcome == FAILED for case in cases):
        return cases
    said = output.read_text(errors="replace")[-_TAIL:] if output.exists() else "it did not begin"
    why = [f"exit code {code.read_text().strip()}" if code.exists() else f"no end: {ended.why}"]
    why += [said, "the guest's console:", ended.console[-_TAIL:]]
    return [*cases, Case("all", FAILED, ended.seconds, "\n".join(why))]
