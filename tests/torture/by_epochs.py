"""A torture by epochs, as a run has them: operations are done within, and nothing is at their ends.

After each epoch all content is compared, byte by byte, with that of the epoch before: what changed
must be in the dump, and what the chain of dumps gives must be what the memory holds.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

import oracle
from census import processes_of
from group import Group
from mapped import Mapped, unmatched
from staging import Setting, new_stage, parts
from tally import LostError, Tally, counting

from results import pages
from tidemark.image.chain import Chain, open_images
from tidemark.image.level import walk_levels
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from operations import Operation
    from stage import Stage

    from results import Epoch
    from tidemark.image.directory import Image


def put_through(setting: Setting, sequence: Sequence[Operation]) -> Tally:
    """Have a new group go through a sequence of operations and epochs.

    :raises LostError: at the first page that is lost
    """
    tally = Tally()
    with counting(tally), new_stage(setting) as stage, Judge(stage, tally) as judge:
        with judge.epoch():
            pass
        for part in parts(sequence):
            with judge.epoch():
                judge.group.tend()
                for operation in part:
                    tally.operations += 1
                    judge.group.do(operation)
        if not stage.epochs[-1].number % 3:
            _check_restored(stage)
        tally.lacking += judge.group.lacking
    return tally


class Judge:
    """Takes a new group through epochs, and looks at each when it is over."""

    def __init__(self, stage: Stage, tally: Tally) -> None:
        self.group = Group(stage)
        self._stage = stage
        self._tally = tally
        self._mapped = Mapped(only_shown=bool(stage.user))
        self._cut = False  # or written, while the workload stood in this epoch
        self._after_cut = False  # the epoch before was

    def __enter__(self) -> Self:
        self._stage.before_dump = self._before_dump
        return self

    def __exit__(self, *_: object) -> None:
        self._mapped.__exit__()

    def _before_dump(self) -> None:
        self._after_cut = self._cut
        extras = self.group.extras
        # What is read asynchronously comes when it comes, though all stand.
        self._cut = extras.cut() or extras.asynchronous

    @contextlib.contextmanager
    def epoch(self) -> Iterator[None]:
        """Take the group through an epoch; what is done within happens in it.

        What is cut while the dump is made may be in it as it was before, or after: that epoch is
        not looked at, and the next has to have it right.

        :raises LostError: when a page is lost
        """
        with self._stage.epoch(judged=False) as epoch:
            yield
        self._tally.epochs += 1
        if epoch.left_out:
            raise LostError(f"epoch {epoch.number}: not in the dump at all: {epoch.left_out}")
        if self._cut:
            return
        self._count(epoch)
        saved = _check_content(self._stage, epoch)
        self._check_mapped(epoch, saved)

    def _count(self, epoch: Epoch) -> None:
        before = self._stage.epochs[-2] if len(self._stage.epochs) > 1 else None
        images = open_images(self._stage.path(epoch.number, "image"))
        for number, content in epoch.content.items():
            changed = oracle.changed(_content(before, number), content)
            carried = _carried(images, number)
            self._tally.pages += len(content)
            # What the dump before has of what was cut meanwhile is not known.
            self._tally.changed += 0 if self._after_cut else len(changed)
            self._tally.carried += 0 if self._after_cut else len(carried)
            if lost := changed - carried:
                raise LostError(_describe(epoch, number, lost))

    def _check_mapped(self, epoch: Epoch, saved: list[oracle.Content]) -> None:
        """Check that nothing is missing of what the processes map.

        :raises LostError: when something is
        """
        with contextlib.suppress(PermissionError):
            live = self._mapped.objects(processes_of(self._stage.keeper["pid"]))
            for wrong, whole in unmatched(live, saved):
                what = "an object" if whole else "a part of an object"
                raise LostError(
                    f"epoch {epoch.number}: {what} is not in the dump, or not in memory: pages "
                    f"{sorted(wrong)[:9]} of it"
                )


def _content(epoch: Epoch | None, number: int) -> oracle.Content:
    return epoch.content.get(number, {}) if epoch else {}


def _carried(images: list[Image], number: int) -> set[int]:
    """Return the pages of a region that a dump has anew, as content or as zero."""
    *_, before, now = [None, *(level for _, level in walk_levels(images, number))]
    if now is None:
        return set()
    return pages(now.present | (before.content - now.content if before else Bitmap(0)))


def _check_content(stage: Stage, epoch: Epoch) -> list[oracle.Content]:
    """Check that the chain of dumps gives what the memory holds, byte by byte; return that."""
    saved = []
    with Chain(stage.path(epoch.number, "image")) as chain:
        for number, content in epoch.content.items():
            found = chain_content(chain, number)
            if wrong := oracle.changed(content, found):
                raise LostError(_describe(epoch, number, wrong))
            saved.append(found)
    return saved


def chain_content(chain: Chain, number: int) -> oracle.Content:
    """Return the pages of a region that are not all zero, as a chain has them."""
    region, zero = chain.region(number), bytes(PAGE_SIZE)
    read = ((page, bytes(region.source.read(page))) for page in pages(region.present))
    return {page: data for page, data in read if data != zero}


def _describe(epoch: Epoch, number: int, pages: set[int]) -> str:
    region = epoch.regions[number]
    reasons = {reason: sorted(pages & found) for reason, found in region.reasons.items()}
    return (
        f"epoch {epoch.number}: pages {sorted(pages)[:9]} of region {number} ({region.kind}, "
        f"{region.pages} pages) changed and are not in the dump; suspects among them: {reasons}"
    )


def _check_restored(stage: Stage) -> None:
    for found in stage.verify_all():
        if found["different"] or found["missed"]:
            raise LostError(f"epoch {found['epoch']}: {found}")
