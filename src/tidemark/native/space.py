"""Address spaces under a tracker."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from tidemark.native.library import NativeError, check, error_from, ffi, lib, new_error
from tidemark.native.pool import pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidemark.native.bitmap import Bitmap
    from tidemark.native.tracee import Stopped

Span = tuple[int, int]
"""Start and end address."""

View = tuple[int, int, int]
"""Start and end address, and the page of the region that the start shows."""


class Deed(Enum):
    """What can be done to mappings and does not show in a scan."""

    MOVED = lib.TM_NOTICE_MOVED
    GIVEN = lib.TM_NOTICE_GIVEN
    UNMAPPED = lib.TM_NOTICE_UNMAPPED


class Notice(NamedTuple):
    """A mapping at ``start`` was moved or mapped again, or [start, end) given back or unmapped."""

    deed: Deed
    start: int
    end: int


def open_all(tracker: str, threads: Sequence[Stopped]) -> list[Space | NativeError]:
    """Open address spaces, each through one of its threads; the processes work at a time.

    For each that cannot be opened it returns why: ProcessGoneError when the thread ended, or stands
    before its end; LackingError when the process cannot be tracked this way. A userfaultfd is
    created in the process and taken over, so that none of its descriptors stays there.
    """
    openings = ffi.new("struct tm_opening[]", len(threads))
    for opening, thread in zip(openings, threads, strict=True):
        opening.thread = thread
    lib.tm_space_open_all(tracker.encode(), openings, len(threads))
    return [
        Space(opening.space) if opening.code == lib.TM_OK else error_from(opening.error)
        for opening in openings
    ]


@dataclass(frozen=True)
class Scan:
    """Views of one region, and what takes the pages stored to and those that cannot be told."""

    space: Space
    views: Sequence[View]
    written: Bitmap
    unsure: Bitmap


def scan_all(scans: Sequence[Scan], *, rearm: bool) -> list[list[bool] | NativeError]:
    """Do scans, as many at a time as there are processors.

    Returns, for each, of which of its views a part is not covered any more; or why it could not be
    done, and then nothing is sure: ProcessGoneError where the memory is gone.

    :param rearm: forget each write as it is reported, where the tracker can (uffd-wp)
    """
    raw = ffi.new("struct tm_scan[]", len(scans))
    kept = []  # alive until the call has ended
    for each, scan in zip(raw, scans, strict=True):
        count = len(scan.views)
        each.views, each.changed = arrays = (
            ffi.new("struct tm_view[]", scan.views),
            ffi.new("bool[]", count),
        )
        kept.append(arrays)
        each.space, each.count, each.rearm = scan.space.handle, count, rearm
        each.written, each.unsure = scan.written.handle, scan.unsure.handle
    lib.tm_scan_all(pool(), raw, len(scans))
    return [_changed(each, changed) for each, (_, changed) in zip(raw, kept, strict=True)]


def _changed(scan: Any, changed: Any) -> list[bool] | NativeError:
    return list(changed) if scan.code == lib.TM_OK else error_from(scan.error)


class Space:
    """The address space of a process, as :func:`open_all` gives it."""

    def __init__(self, handle: Any) -> None:
        self.handle: Any = ffi.gc(handle, lib.tm_space_close)

    def close(self) -> None:
        """Stop tracking. The process is left as if it had never been tracked."""
        ffi.release(self.handle)

    def cover(self, start: int, end: int) -> None:
        """Put the mapping [start, end) under the tracker.

        :raises TracedError: when another tracker holds it
        """
        error = new_error()
        check(lib.tm_space_cover(self.handle, (start, end), error), error)

    def arm(self, spans: Sequence[Span]) -> None:
        """Forget all writes so far within ``spans``, which must be covered.

        :raises ChangedError: when a part of them is not covered
        """
        error = new_error()
        array = ffi.new("struct tm_span[]", list(spans))
        check(lib.tm_space_arm(self.handle, array, len(spans), error), error)

    def present(self, view: View, present: Bitmap) -> None:
        """Add the view's pages that the page table holds."""
        error = new_error()
        raw = ffi.new("struct tm_view *", view)
        check(lib.tm_space_present(self.handle, raw, present.handle, error), error)

    def fileno(self) -> int:
        """Return a descriptor to poll for notices; -1 where the tracker has none."""
        return int(lib.tm_space_descriptor(self.handle))

    def notice(self) -> Notice | None:
        """Return what was done to a covered mapping that no scan shows; None when nothing was.

        The thread that did it waits until this has been asked.
        """
        error = new_error()
        notice = ffi.new("struct tm_notice *")
        check(lib.tm_space_notice(self.handle, notice, error), error)
        if notice.kind == lib.TM_NOTICE_NONE:
            return None
        return Notice(Deed(notice.kind), notice.start, notice.end)
