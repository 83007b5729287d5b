"""Random sequences of operations, each of which means something whatever came before it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

WEIGHTS = {
    # What programs do all the time
    "store": 600,
    "store_edge": 60,
    "fill": 40,
    "load": 30,
    "store_by_thread": 30,
    "store_in_short_life": 12,
    "store_and_die": 6,
    "fork": 6,
    "leave": 4,
    "kill": 4,
    # What they do now and then
    "map_again": 6,
    "map_part": 8,
    "unmap": 6,
    "unmap_part": 4,
    "store_and_unmap": 6,
    "store_in_brief_mapping": 8,
    "map_over": 3,
    "move": 3,
    "move_part": 2,
    "grow_mapping": 2,
    "shrink_mapping": 2,
    "map_with_room": 6,
    "stretch": 12,
    "double": 2,
    "leave_behind": 1,
    "protect_and_back": 4,
    "detach_and_attach": 3,
    "give_up_pages": 4,
    "remove_pages": 4,
    "remove_and_load": 4,
    "page_out": 3,
    "punch": 4,
    "truncate": 3,
    "pwrite": 8,
    "close": 4,
    "open_file": 3,
    "thread": 2,
    "vfork": 2,
    "share_space": 1,
    "execute": 2,
    "join_by_name": 4,
    # What is done to them
    "write_from_outside": 4,
    "copy_from_outside": 4,
    "outsider_maps": 1,
    "outsider_stores": 3,
    "outsider_leaves": 2,
    "read_by_ring": 2,
    "close_ring": 12,  # while there is one, nothing is vouched for
    "read_into": 6,
    # What pins pages: the kernel writes them later, past the page tables
    "read_directly": 10,
    "read_directly_for_long": 3,
    "begin_asynchronous_read": 3,
    "end_asynchronous_read": 6,
    "begin_to_write_from_outside": 3,
    "end_writing_from_outside": 4,
    "write_by_aio": 4,
    "read_by_aio": 4,
    "ring_in_shared_memory": 1,
    "ring_with_buffers": 2,
    "ring_that_reads_on": 1,
    "ring_with_a_file": 1,
    "use_ring": 8,
    "close_second_ring": 6,
    # Descriptors that nobody sees, or that hide what they were used for
    "send_descriptor": 2,
    "write_by_sent_descriptor": 4,
    "hold": 3,
    "hold_by_other_mount": 2,
    "store_by_held": 6,
    "let_go": 8,
    "close_all_descriptors": 8,
    "store_and_set_back": 4,
    "store_by_link": 4,
    # Processes and threads that nobody is told of
    "store_in_untraced_life": 4,
    "fork_untraced": 1,
    "start_untraced_thread": 2,
    "end_untraced_thread": 4,
    "start_threads_with_words": 3,
    "kill_threads_with_words": 4,
    # Objects that are hard to tell apart, and of any length
    "segment_elsewhere": 1,
    "file_of_lost_mount": 1,
    "file_without_mount": 1,
    "file_with_long_name": 1,
    "new_region_of_any_length": 2,
    "truncate_anywhere": 3,
    "cut_from_outside": 3,
    "cut_while_frozen": 1,
    # Regions that come and go
    "new_region": 3,
    "forget_region": 1,
    "kill_all": 1,
    "silent_store": 2,
}
"""Every operation and how often it is done, compared with the others."""

_COMMON = 60
"""What has at least this weight is always done."""

_RANGE = 1 << 20


@dataclass(frozen=True)
class Operation:
    """A verb and three numbers, which choose among what there is when it is done."""

    verb: str
    a: int = 0
    b: int = 0
    c: int = 0

    def __str__(self) -> str:
        return f"{self.verb}({self.a}, {self.b}, {self.c})"


def operations(seed: int, count: int, only: Collection[str] = ()) -> Iterator[Operation]:
    """Yield ``count`` operations, always the same ones for a seed.

    :param only: where there are any, no others are done but these and the most common
    """
    chance = random.Random(seed)  # noqa: S311 - it has to be repeatable
    weights = {
        verb: weight
        for verb, weight in WEIGHTS.items()
        if not only or verb in only or weight >= _COMMON
    }
    for verb in chance.choices(list(weights), list(weights.values()), k=count):
        yield Operation(verb, *(chance.randrange(_RANGE) for _ in range(3)))
