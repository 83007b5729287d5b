"""Processes outside of the workload that map its regions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.errors import UnsupportedError
from tidemark.native.library import NativeError
from tidemark.native.maps import shared_mappings

if TYPE_CHECKING:
    from collections.abc import Container

    from tidemark.keeper.objects import Classifier, Identity


def foreign_objects(ours: Container[int], classifier: Classifier) -> set[Identity]:
    """Return the shared memory that processes other than ``ours`` and this one map.

    A process that may not be inspected is another user's, and passed over.
    """
    found: set[Identity] = set()
    for pid in proc.process_ids():
        if pid in ours or pid == os.getpid():
            continue
        try:
            mappings = classifier.shared_memory(pid, shared_mappings(pid))
        except (NativeError, UnsupportedError):
            continue
        found.update(mapping.identity for mapping in mappings)
    return found
