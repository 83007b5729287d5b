"""What processes can be put through: a module for each subject, a function for each operation.

Each takes the group, a process of it, and two numbers that choose among what there is then.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from verbs import (
    asynchronous,
    direct,
    files,
    frozen,
    giving,
    holding,
    lengths,
    lives,
    mappings,
    outside,
    parcels,
    places,
    regions,
    reshaping,
    rings,
    stores,
    unseen,
)

if TYPE_CHECKING:
    from cast import Member
    from group import Group

Verb = Callable[["Group", "Member", int, int], None]

_MODULES = (
    asynchronous,
    direct,
    files,
    frozen,
    giving,
    holding,
    lengths,
    lives,
    mappings,
    outside,
    parcels,
    places,
    regions,
    reshaping,
    rings,
    stores,
    unseen,
)


@functools.cache
def find(verb: str) -> Verb:
    """Return the function of an operation.

    :raises LookupError: when there is none
    """
    for module in _MODULES:
        found: Verb | None = getattr(module, verb, None)
        if found is not None and found.__module__ == module.__name__:
            return found
    raise LookupError(f"there is no operation {verb}")
