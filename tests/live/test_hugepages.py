from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tidemark.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stage import Stage

POOL = Path("/proc/sys/vm/nr_hugepages")
HUGE = 2 << 20
MFD_HUGETLB = 4
MAP_HUGETLB, MAP_SHARED_ANONYMOUS = 0x40000, 0x21


pytestmark = [pytest.mark.serial, pytest.mark.usefixtures("root", "huge_pages")]


@pytest.fixture
def huge_pages() -> Iterator[None]:
    before = POOL.read_text()
    POOL.write_text("4")
    if int(POOL.read_text()) < 4:
        POOL.write_text(before)
        pytest.skip("the kernel has no huge pages to spare")
    yield
    POOL.write_text(before)


def test_memory_in_huge_pages_is_refused_in_one_sentence(stage: Stage) -> None:
    leader = stage.start()
    descriptor = leader.call("memfd_create", "huge", MFD_HUGETLB)
    leader.call("ftruncate", descriptor, HUGE)
    address = leader.call("mmap", 0, HUGE, 3, 1, descriptor, 0)
    leader.ask("fill", address, 1, 7)
    with pytest.raises(UnsupportedError) as refused:
        stage.ready()
    assert refused.value.exit_code == 11
    assert f"process {leader.pid} shares memory in huge pages (hugetlb) at {address:#x}" in str(
        refused.value
    )
    stage.check_nothing_left()


def test_anonymous_memory_in_huge_pages_is_refused_too(stage: Stage) -> None:
    actor = stage.program()
    flags = MAP_HUGETLB | MAP_SHARED_ANONYMOUS
    address = actor.call("mmap", 0, HUGE, 3, flags, -1, 0)
    actor.ask("fill", address, 1, 7)
    with pytest.raises(UnsupportedError, match="huge pages"):
        stage.attach(actor)
    actor.ask("fill", address, 1, 8)
