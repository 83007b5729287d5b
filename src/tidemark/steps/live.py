"""The steps that only ask the keeper: keep, clear, advance, seal."""

from __future__ import annotations

import os
import platform
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark import __version__
from tidemark.errors import KeeperError, TidemarkError
from tidemark.files import read_json, write_json
from tidemark.keeper.client import Client
from tidemark.keeper.launch import launch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def asking(keeper: Path) -> Iterator[Client]:
    """Connect to a keeper, and end it when the step fails.

    Its workload stands: nothing can come of it any more, and one that was attached to must not
    stand until somebody notices.
    """
    try:
        with Client(keeper) as client:
            yield client
    except BaseException:
        stop(keeper)
        raise


def stop(keeper: Path) -> None:
    """Tell a keeper to end, if it still runs."""
    try:
        with Client(keeper) as client:
            client.ask("stop")
    except (TidemarkError, OSError):
        pass  # it is gone, which is what was wanted


def keep(workload_json: str, keeper: Path) -> None:
    """Start the keeper of a workload and write ``keeper.json`` when it is ready."""
    write_json(keeper, launch(workload_json, keeper.parent))


def clear(keeper: Path, epoch: int, target: Path) -> None:
    """Begin an epoch: have the trackers armed."""
    with asking(keeper) as client:
        answer, _ = client.ask("clear", epoch=epoch)
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        write_json(target, {**answer, "at": at})


def advance(keeper: Path, epoch: int, target: Path) -> None:
    """Have the workload run for its quantum."""
    with asking(keeper) as client:
        answer, _ = client.ask("advance", epoch=epoch)
        write_json(target, answer)


def seal(keeper: Path, live_outputs: Sequence[Path], target: Path) -> None:
    """End the keeper, and state that all live outputs are of its one life.

    :raises KeeperError: when one of them is of another
    """
    with asking(keeper) as client:
        answer, _ = client.ask("seal")
    for path in live_outputs:
        life = read_json(path)["life"]
        if life != answer["life"]:
            raise KeeperError(
                f"{path} is of another run of workload {answer['workload']}; remove "
                f"{path.parent.parent} and run again"
            )
    write_json(target, {**answer, "machine": machine()})


def machine() -> dict[str, Any]:
    """Return the facts of the machine that the results were made on."""
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "hostname": platform.node(),
        "python": platform.python_version(),
        "tidemark": __version__,
    }


def _processor() -> str:
    """Return the name of the processors; as the architecture, where the kernel tells none."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
