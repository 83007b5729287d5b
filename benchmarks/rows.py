"""What each row of the table measures: pairs of ours and a peer's, one right after the other."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subjects import DISK, MEMORY, Kept, kept, peer, target, workload
from timing import timed

from tidemark.image.check import check_image
from tidemark.keeper.live import Live
from tidemark.keeper.session import Session
from tidemark.native.bitmap import Bitmap
from tidemark.restore.files import restore_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tidemark.keeper.tracking import Views

_SWITCH = "TIDEMARK_TESTIMONY"

Sample = dict[str, float]
Options = dict[str, Any]


def window(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure the frozen window of a checkpoint; stop, bare scan and memcpy of as many pages."""
    shape = (options["mib"], options["processes"], options["share"])
    words, tracker = [*shape, options.get("pattern", "strided")], options.get("tracker", "uffd-wp")
    with kept(words, tracker, _place(options)) as ours, peer("window", *shape) as bare:
        ours.taker.take()
        os.sync()
        for _ in range(3):  # memory is there, and both are warm
            ours.step()
            bare.ask()
        for _ in range(pairs):
            taken = ours.step()
            stood, scanned, _, pages = bare.ask()
            yield {
                "ours": taken.frozen_seconds,
                "peer": stood,
                "bare_scan": scanned,
                "pages": taken.pages,
                "peer_pages": pages,
            }


