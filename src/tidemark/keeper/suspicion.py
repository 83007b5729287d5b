"""Why a tracker cannot vouch for a page."""

from __future__ import annotations

CONTENT = "content"
"""There is no tracker: every page is compared."""

UNTRACKED = "untracked"
"""The process cannot be put under the tracker."""

UNSURE = "unsure"
"""The tracker itself cannot tell: soft-dirty finds an empty page table entry."""

RECLAIMED = "reclaimed"
"""The kernel may have taken entries out of page tables: no clean soft-dirty bit proves anything."""

UNMAPPED = "unmapped"
"""A mapping that was armed is not there any more, and its page table with it."""

NEW_MAPPING = "new-mapping"
"""A mapping was made within the epoch, and is not under the tracker."""

EXEC = "exec"
"""A process gave up its memory for a new program's."""

VANISHED = "vanished"
"""A process ended and could not be looked at before."""

UNFOLLOWED = "unfollowed"
"""A process ran that was not followed from its birth on (CLONE_UNTRACED), or may have: reports of
births were lost."""

LOCK = "lock"
"""A thread ended that held a robust lock: the kernel then marks the lock, wherever it is."""

UNHEARD = "unheard"
"""A thread was killed while it changed mappings: what it did may not have been told."""

PINNED = "pinned"
"""The kernel may write it on a process's behalf: for a buffer that is registered with io_uring(7),
or a direct read that is under way."""

TOUCHED = "touched"
"""The object was opened or mapped anew, or read or written through a descriptor."""

DESCRIPTOR = "descriptor"
"""A process of the workload holds a descriptor through which it may write unseen."""

UNWITNESSED = "unwitnessed"
"""It cannot be told whether the object was touched."""

FOREIGN = "foreign"
"""A process outside of the workload maps the object, or may write it unseen."""

UNINSPECTED = "uninspected"
"""A process outside of the workload could have opened it, and may not be inspected."""

UNSAVED = "unsaved"
"""It was found to be written by a checkpoint that was not saved."""

UNSTEADY = frozenset({FOREIGN, UNINSPECTED, PINNED})
"""For these reasons somebody may write who does not stand while the region is dumped."""
