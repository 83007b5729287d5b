"""Processes outside of the workload that map its regions, or can write them unseen."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.keeper.descriptors import holdings
from tidemark.native.library import NativeError
from tidemark.native.maps import shared_mappings

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from tidemark.keeper.objects import Classifier, Identity
    from tidemark.keeper.region import Region


def foreign_objects(
    ours: Container[int], classifier: Classifier, regions: Sequence[Region]
) -> set[Identity]:
    """Return the shared memory that processes other than ``ours`` and this one may write.

    A process that may not be inspected is another user's, and passed over.
    """
    others = [pid for pid in proc.process_ids() if pid not in ours and pid != os.getpid()]
    found = {identity for pid in others for identity in _mapped(pid, classifier)}
    if any(region.kind in {"memfd", "posix"} for region in regions):
        unseen = holdings(others, regions).unseen
        found.update(region.identity for region in regions if region.number in unseen)
    return found


def _mapped(pid: int, classifier: Classifier) -> set[Identity]:
    """Return what shared memory a process maps, asked through a thread that has not ended."""
    for tid in _living(pid):
        try:
            raw = shared_mappings(tid)
        except NativeError:
            continue
        return {m.identity for m in classifier.shared_memory(tid, raw, ours=False)}
    return set()


def _living(pid: int) -> list[int]:
    """Return threads of a process: the first, unless it has ended before others."""
    return [pid] if proc.state_of(pid) != "Z" else proc.thread_ids(pid)[1:]