def suspects(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure the frozen window of a memory file that stays open; memcmp of it all, bare.

    Nobody testifies of what is written through its descriptor: each page is compared.
    """
    with (
        _testimony(on=False),
        kept(_open_file(options)) as ours,
        peer("compare", options["mib"]) as bare,
    ):
        _warm_up(ours)
        bare.ask()
        for _ in range(pairs):
            taken = ours.step()
            yield {
                "ours": taken.frozen_seconds,
                "peer": bare.ask()[0],
                "pages": taken.pages,
                "suspects": taken.suspects,
            }


def testified(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure the frozen window of a memory file that stays open; of anonymous memory.

    The kernel testifies of what is written through the descriptor.
    """
    anonymous = (options["mib"], options["processes"], options["share"], "strided")
    with kept(_open_file(options)) as ours, kept(anonymous) as other:
        _warm_up(ours)
        _warm_up(other)
        for _ in range(pairs):
            taken = ours.step()
            yield {
                "ours": taken.frozen_seconds,
                "peer": other.step().frozen_seconds,
                "suspects": taken.suspects,
            }


def early(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure the frozen window where all pages were written, and copied before; 100 ms."""
    with kept((options["mib"], options["processes"], 1.0, "strided")) as ours:
        _warm_up(ours)
        for _ in range(pairs):
            yield {"ours": ours.step().frozen_seconds, "peer": 0.1}


def _open_file(options: Options) -> tuple[str | int | float, ...]:
    return (options["mib"], options["processes"], options["share"], "strided", "memfd")


def _warm_up(ours: Kept) -> None:
    ours.taker.take()
    os.sync()
    for _ in range(3):  # memory is there
        ours.step()


@contextmanager
def _testimony(*, on: bool) -> Iterator[None]:
    """Have keepers that are started meanwhile ask the kernel who wrote, or not."""
    before = os.environ.get(_SWITCH)
    os.environ[_SWITCH] = "on" if on else "off"
    try:
        yield
    finally:
        os.environ.pop(_SWITCH)
        if before is not None:
            os.environ[_SWITCH] = before


def incremental(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure an incremental checkpoint in all; a full one of the same process."""
    words = (options["mib"], options["processes"], options["share"])
    with kept(words) as ours:
        taker = ours.taker
        full = taker.take()
        ours.step()
        for index in range(pairs):
            if index and index % 4 == 0:
                shutil.rmtree(full.path)  # what has no parent any more is taken in full
                full = taker.take()
                ours.step()
            taken = ours.step()
            yield {"ours": taken.seconds, "peer": full.seconds, "bytes": taken.bytes}


def scale(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure a checkpoint of pages in a large region, and in a small one, beyond the scan."""
    small, large, pages = options["small_mib"], options["large_mib"], options["pages"]
    shapes = [(mib, 1, pages / (mib << 8), "strided") for mib in (large, small)]
    with (
        kept(shapes[0], place=_place(options)) as big,
        peer("window", *shapes[0][:3]) as big_bare,
        kept(shapes[1], place=_place(options)) as little,
        peer("window", *shapes[1][:3]) as little_bare,
    ):
        for subject in (big, little):
            subject.taker.take()
            subject.step()
        os.sync()
        for _ in range(pairs):
            above, below = big.step(), little.step()
            yield {
                "ours": above.seconds - big_bare.ask()[1],
                "peer": below.seconds - little_bare.ask()[1],
                "bytes": above.bytes,
                "peer_bytes": below.bytes,
            }


def sparse(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure the slowest step of a checkpoint of a huge region with few pages; 100 ms."""
    for steps, _ in _sparse_steps(options, pairs):
        yield {"ours": max(steps.values()), "peer": 0.1, **steps}


def sparse_memory(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure the most memory that a process of ours has had, in bytes; 64 MiB."""
    for _, held in _sparse_steps(options, pairs):
        yield {"ours": max(held.values()), "peer": 64 << 20, **held}


def _sparse_steps(options: Options, pairs: int) -> Iterator[tuple[Sample, Sample]]:
    words = (options["mib"], 1, options["pages"] / (options["mib"] << 8), "sparse")
    with kept(words) as ours:
        ours.taker.take()
        for index in range(pairs):
            taken = ours.step()
            image, restored = taken.path / "image", ours.directory / f"r{index}"
            steps = {
                "checkpoint": taken.seconds,
                "check": timed(lambda: check_image(image)),  # noqa: B023
                "restore": timed(lambda: restore_files(image, restored)),  # noqa: B023
            }
            yield (
                steps,
                {
                    "client": _status(os.getpid(), "VmHWM"),
                    "keeper": _status(ours.keeper, "VmHWM"),
                },
            )


def scan(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure the merged scan over all processes; the bare ioctl loop, or a loop of pread.

    Ours, as the peers, knows where the region is mapped: to list that is a sample of its own.
    """
    shape = (options["mib"], options["processes"], options["share"])
    column = {"ioctl": 1, "pread": 2}[options["against"]]
    with (
        target(*shape) as program,
        peer("window", *shape) as bare,
        tempfile.TemporaryDirectory() as directory,
    ):
        live = Live(workload(program.process.pid), Path(directory), None)
        session = Session(live)
        session.begin()
        session.clear()
        try:
            for _ in range(pairs):
                live.tree.thaw()
                program.ask()
                live.tree.freeze()
                found: list[Views] = []
                listed = timed(lambda: found.append(live.tracking._view_all(live.tree)))  # noqa: B023, SLF001
                ours = timed(lambda: _merged(live, found[0]))  # noqa: B023
                yield {"ours": ours, "peer": bare.ask()[column], "listed": listed}
        finally:
            session.abandon()


def faults(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure first stores, protected as by us; by SIGSEGV, or synchronous userfaultfd."""
    column = {"sigsegv": 2, "synchronous": 3}[options["against"]]
    with peer("faults", options["mib"]) as bare:
        bare.ask()
        for _ in range(pairs):
            answer = bare.ask()
            yield {"ours": answer[1], "peer": answer[column], "plain": answer[0]}


def changeover(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure the frozen window; a change over to synchronous protection and back, alone."""
    with (
        kept((options["mib"], 1, options["share"])) as ours,
        peer("faults", options["mib"]) as bare,
    ):
        ours.taker.take()
        ours.step()
        for _ in range(pairs):
            yield {"ours": ours.step().frozen_seconds, "peer": bare.ask()[4]}


def attach(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure the opening and arming of an address space, per process; 0.5 ms."""
    with target(options["mib"], options["processes"], 0.01) as program:
        for _ in range(pairs):
            with tempfile.TemporaryDirectory() as directory:
                live = Live(workload(program.process.pid), Path(directory), None)
                session = Session(live)
                session.begin()
                tracking = live.tracking
                views = tracking._view_all(live.tree)  # noqa: SLF001 - it is what is measured
                tracking._refresh_data(live.tree, views)  # noqa: SLF001
                seconds = timed(lambda: tracking._arm_all(live.tree, views))  # noqa: B023, SLF001
                session.abandon()
            yield {"ours": seconds / options["processes"], "peer": 0.0005}


def memory(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure the memory of the keeper beyond its copies; 16 MiB and 4 bits per page."""
    allowed = (16 << 20) + (options["mib"] << 8) // 2
    with kept((options["mib"], options["processes"], options["share"])) as ours:
        ours.taker.take()
        for _ in range(pairs):
            ours.step()
            yield {"ours": _status(ours.keeper, "RssAnon"), "peer": allowed}


def _place(options: Options) -> Path:
    return DISK if options.get("on_disk") else MEMORY


def _merged(live: Live, views: Views) -> Bitmap:
    """Scan all processes, as at the end of an epoch, and return what was written through any."""
    tracking, merged = live.tracking, Bitmap(0)
    for scanned in tracking._scan_all(live.tree, views, present=False):  # noqa: SLF001 - measured
        merged |= scanned.written
    return merged


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"process {pid} has no {field}")


MEASURES: dict[str, Callable[[Options, int], Iterator[Sample]]] = {
    measure.__name__: measure
    for measure in (
        *(
            window,
            suspects,
            testified,
            early,
            incremental,
            scale,
            sparse,
            sparse_memory,
            scan,
            faults,
            changeover,
            attach,
            memory,
        ),
    )
}
