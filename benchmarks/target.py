"""The program that is measured: processes that map a region, of which a share is written a step.

usage: target.py MIB PROCESSES SHARE [runs|strided|random|sparse] [anonymous|memfd]

It asks for leave before each step, as the workloads do; where nobody gives it, a line on stdin
does, and is answered by one. The pages written are spread evenly (strided), stand together in
eight runs, or are anywhere, each step the same ones; where it is sparse, no others are in use.
The descriptor of a memory file stays open.
"""

import ctypes
import mmap
import os
import random
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "workloads"))

from steps import Steps

PAGE = mmap.PAGESIZE
RUNS = 8
NORESERVE = 0x4000  # MAP_NORESERVE of mmap(2)


def written(pages: int, share: float, pattern: str) -> list[int]:
    """Return the pages that are written in a step."""
    count = max(1, round(pages * share))
    if pattern == "random":
        return sorted(random.Random(1).sample(range(pages), count))  # noqa: S311 - repeatable
    if pattern == "runs":
        length = max(1, count // RUNS)
        starts = range(0, pages, max(1, pages // RUNS))
        return [page for start in starts for page in range(start, min(start + length, pages))]
    return list(range(0, pages, max(1, int(1 / share))))[:count]


def asked() -> Iterator[int]:
    """Yield the number of each line on stdin, and answer it when that step is done."""
    print("ready", flush=True)  # noqa: T201 - an answer
    for step, _ in enumerate(sys.stdin):
        yield step
        print("done", flush=True)  # noqa: T201


def share_memory(size: int, *, memory_file: bool) -> mmap.mmap:
    """Map a region that is shared: anonymous memory, or a memory file that stays open."""
    if not memory_file:
        return mmap.mmap(-1, size, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | NORESERVE)
    file = os.memfd_create("target")
    os.ftruncate(file, size)
    return mmap.mmap(file, size, flags=mmap.MAP_SHARED | NORESERVE)


def begin(region: mmap.mmap, processes: int) -> None:
    """Share the region with more processes, whose page tables hold all of it."""
    pages = range(0, len(region), PAGE)
    for _ in range(processes - 1):
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            sum(region[page] for page in pages)
            signal.pause()


def main() -> None:
    """Fill the region, share it, and write to it until the steps end."""
    size, processes, share = int(sys.argv[1]) << 20, int(sys.argv[2]), float(sys.argv[3])
    pages = written(size // PAGE, share, (sys.argv[4:] or ["strided"])[0])
    steps: Iterable[int] = Steps(0) if "TIDEMARK_STEP_FD" in os.environ else asked()
    region = share_memory(size, memory_file="memfd" in sys.argv)
    for page in pages if "sparse" in sys.argv else range(size // PAGE):
        region[page * PAGE] = 1
    begin(region, processes)
    for step in steps:
        for page in pages:
            region[page * PAGE + 8] = step % 251 + 1


if __name__ == "__main__":
    main()
