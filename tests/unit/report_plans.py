"""Workloads of every shape that the report must cope with.

``python tests/unit/report_plans.py DIRECTORY`` writes them all, and their report.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

from report_fixture import Plan, Region, names, report, write_workload


def seeded(seed: int) -> random.Random:
    """Return a generator that makes the same workload in every run."""
    return random.Random(seed)  # noqa: S311 - repeatable, not secret


def scattered(pages: int, count: int, rng: random.Random) -> int:
    """Return a bitmap with ``count`` pages anywhere."""
    bits = bytearray(-(-pages // 8))
    for page in rng.sample(range(pages), count):
        bits[page // 8] |= 1 << page % 8
    return int.from_bytes(bits, "little")


def window(first: int, count: int) -> int:
    """Return a bitmap with the pages from ``first`` on."""
    return ((1 << count) - 1) << first


def dense(name: str = "grid", epochs: int = 4, pages: int = 4096, seed: int = 1) -> Plan:
    """Return a workload whose one region is used throughout and written here and there."""
    rng, everything = seeded(seed), window(0, pages)
    first = Region(pages=pages, used=everything, dirty=everything)
    later = []
    for epoch in range(1, epochs):
        band = window(epoch * pages // epochs, pages // 9) & rng.getrandbits(pages)
        dirty = (band | scattered(pages, pages // 200, rng)) & everything
        later.append((replace(first, dirty=dirty),))
    return Plan(name, ((first,), *later))


def sparse(name: str = "sparse", clustered: bool = True) -> Plan:
    """Return a workload of one 64 GiB region of which 1000 pages are used."""
    rng, pages = seeded(3), 16 << 20
    places = [rng.randrange(pages - 400) for _ in range(8)]
    used = 0
    for place in places:
        used |= window(place, 125)
    if not clustered:
        used = scattered(pages, 1000, rng)
    first = Region(kind="memfd", name="/memfd:arena", pages=pages, used=used, dirty=used)
    kept = [replace(first, dirty=used & window(place, 60)) for place in places[:4]]
    if not clustered:
        kept = [replace(first, dirty=used & window(pages // 4 * e, pages // 9)) for e in range(4)]
    return Plan(name, ((first,), *((region,) for region in kept)))


def several(name: str = "postgres") -> Plan:
    """Return a workload of several regions with suspects, one of them dumped in full again."""
    rng = seeded(4)
    epochs = []
    for epoch in range(5):
        heap = dense(pages=40000, epochs=5, seed=9).epochs[epoch][0]
        suspect = 0 if epoch in {0, 3} else window(6000, 700) & ~heap.dirty
        changed = suspect & rng.getrandbits(6800) & rng.getrandbits(6800)
        name_in_shm = "/dev/shm/PostgreSQL.1482"  # noqa: S108 - a region's name, not opened
        locks = Region(2, "posix", name_in_shm, 300, window(0, 250))
        queue = Region(3, "sysv", "/SYSV00001f40", 64, window(0, 64), window(epoch * 9, 9))
        reason = "the object shrank and grew again in between" if epoch == 2 else None
        epochs.append(
            (
                replace(heap, suspect=suspect, changed=changed),
                replace(locks, dirty=scattered(250, 12, rng) if epoch else locks.used),
                replace(queue, full_reason=reason, dirty=queue.used if reason else queue.dirty),
            )
        )
    return Plan(name, tuple(epochs), processes=7, command="postgres: checkpointer")


def by_content(name: str = "legacy") -> Plan:
    """Return a workload under the content tracker: every used page is suspect."""
    epochs = []
    for (region,) in dense(pages=10000, epochs=6, seed=5).epochs:
        everything = {"suspect": region.used, "dirty": 0, "changed": region.dirty}
        epochs.append((replace(region, **everything, reason="no tracker"),))  # type: ignore[arg-type]
    return Plan(name, tuple(epochs), tracker="content")


def demonstration() -> list[Plan]:
    """Return one workload of every shape that the report must cope with."""
    ring = replace(dense("ring", 5, 1024, 7), different={2: 3}, missed={2: 2, 3: 1})
    scatter = sparse("sparse-scattered", clustered=False)
    many = dense("long", 40, 8192, 11)
    cache = dense("cache", 8, 1_000_000, 2)
    return [dense(), cache, sparse(), scatter, several(), by_content(), many, ring]


if __name__ == "__main__":
    root = Path(sys.argv[1])
    for made in demonstration():
        write_workload(root, made)
    report(root, *names(*demonstration()))
