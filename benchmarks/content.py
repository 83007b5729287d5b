"""What is measured of page content: dumped, restored, compared and hashed, beside bare peers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subjects import MEMORY, peer
from timing import timed

from tidemark.image.chain import Chain
from tidemark.image.manifest import Account
from tidemark.image.writer import RegionDump, write_image
from tidemark.native.bitmap import Bitmap
from tidemark.native.pages import Source
from tidemark.restore.files import restore_region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Sample = dict[str, float]
Options = dict[str, Any]

_BARE = ("memcpy", "memcmp", "read afresh", "xxh3", "map afresh", "read", "write", "write over")
"""What the peer `memory` measures, in its order."""


@dataclass(frozen=True)
class Content:
    """A file in memory that is all content, another with the same, and how the first is read."""

    path: Path
    other: Path
    source: Source
    pages: Bitmap


@contextmanager
def _content(mib: int) -> Iterator[Content]:
    directory = Path(tempfile.mkdtemp(prefix="tidemark-bench-", dir=MEMORY))
    paths = directory / "one", directory / "two"
    try:
        for path in paths:
            with path.open("wb") as file:
                for index in range(mib):
                    file.write(bytes([index % 251 + 1]) * (1 << 20))
        with paths[0].open("rb") as file:
            pages = Bitmap(mib << 8, [(0, mib << 8)])
            yield Content(*paths, Source.file(file.fileno(), mib << 8), pages)
    finally:
        shutil.rmtree(directory)


def dump(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure the packing of a region with hashes; a bare copy of as many bytes to a new file."""
    with _content(options["mib"]) as content:
        packed, copied = content.path.with_name("packed"), content.path.with_name("copied")
        command = {
            "cp": ["cp", "--reflink=never", str(content.path), str(copied)],
            "dd": ["dd", f"if={content.path}", f"of={copied}", "bs=1M", "status=none"],
        }[options.get("against", "cp")]
        for _ in range(pairs):
            if not options["recycled"]:
                packed.unlink(missing_ok=True)
            out = os.open(packed, os.O_RDWR | os.O_CREAT)
            ours = timed(lambda: content.source.pack(content.pages, out))  # noqa: B023
            os.close(out)
            theirs = timed(lambda: subprocess.run(command, check=True))
            copied.unlink()
            yield {"ours": ours, "peer": theirs}


def restore(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure a region of an image restored to a new memory file; pread into a fresh mapping."""
    with _content(options["mib"]) as content, _bare(content) as bare, _image(content) as chain:
        for _ in range(pairs):
            out = os.memfd_create("restored")
            os.ftruncate(out, options["mib"] << 20)
            ours = timed(lambda: restore_region(chain, 1, out))  # noqa: B023
            os.close(out)
            yield {"ours": ours, "peer": bare()["read afresh"]}


def compare(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure a region compared with a parent; memcmp of both, which are mapped already."""
    with _content(options["mib"]) as content, _bare(content) as bare, _image(content) as chain:
        parent = chain.region(1).source
        for _ in range(pairs):
            ours = timed(lambda: content.source.differing(parent, content.pages))
            yield {"ours": ours, "peer": bare()["memcmp"]}


def hashes(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure the hash of each page, with the reading; XXH3 alone, of memory that is mapped."""
    with _content(options["mib"]) as content, _bare(content) as bare:
        for _ in range(pairs):
            ours = timed(lambda: content.source.hash(content.pages))
            yield {"ours": ours, "peer": bare()["xxh3"]}


def limits(options: Options, pairs: int) -> Iterator[Sample]:
    """Measure one bare operation on content, which one of ours cannot do without; another."""
    with _content(options["mib"]) as content, _bare(content) as bare:
        for _ in range(pairs):
            found = bare()
            yield {"ours": found[options["of"]], "peer": found[options["to"]]}


@contextmanager
def _bare(content: Content) -> Iterator[Callable[[], Sample]]:
    """Give what measures the bare operations on content."""
    with peer("memory", str(content.path), str(content.other)) as program:
        yield lambda: dict(zip(_BARE, program.ask(), strict=True))


@contextmanager
def _image(content: Content) -> Iterator[Chain]:
    """Give an image of the content, opened."""
    path = content.path.with_name("image")
    dump = [_whole(content)]
    write_image(path, dump, workload="bench", epoch=0, tracker="content", parent=None)
    with Chain(path) as chain:
        yield chain


def _whole(content: Content) -> RegionDump:
    return RegionDump(
        number=1,
        kind="anonymous",
        pages=content.pages.pages,
        present=content.pages,
        in_parent=Bitmap(content.pages.pages),
        source=content.source,
        account=Account.of_full(None),
    )


MEASURES: dict[str, Callable[[Options, int], Iterator[Sample]]] = {
    measure.__name__: measure for measure in (dump, restore, compare, hashes, limits)
}
