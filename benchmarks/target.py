"""The program that is measured: processes that map a region, of which a share is written a step.

usage: target.py MIB PROCESSES SHARE

It asks for leave before each step, as the workloads do. The pages written are spread evenly.
"""

import mmap
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "workloads"))

from steps import Steps

PAGE = mmap.PAGESIZE


def main() -> None:
    """Fill the region, share it, and write to it until the steps end."""
    size, processes, share = int(sys.argv[1]) << 20, int(sys.argv[2]), float(sys.argv[3])
    steps = Steps(0)
    region = mmap.mmap(-1, size)
    for page in range(0, size, PAGE):
        region[page] = 1
    for _ in range(processes - 1):
        if os.fork() == 0:
            sum(region[page] for page in range(0, size, PAGE))
            signal.pause()
    for step in steps:
        for page in range(0, size, int(PAGE / share) // PAGE * PAGE):
            region[page + 8] = step % 251


if __name__ == "__main__":
    main()
