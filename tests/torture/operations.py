"""Random sequences of operations, each of which means something whatever came before it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    "exit": 4,
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
    "open": 3,
    "thread": 2,
    "vfork": 2,
    "share_space": 1,
    "exec": 2,
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
    # Regions that come and go
    "new_region": 3,
    "forget_region": 1,
    "kill_all": 1,
    "silent_store": 2,
}
"""Every operation and how often it is done, compared with the others."""

_NAMES = list(WEIGHTS)
_CUMULATIVE = [sum(list(WEIGHTS.values())[: place + 1]) for place in range(len(WEIGHTS))]
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


def operations(seed: int, count: int) -> Iterator[Operation]:
    """Yield ``count`` operations, always the same ones for a seed."""
    chance = random.Random(seed)  # noqa: S311 - it has to be repeatable
    for verb in chance.choices(_NAMES, cum_weights=_CUMULATIVE, k=count):
        yield Operation(verb, *(chance.randrange(_RANGE) for _ in range(3)))
