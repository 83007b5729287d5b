"""Taking one checkpoint: what the keeper found and copied becomes an image on top of the last."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemark.checkpoint.copied import UncopiedError, check_copied, copied_by
from tidemark.checkpoint.ours import IMAGE, LAYOUT
from tidemark.checkpoint.putoff import stop_put_off
from tidemark.checkpoint.signs import Signs
from tidemark.errors import ImageError
from tidemark.files import storage_errors, write_json
from tidemark.image.chain import Chain
from tidemark.image.latest import Latest
from tidemark.image.manifest import dump_manifest, manifest_sha256
from tidemark.image.seen import Seen
from tidemark.native.library import PAGE_SIZE
from tidemark.steps.collect import scan_of
from tidemark.steps.dump import write_dump
from tidemark.steps.merge import merge_scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tidemark.checkpoint.series import Series
    from tidemark.keeper.client import Client
    from tidemark.proto import tracking_pb2 as pb
    from tidemark.unsaved import Unsaved

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """One checkpoint that was taken.

    ``bytes`` of page content were written; ``full``: nothing was left to a parent; ``held``: the
    workload stood until all was written; ``waited_seconds``: how long it waited for the keeper at
    most while it ran; ``unsaved``: what it shares besides, and is in no dump; ``untracked``: its
    processes that are under no tracker, and why; ``mishaps``: what else went wrong since the last.
    """

    number: int
    path: Path
    parent: Path | None
    pages: int
    bytes: int
    full: bool
    held: bool
    suspects: int
    frozen_seconds: float
    seconds: float
    waited_seconds: float = 0.0
    unsaved: tuple[Unsaved, ...] = ()
    untracked: tuple[Mapping[str, Any], ...] = ()
    mishaps: tuple[str, ...] = ()


class Taker:
    """Takes checkpoints for a client of a keeper, into a series.

    :param most_bytes: how much the keeper may copy; beyond, the workload stands until all is
        written
    """

    def __init__(self, client: Client, series: Series, most_bytes: int) -> None:
        self._client = client
        self._series = series
        self._most_bytes = most_bytes
        self._latest: Latest | None = None  # the last one, as far as this client has taken it
        self._seen = Seen()

    def take(self, begun: Callable[[int], object] = lambda _: None, *, full: bool = False) -> Taken:
        """Take a checkpoint on top of the last one, or in full where that cannot be used.

        :param begun: called before the image is written, with the most bytes that it can hold
        :param full: leave nothing to the last one
        :raises TidemarkError: when it failed; then the next one holds what this one would have
        """
        parent = None if full else self._parent()
        try:
            with self._open(parent) as chain:
                return self._take_on(chain, begun)
        except (ImageError, UncopiedError) as error:
            if parent is None:
                raise
            log.warning("a checkpoint in full, since %s", error)
            self._client.ask("leave")
        return self._take_on(None, begun)

    def _parent(self) -> dict[str, str] | None:
        """Return what the keeper knows of the last one that was saved, if it is in this series."""
        known: dict[str, str] | None = self._client.ask("status")[0]["parent"]
        return known if known and self._series.holds(Path(known["path"])) else None

    @contextmanager
    def _open(self, parent: dict[str, str] | None) -> Iterator[Chain | None]:
        """Open the parent.

        :raises ImageError: when it is damaged, or not what was saved
        """
        if parent is None:
            yield None
            return
        with self._latest_as(parent) or Chain(Path(parent["path"])) as chain:
            if chain is not self._latest:
                if not chain.images[0].is_known_as(parent["sha256"]):
                    raise ImageError(f"{chain.path} is not what was written there")
                self._seen.check(chain.images)
            yield chain

    def _latest_as(self, parent: dict[str, str]) -> Latest | None:
        """Return the last one if it is what the keeper means, and nobody touched it since."""
        latest = self._latest
        if latest and latest.sha256 == parent["sha256"] and latest.stands():
            return latest
        return None

    def _take_on(self, chain: Chain | None, begun: Callable[[int], object]) -> Taken:
        """Take a checkpoint on top of ``chain``; the workload may stand until it is written."""
        since = time.monotonic()
        with stop_put_off() as allow_stop:
            answer, descriptors = self._client.ask(
                "checkpoint", full=chain is None, most_bytes=self._most_bytes
            )
            if not answer["held"]:
                allow_stop()
            return self._write(chain, begun, answer, descriptors, since)

    def _write(
        self,
        chain: Chain | None,
        begun: Callable[[int], object],
        answer: dict[str, Any],
        descriptors: list[int],
        since: float,
    ) -> Taken:
        series = self._series
        number = series.next_number()
        image = series.image(number)
        try:
            bitmaps = merge_scan(scan_of(answer["scan"] | {"epoch": number}))
            copied = copied_by(bitmaps, answer, descriptors)
            check_copied(bitmaps, copied, chain)
            begun(_most_written(bitmaps, full=chain is None) * PAGE_SIZE)
            staged = series.stage()
            with storage_errors(image):
                write_json(staged / LAYOUT, answer["layout"], series.mode, sync_name=False)
            with Signs(self._client):
                written = write_dump(
                    bitmaps,
                    answer,
                    copied.sources,
                    chain,
                    staged / IMAGE,
                    spares=series.spares,
                    mode=series.mode,
                    becomes=image,
                    was_read=lambda: self._client.ask("writing"),
                )
            series.publish(number)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        sha256 = manifest_sha256(dump_manifest(written.manifest))
        stood = answer | self._client.ask("save", path=str(image), sha256=sha256)[0]
        self._latest = Latest(image, sha256, written.content, chain)
        self._seen.believe(self._latest.identities())
        present = sum(region.present for region in written.manifest.regions)
        return Taken(
            number=number,
            path=image.parent,
            parent=chain.path.parent if chain else None,
            pages=present,
            bytes=present * PAGE_SIZE,
            full=all(region.account.full for region in written.manifest.regions),
            held=answer["held"],
            suspects=sum(region.suspect_count for region in bitmaps.regions),
            frozen_seconds=stood["frozen_seconds"],
            seconds=time.monotonic() - since,
            waited_seconds=stood["waited_seconds"],
            unsaved=written.manifest.unsaved,
            untracked=tuple(answer["untracked"]),
            mishaps=tuple(answer["mishaps"]),
        )


def _most_written(bitmaps: pb.BitmapSet, *, full: bool) -> int:
    return sum(r.used_count if full else r.dirty_count + r.suspect_count for r in bitmaps.regions)
