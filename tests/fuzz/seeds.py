"""Writes the first inputs of each harness to the corpus: what is right, and fuzzers go on from.

    python tests/fuzz/seeds.py

A corpus also holds what a fuzzer has found on its way, and each input that broke something.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
sys.path.insert(0, str(HERE.parent / "unit"))

from image_fixture import Content, small_chain, write

from tidemark.image.framing import PAGEMAP, frame, framed
from tidemark.native.bitmap import Bitmap, encode_pagemap
from tidemark.proto.criu_pb2 import PagemapEntry, PagemapHead
from tidemark.proto.tracking_pb2 import BitmapSet


def native() -> Iterator[tuple[str, str, bytes]]:
    """Yield harness, name and content of the inputs of the native parsers."""
    runs = Bitmap(4096, [(0, 1), (7, 3), (100, 29)]), Bitmap(4096, [(3, 2), (4000, 96)])
    yield "pagemap", "two", bytes([12, 200, 200]) + encode_pagemap(*runs, 1 << 18)
    yield (
        "pagemap",
        "far",
        bytes([35, 1, 1])
        + encode_pagemap(Bitmap(1 << 35, [((1 << 35) - 1, 1)]), Bitmap(1 << 35), 1 << 18),
    )
    yield "bitmap", "first", struct.pack("<QQ", 4096, 0) + b"\x81" * 64
    yield "bitmap", "last", struct.pack("<QQ", 5, 0) + b"\x1f"
    yield "bitmap", "beyond", struct.pack("<QQ", 1 << 39, (1 << 64) - 1) + b"\x01"
    line = "7f0000000000-7f0000010000 rw-s 00001000 00:01 1234 "
    yield "maps", "memfd", f"{line} /memfd:x (deleted)\n".encode()
    yield "maps", "anonymous", f"{line} /dev/zero (deleted)".encode()
    yield "maps", "private", b"55d0-55d1 r-xp 00000000 08:01 1 /bin/sh\n"
    yield "text", "sections", _elf(0, 0, 256, 4)
    yield "text", "segment", _elf(64, 1, 0, 0)
    yield "text", "wrapped", _elf((1 << 64) - 55, 1, (1 << 64) - 256, 4)
    yield "btf", "function", _btf()
    # Load the call's number; where it is that of mmap, let it be made, else kill.
    code = ((0x20, 0, 0, 0), (0x15, 0, 1, 9), (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0))
    yield "filter", "one", b"".join(struct.pack("<HBBI", *each) for each in code)


def _elf(segments: int, count: int, sections: int, of_sections: int) -> bytes:
    """Return an ELF file: where the headers of so many segments and sections are."""
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQI", 3, 62, 1, 0, segments, sections, 0)
    head += struct.pack("<HHHHHH", 64, 56, count, 64, of_sections, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 300, 300, 1)
    return (head + segment).ljust(510, b"\x90") + b"\x0f\x05"


def _btf() -> bytes:
    """Return a description of ``f(struct s *, long len)``, where ``s`` has a member ``m``."""
    strings = b"\0f\0s\0m\0len\0long\0"
    at = {name: strings.index(b"\0" + name.encode() + b"\0") + 1 for name in ("f", "s", "m", "len")}
    kind = {"int": 1, "pointer": 2, "struct": 4, "function": 12, "prototype": 13}
    types = struct.pack("<IIII", strings.index(b"long"), kind["int"] << 24, 8, 64)
    types += struct.pack("<III", at["s"], kind["struct"] << 24 | 1, 8)
    types += struct.pack("<III", at["m"], 1, 0)
    types += struct.pack("<III", 0, kind["pointer"] << 24, 2)
    types += struct.pack("<III", 0, kind["prototype"] << 24 | 2, 1)
    types += struct.pack("<IIII", 0, 3, at["len"], 1)
    types += struct.pack("<III", at["f"], kind["function"] << 24, 4)
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return head + types + strings


def python() -> Iterator[tuple[str, str, bytes]]:
    """Yield harness, name and content of the inputs of the readers in Python."""
    with tempfile.TemporaryDirectory() as directory:
        images = small_chain(Path(directory))
        for number, image in enumerate(images):
            manifest = (image / "manifest.json").read_bytes()
            yield "manifest", f"e{number}", manifest[manifest.index(b",") + 1 :]
            yield "inventory", "ours", (image / "inventory.img").read_bytes()
            for path in image.glob("pagemap-*.img"):
                yield "criu", f"e{number}-{path.stem}", path.read_bytes()
        write(Path(directory, "one"), {1: Content({0: 1}, length=4)})
        yield "image", "one", b"".join(_parts(Path(directory, "one")))
    yield "bitmap_set", "one", _bitmaps()
    entry = PagemapEntry(vaddr=0, nr_pages=1, compat_nr_pages=0, flags=4)
    messages = [
        PagemapHead(pages_id=1),
        entry,
        PagemapEntry(vaddr=8192, compat_nr_pages=1, in_parent=True),
    ]
    yield (
        "criu",
        "theirs",
        frame(PAGEMAP) + b"".join(framed(message.SerializeToString()) for message in messages),
    )
    yield "json", "all", b'{"a": [1, -2.5e3, true, null, "x\\u00e9\\"[{"], "b": {}}'
    for name, value in _values().items():
        yield name, "good", json.dumps(value).encode()
    yield "config", "two", _CONFIG
    yield "config", "aliases", b"a: &a {b: [1, 2]}\nc: {<<: *a, d: *a}\n"


def _parts(image: Path) -> Iterator[bytes]:
    for name in ("manifest.json", "inventory.img", "pagemap-shmem-1.img", "pages-1.img"):
        content = (image / name).read_bytes()
        if name == "manifest.json":
            content = content[content.index(b",") + 1 :]
        yield len(content).to_bytes(2, "little") + content


def _bitmaps() -> bytes:
    message = BitmapSet(schema=1, workload="grid", epoch=0, page_size=4096, tracker="uffd-wp")
    region = message.regions.add(number=1, kind="memfd", pages=64, known=True, used_count=2)
    region.used.pages = 64
    region.used.chunks.add(index=0, bits=b"\x03".ljust(4096, b"\0"))
    return message.SerializeToString()


def _values() -> Mapping[str, dict[str, Any]]:
    mapping = {"process": 0, "region": 1, "start": 1 << 46, "page": 0, "count": 16, "protection": 3}
    return {
        "layout": {
            "schema": 1,
            "processes": [{"number": 0, "parent": None, "command": "python3"}],
            "regions": [{"number": 1, "kind": "anonymous", "name": "/dev/zero", "pages": 16}],
            "mappings": [mapping],
        },
        "keeper": {
            "schema": 1,
            "pid": 17,
            "start_time": 5,
            "owner": 3,
            "owner_start_time": 1,
            "root": 18,
            "node": "here",
            "batch_job": None,
            "socket": "keeper.sock",
            "life": "9f0c",
            "workload": "grid",
            "tracker": "uffd-wp",
            "tracker_reason": "it can",
        },
    }


_CONFIG = b"""\
workloads:
  app:
    run: [python3, 4]
    epochs: 3
    advance: {seconds: 1}
  other: {attach: {pidfile: /run/x.pid}, epochs: 1, advance: {command: [x, "y"]}}
"""


def main() -> None:
    """Write each input under a name of its own."""
    for harness, name, content in (*native(), *python()):
        path = CORPUS / harness / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
