"""Deciding what is dumped of a region: what its tracker says, and content where it cannot say."""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidemark.errors import StrictError, VerifyError
from tidemark.image.manifest import Account
from tidemark.image.writer import RegionDump
from tidemark.keeper import suspicion
from tidemark.native.bitmap import Bitmap
from tidemark.steps.bitmaps import get_bitmap

if TYPE_CHECKING:
    from tidemark.image.chain import Chain
    from tidemark.native.pages import Source
    from tidemark.proto import tracking_pb2 as pb
    from tidemark.workload import Policy

log = logging.getLogger(__name__)

NO_PARENT_REGION = "the parent does not have this region"
NOT_TRACKED = "the region was not tracked from the beginning of the epoch"

_UNSTEADY = {
    suspicion.FOREIGN: "a process outside of the workload may write it",
    suspicion.UNINSPECTED: "a process that may not be inspected could have opened it",
    suspicion.PINNED: "the kernel may write it, by asynchronous input, for a process that maps it",
}


class MissedError(VerifyError):
    """Pages of a region changed, and no tracker called them dirty."""

    def __init__(self, region: int, pages: Bitmap) -> None:
        super().__init__(f"{len(pages)} pages of region {region} changed unseen")
        self.region = region
        self.pages = pages


@dataclass(frozen=True)
class Settled:
    """Sets of pages, all of one region: what content told of them.

    ``changed``: suspects that differ from the parent; ``unchanged``: stored to, and yet as in the
    parent; ``audited``: called clean, and compared all the same.
    """

    changed: Bitmap
    unchanged: Bitmap
    audited: Bitmap


def settle(
    region: pb.RegionBitmaps, source: Source, chain: Chain | None, policy: Policy, epoch: int
) -> RegionDump:
    """Return what is dumped of a region: suspects are compared with the parent.

    What the parent has and the workload did not change is left to the parent. A page that the
    tracker calls clean but that the parent lacks is not believed: it is dumped, unless it is
    zero.

    :raises MissedError: when the audit finds a page that changed unseen
    :raises StrictError: when ``policy`` is strict, and the region may not have stood still
    """
    used = get_bitmap(region.used)
    has_parent = chain is not None and region.number in chain.regions()
    if policy.strict:
        _check_steady(region, has_parent=has_parent)
    if chain is None or not has_parent:
        return _full(region, used, source, None if chain is None else NO_PARENT_REGION)
    if not region.known:
        return _full(region, used, source, NOT_TRACKED)
    before = chain.content(region.number)
    settled = _compare(region, source, chain, policy, epoch)
    suspect = get_bitmap(region.suspect)
    clean = used - get_bitmap(region.dirty) - settled.changed
    unproven = clean - before
    surprising = _surprising(region.number, source, unproven)
    return RegionDump(
        number=region.number,
        kind=region.kind,
        pages=region.pages,
        present=((used - clean) | surprising) - settled.unchanged,
        in_parent=(clean - unproven) | settled.unchanged,
        source=source,
        account=Account(
            full=False,
            full_reason=None,
            vouched=len(used - suspect),
            settled=len(suspect),
            suspects={s.reason: s.pages for s in region.suspects_by_reason},
            settled_changed=len(settled.changed) + len((suspect & before) - used),
            unchanged=len(settled.unchanged),
            audited=len(settled.audited),
            cleared=len(before - used),
        ),
    )


def _check_steady(region: pb.RegionBitmaps, *, has_parent: bool) -> None:
    """Fail where somebody may write a region who does not stand, or nobody tracked it.

    :raises StrictError: then
    """
    reasons = {s.reason for s in region.suspects_by_reason} & suspicion.UNSTEADY
    faults = [_UNSTEADY[reason] for reason in sorted(reasons)]
    if has_parent and not region.known:
        faults.append(NOT_TRACKED)
    if faults:
        raise StrictError(
            f"region {region.number} ({region.kind}) cannot be vouched for: "
            f"{' and '.join(faults)}; end what may do so, or take `strict` out of the config"
        )


def _compare(
    region: pb.RegionBitmaps, source: Source, chain: Chain, policy: Policy, epoch: int
) -> Settled:
    """Compare with the parent what is not known otherwise.

    :raises MissedError: when a page changed that was called clean
    """
    used, dirty, suspect = map(get_bitmap, (region.used, region.dirty, region.suspect))
    before = chain.content(region.number)

    def differing(pages: Bitmap) -> Bitmap:
        # Byte by byte, though hashes are known: pages can be made whose hashes are the same. The
        # parent's content is opened only where it is needed.
        return source.differing(chain.region(region.number).source, pages) if pages else pages

    changed = differing((used & suspect) - get_bitmap(region.same))
    unchanged = Bitmap(region.pages)
    if policy.drop_unchanged:
        unchanged = used & dirty & before
        unchanged -= differing(unchanged)
    audited = Bitmap(region.pages)
    if policy.audit:
        audited = _believed(region.pages, used | before) - dirty - suspect
        audited = audited.sample(_seed(region.number, epoch), policy.audit)
        missed = differing(audited)
        if missed:
            raise MissedError(region.number, missed)
    return Settled(changed, unchanged, audited)


def _believed(pages: int, either: Bitmap) -> Bitmap:
    """Return the pages below ``pages``: a region can be shorter than it was."""
    return either.within(0, pages)


def _seed(region: int, epoch: int) -> int:
    """Return what makes the audit pick other pages in each epoch, and the same in each run."""
    return zlib.crc32(f"{region} {epoch}".encode())


def _surprising(number: int, source: Source, unproven: Bitmap) -> Bitmap:
    surprising = unproven - source.zero(unproven)
    if surprising:
        log.warning(
            "region %d: %d pages are not zero, though the parent has none and no write was seen",
            number,
            len(surprising),
        )
    return surprising


def _full(region: pb.RegionBitmaps, used: Bitmap, source: Source, reason: str | None) -> RegionDump:
    return RegionDump(
        number=region.number,
        kind=region.kind,
        pages=region.pages,
        present=used,
        in_parent=Bitmap(region.pages),
        source=source,
        account=Account.of_full(reason),
    )
