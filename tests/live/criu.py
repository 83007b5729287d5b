"""CRIU itself, and a program for it to dump: the witnesses for our images.

Everything of a dump, its log among them, is kept in the test's directory; with CRIU_LOGS in the
environment it is copied there when a test fails.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import criu_peer
from system import PAGE, is_alive, kill, wait_until

from tidemark.image.pagemap import Kind, read_pagemap, write_pagemap
from tidemark.native.bitmap import Bitmap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SOURCE = Path(__file__).parent / "programs" / "criu" / "rounds.c"
TASK_PAGES = 1000
"""What we number pages images from, where CRIU has its own beside them."""


def lacking() -> str | None:
    """Return why CRIU cannot be used here; None where it can."""
    if os.geteuid() != 0:
        return "only root can have CRIU dump"
    return criu_peer.lacking()


def compile_program(directory: Path) -> Path:
    """Compile the program that writes in rounds."""
    program = directory / "rounds"
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *flags, "-o", program, SOURCE], check=True)
    return program


class Rounds:
    """A tree of processes that write in rounds and check what they wrote."""

    def __init__(self, program: Path, directory: Path, kind: str, pages: int, *more: str) -> None:
        self.pages = pages
        self._status = directory / "status"
        self._round = 0
        # CRIU dumps System V segments with the namespace that they are in, or not at all.
        namespace = ["unshare", "--ipc"] if kind == "sysv" else []
        self._process = subprocess.Popen(
            [*namespace, program, kind, str(pages), "3", self._status, *more],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.pid = self._process.pid
        self._await("ready 0")

    def _await(self, *lines: str) -> str:
        def said() -> bool:
            return self._status.exists() and self._status.read_text().strip() in lines

        wait_until(said, f"{lines} from process {self.pid}")
        return self._status.read_text().strip()

    def write(self) -> None:
        """Have it go through a round."""
        self._round += 1
        os.kill(self.pid, signal.SIGUSR1)
        self._await(f"round {self._round}")

    def wrong(self) -> int:
        """Have it check its memory; return the first page that is wrong, 0 for none."""
        self._status.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR2)
        wait_until(self._status.exists, f"the check of process {self.pid}")
        what, number = self._status.read_text().split()
        return int(number) if what == "wrong" else 0

    def kill(self) -> None:
        """End it and all that it started."""
        self.kill_restored()
        self._process.wait()

    def kill_restored(self) -> None:
        """End it after CRIU has run it on: it is no child of ours then."""
        members = [self.pid, *children(self.pid)]
        for pid in members:
            kill(pid)
        wait_until(lambda: not any(map(is_alive, members)), "the end of the program")

    def memory(self) -> list[bytes]:
        """Return its pages, read past all caches of ours: from the object that it maps."""
        start, end = self.mapping()
        with Path(f"/proc/{self.pid}/map_files/{start:x}-{end:x}").open("rb") as file:
            return [file.read(PAGE) for _ in range(self.pages)]

    def mapping(self) -> tuple[int, int]:
        """Return where it maps the shared memory."""
        line = self._line()
        start, _, end = line.split()[0].partition("-")
        return int(start, 16), int(end, 16)

    def inode(self) -> int:
        """Return what CRIU calls the shared memory by."""
        return int(self._line().split()[4])

    def _line(self) -> str:
        lines = Path(f"/proc/{self.pid}/maps").read_text().splitlines()
        (line,) = [line for line in lines if line.split()[1] == "rw-s"]
        return line


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass(frozen=True)
class Dump:
    """A directory of images that CRIU wrote, ours among them or not."""

    directory: Path

    @property
    def shmid(self) -> int:
        """The number of its one shared-memory object."""
        (path,) = self.directory.glob("pagemap-shmem-*.img")
        return int(path.stem.rpartition("-")[2])

    @property
    def pages(self) -> Path:
        """The file with the content of that object."""
        number, _ = read_pagemap(self.directory / f"pagemap-shmem-{self.shmid}.img")
        return self.directory / f"pages-{number}.img"


def call_criu(verb: str, directory: Path, *options: str, **environment: str) -> None:
    """Run CRIU on a directory of images.

    :raises AssertionError: with its log, when it fails
    """
    log = directory / f"{verb}.log"
    done = subprocess.run(
        ["criu", verb, "-D", directory, "-o", log.name, "-v4", *options],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = log.read_text(errors="replace")[-3000:] if log.exists() else done.stderr
    assert done.returncode == 0, f"criu {verb} ended with {done.returncode}:\n{said}"


def dump_tree(
    pid: int, directory: Path, *, parent: Path | None = None, track: bool = False, leave: bool
) -> Dump:
    """Have CRIU dump a tree; ``leave`` it running, or let it end with the dump."""
    directory.mkdir(parents=True)
    options = ["-t", str(pid), *(["--leave-running"] if leave else [])]
    options += ["--track-mem"] if track else []
    if parent is not None:
        options += ["--prev-images-dir", os.path.relpath(parent, directory)]
    call_criu("dump", directory, *options, **({"CRIU_TRACK_SHMEM": "1"} if track else {}))
    return Dump(directory)


def restore_tree(dump: Dump) -> None:
    """Have CRIU run a tree on from its images."""
    call_criu("restore", dump.directory, "-d")


def put_in_place(image: Path, dump: Dump, shmid: int) -> None:
    """Put the one region of an image of ours in the place of CRIU's, in its own files."""
    target = dump.directory
    for stale in target.glob("pagemap-shmem-*.img"):
        Dump(target).pages.unlink()
        stale.unlink()
    _, entries = read_pagemap(image / "pagemap-shmem-1.img")
    runs: dict[Kind, list[tuple[int, int]]] = {Kind.PRESENT: [], Kind.PARENT: []}
    end = 0
    for entry in entries:
        runs[entry.kind].append((entry.first_page, entry.count))
        end = entry.end
    present, in_parent = Bitmap(end, runs[Kind.PRESENT]), Bitmap(end, runs[Kind.PARENT])
    with (target / f"pagemap-shmem-{shmid}.img").open("xb") as file:
        write_pagemap(file, TASK_PAGES, present, in_parent)
    shutil.copy(image / "pages-1.img", target / f"pages-{TASK_PAGES}.img")


def decode(path: Path) -> list[dict[str, Any]]:
    """Return the entries of an image as CRIU's own tool reads them."""
    done = subprocess.run(
        ["crit", "decode", "-i", path], capture_output=True, text=True, check=True
    )
    entries: list[dict[str, Any]] = json.loads(done.stdout)["entries"]
    return entries


def decoded_pages(directory: Path, shmid: int) -> dict[int, bytes]:
    """Return the pages of a dump as crit's entries place them; no parents."""
    head, *entries = decode(directory / f"pagemap-shmem-{shmid}.img")
    content = (directory / f"pages-{head['pages_id']}.img").read_bytes()
    found: dict[int, bytes] = {}
    for page in _numbers(entries):
        at = len(found) * PAGE
        found[page] = content[at : at + PAGE]
    assert len(content) == len(found) * PAGE
    return found


def _numbers(entries: Iterable[dict[str, Any]]) -> Iterator[int]:
    for entry in entries:
        assert not entry.get("in_parent")
        first = int(str(entry["vaddr"]), 0) // PAGE
        yield from range(first, first + entry["nr_pages"])
