"""Checkpoints of a workload that runs: it stands only while one is taken."""

from __future__ import annotations

import gc
import math
import time
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from tidemark.errors import KeeperError, WorkloadError
from tidemark.keeper import suspicion
from tidemark.keeper.copies import KEPT_PAGES, Copies
from tidemark.keeper.early import Early
from tidemark.keeper.inplace import Compared, InPlace
from tidemark.keeper.quantum import describe_ending
from tidemark.keeper.snapshot import Beside, Snapshot, flat
from tidemark.keeper.writer import SHARE, Writers
from tidemark.native.bitmap import Bitmap
from tidemark.native.library import PAGE_SIZE, ShortReadError
from tidemark.native.pages import Layer, Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tidemark.keeper.copies import Readable
    from tidemark.keeper.live import Live
    from tidemark.keeper.objects import Identity

_SPARE_PAGES = 256
"""What may be written after the last look at what was."""

Answer = tuple[dict[str, Any], list[int]]


class _Quick:
    """Copies from a mapping; in another way where the object is shorter by now."""

    def __init__(self, window: Readable, slow: Readable) -> None:
        self._window, self._slow = window, slow

    def copy(self, which: Bitmap, out: memoryview) -> None:
        """Copy the pages ``which`` to ``out``, one after the other."""
        try:
            self._window.copy(which, out)
        except ShortReadError:
            self._slow.copy(which, out)


def _sources(layers: Mapping[int, list[Layer]], descriptor: int) -> dict[int, Source]:
    return {number: Source.layered(each, descriptor) for number, each in layers.items()}


class Checkpoints:
    """Takes checkpoints of a workload, each on top of the last one that was saved.

    What a checkpoint finds is handed to a client, who writes it and says so. Should he fail, all
    that he was told is suspect in the next one: nothing is lost with him.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._copies = Copies()
        self._early = Early(live, self._copies)
        self._in_place = InPlace(self._copies, self._early, live.aside)
        self._writers = Writers(live.hold)
        self._held: Snapshot | None = None  # what he reads from the workload, which stands
        self._unsaved: dict[Identity, Bitmap] = {}
        self._stood_since = 0.0
        self._taken = 0
        self._late = 0  # pages that were copied within the last freeze
        self._parent: dict[str, str] | None = None

    def begin(self) -> None:
        """Arm the trackers and let the workload run. It stands until then."""
        self._live.tracking.clear(self._live.tree)
        self._thaw()
        self._live.pace.take()  # what was waited for until now is told with the start

    def status(self) -> dict[str, Any]:
        """Return how many were taken, and which is the last that was saved."""
        return {"checkpoints": self._taken, "parent": self._parent}

    # Taking one

    def take(self, client: object, *, full: bool, most_bytes: int) -> Answer:
        """Take a checkpoint; return what it holds, and descriptors of its content.

        Pages that may have changed are copied, all pages where it is to be ``full``, and the
        workload runs on. Where the copy would be of more than ``most_bytes``, the workload stands
        until :meth:`save` or :meth:`leave`, and the content is read from the regions.

        :raises WorkloadError: when the workload has ended
        :raises KeeperError: when another one is being written
        """
        live = self._live
        if live.gone():
            raise WorkloadError(
                f"workload {live.workload.name} {describe_ending(live.tree.root_ending)}; "
                "there is nothing to take a checkpoint of any more"
            )
        self._make_way()
        full = full or self._parent is None
        try:
            self._prepare(full=full, most=most_bytes // PAGE_SIZE)
            live.tracking.look_outside(live.tree)
            gc.disable()  # the workload must not stand for that
            live.tree.freeze()
            self._stood_since = live.tree.frozen_at
            answer = self._take(full=full, most=most_bytes // PAGE_SIZE)
        except BaseException:
            self._lose()
            raise
        finally:
            gc.enable()
        self._writers.begin(client, self._stood_since if self._held else math.inf)
        self._taken += 1
        return answer

    def _make_way(self) -> None:
        """Take the last checkpoint from a client who has not been heard of for long.

        What he was given to read stays as it is.

        :raises KeeperError: when it is still being written
        """
        if self._writers.is_silent():
            self._live.mishaps.note("a client that wrote a checkpoint has fallen silent")
            self._copies.renew()
            self._lose_to("another one was taken, as nothing was heard of it for long")
        if self._writers.client is not None:
            raise KeeperError("another checkpoint is being written; ask again when that is done")

    def _prepare(self, *, full: bool, most: int) -> None:
        """Copy what can be while the workload runs, and have at hand what the rest will need."""
        self._copies.begin()
        self._early.begin()
        tracking = self._live.tracking
        with suppress(OSError):
            self._early.copy(full=full, most=most)
            rest = self._touch_written() * 5 // 4
            if full and not self._early.layers:
                rest = sum(len(region.data) for region in tracking.in_order())
            rest = max(rest, min(self._late, KEPT_PAGES))
            if self._copies.taken + rest <= most:
                self._live.aside(partial(self._copies.prepare, rest + _SPARE_PAGES))
        self._in_place.prepare(None if full else self._parent, tracking.doubtful())

    def _touch_written(self) -> int:
        """Have what was written so far in our page table; return how many pages that is."""
        live, found = self._live, 0
        for identity, written in live.tracking.peek(live.tree).items():
            region = live.tracking.regions.get(identity)
            window = region.window() if region is not None else None
            if region is not None and window is not None:
                held = written & region.data  # what it lacks would be made by a touch
                found += len(held)
                with suppress(ShortReadError):
                    live.aside(partial(window.touch, held))
        return found

    def _take(self, *, full: bool, most: int) -> Answer:
        live = self._live
        for region in live.tracking.in_order():
            for first, count in self._unsaved.get(region.identity, Bitmap(0)).runs():
                region.suspect(suspicion.UNSAVED, first, count)
        snapshot = Snapshot(live.tree, live.tracking, present=False)
        try:
            self._note_unsaved(snapshot)
            compared = self._compare(snapshot, full=full)
            wanted = {
                found.region.number: found.data
                if full or not found.known
                else found.moved - compared[found.region.number].same
                for found in snapshot.found
            }
            if sum(map(len, wanted.values())) > most:
                return self._hold(snapshot, compared)
            return self._copy(snapshot, wanted, compared, most=most)
        except BaseException:
            snapshot.close()
            raise
        finally:
            self._in_place.end()

    def _compare(self, snapshot: Snapshot, *, full: bool) -> dict[int, Compared]:
        sources, compared = snapshot.sources(), {}
        for found in snapshot.found:
            self._check_time()
            number = found.region.number
            compared[number] = self._in_place.compare(found, sources[number], full=full)
        return compared

    def _note_unsaved(self, snapshot: Snapshot) -> None:
        """Remember what is told now, and what was told before of regions that still are there."""
        before = self._unsaved
        self._unsaved = {
            found.region.identity: found.moved | before.get(found.region.identity, Bitmap(0))
            for found in snapshot.found
        }

    def _lose(self) -> None:
        """Let the workload run on after a failure.

        What the scan has told is forgotten by the kernel, and not known to anybody.
        """
        self._held = None
        for region in self._live.tracking.in_order():
            region.suspect_all(suspicion.UNSAVED)
        if self._live.tree.frozen:
            self._thaw()

    def _check_time(self) -> None:
        """Check that the workload does not stand for longer than it may.

        :raises KeeperError: when it does; the workload is let run then
        """
        if time.monotonic() - self._stood_since > SHARE * self._live.hold:
            raise KeeperError(
                f"the workload may stand for {self._live.hold:g} s at most, which is too short to "
                "find out what has changed in it; raise --hold of `tidemark keep`"
            )

    def _hold(self, snapshot: Snapshot, compared: dict[int, Compared]) -> Answer:
        self._live.tracking.note_calls(self._live.tree)
        scan = snapshot.examine(snapshot.sources(), compared)
        regions, descriptors = snapshot.readings()
        self._held = snapshot
        answer = self._answer(scan, snapshot.layout(), regions, held=True)
        return answer | {"unsaved": snapshot.unsaved()}, descriptors

    def _copy(
        self,
        snapshot: Snapshot,
        wanted: dict[int, Bitmap],
        compared: dict[int, Compared],
        *,
        most: int,
    ) -> Answer:
        late = {number: pages - compared[number].copied for number, pages in wanted.items()}
        if self._copies.taken + sum(map(len, late.values())) > most:
            late = wanted  # there is no room for pages that were copied twice
            self._copies.begin()
            self._early.begin()
        layers = self._copy_late(snapshot, late)
        self._live.tracking.clear(self._live.tree)
        layout = snapshot.layout()
        stood = self._thaw()
        snapshot.close()
        descriptor = self._copies.descriptor
        scan = snapshot.examine(
            self._live.aside(partial(_sources, layers, descriptor)),
            compared,
            Beside(self._live.aside, self._live.serve),
        )
        regions = [
            {
                "number": number,
                "layers": [[layer.offset, flat(layer.pages, self._live.serve)] for layer in each],
            }
            for number, each in layers.items()
        ]
        answer = self._answer(scan, layout, regions, held=False) | {"frozen_seconds": stood}
        return answer | {"unsaved": snapshot.unsaved()}, [descriptor]

    def _copy_late(self, snapshot: Snapshot, late: dict[int, Bitmap]) -> dict[int, list[Layer]]:
        """Copy pages while the workload stands; return, by region, where all copies are."""
        self._late = pages = sum(map(len, late.values()))
        self._make_room(pages)
        sources: dict[int, Readable] = {**snapshot.sources()}
        if pages <= sum(len(found.data) for found in snapshot.found) // 2:
            # Single pages are copied quicker from a mapping, long runs by read(2).
            sources |= {
                found.region.number: _Quick(window, sources[found.region.number])
                for found in snapshot.found
                if (window := found.region.window())
            }
        layers = {}
        for number, source in sources.items():
            self._check_time()
            offset = self._copies.take(source, late[number])
            layers[number] = [*self._early.layers.get(number, ()), Layer(late[number], offset)]
        return layers

    def _make_room(self, pages: int) -> None:
        try:
            self._copies.make_room(pages)
        except OSError as error:
            raise KeeperError(
                f"the keeper has no memory to copy {pages} pages to ({error.strerror}); give it "
                "some, or set a lower --max-memory"
            ) from error

    def _answer(
        self,
        scan: dict[str, Any],
        layout: dict[str, Any],
        regions: list[dict[str, Any]],
        *,
        held: bool,
    ) -> dict[str, Any]:
        return {
            "scan": scan | {"workload": self._live.workload.name},
            "layout": layout,
            "regions": regions,
            "policy": asdict(self._live.workload.policy),
            "parent": self._parent,
            "held": held,
            "untracked": self._live.untracked(),
            "mishaps": self._live.mishaps.take(),
        }

    # What becomes of it

    def is_writer(self, client: object) -> bool:
        """Return whether a client writes the last checkpoint."""
        return self._writers.client is client

    def writing(self, client: object) -> dict[str, Any]:
        """Learn that a client still writes the last checkpoint.

        :raises KeeperError: when it is not his any more
        """
        self._writers.heard(client)
        return {}

    def save(self, client: object, path: str, sha256: str) -> dict[str, Any]:
        """Learn that the last checkpoint is the image at ``path`` now: the parent of the next.

        ``waited_seconds`` is how long the workload waited for the keeper at most while it ran,
        since the last time that this was told.

        :raises KeeperError: when it is not this client's
        """
        self._writers.heard(client)
        self._unsaved = {}
        self._parent = {"path": path, "sha256": sha256}
        return {**self.leave(client), "waited_seconds": self._live.pace.take()}

    def leave(self, client: object) -> dict[str, Any]:
        """Learn that a client is done, or gone; return for how long the workload stood for him.

        What he has not saved stays suspect.
        """
        self._writers.forget(client)
        if self._writers.client is not client:
            return {}
        self._writers.end()
        return self._let_go()

    def let_go_after(self) -> float | None:
        """Return after how many seconds :meth:`let_go_overdue` is due; None for never."""
        return None if self._held is None else self._writers.left()

    def let_go_overdue(self) -> None:
        """Let the workload run if it has stood for a client for as long as it may."""
        if self._held is None or self._writers.left() > 0:
            return
        limit = f"{self._live.hold:g} s"
        self._live.mishaps.note(f"a checkpoint was not written while the workload stood ({limit})")
        self._lose_to(
            f"the workload may stand for {limit} at most, and runs again; raise --max-memory, so "
            "that it need not stand, or --hold of `tidemark keep`"
        )

    def _lose_to(self, why: str) -> None:
        self._writers.lose(why)
        self._let_go()

    def _let_go(self) -> dict[str, Any]:
        if self._held is None:
            self._live.aside(self._copies.end)
            return {}
        held, self._held = self._held, None
        try:
            self._live.tracking.clear(self._live.tree)
        except Exception as error:  # it is to run all the same
            self._live.observer.missed("the next checkpoint was not prepared", error)
        stood = self._thaw()
        held.close()
        self._live.aside(self._copies.end)
        return {"frozen_seconds": stood}

    def _thaw(self) -> float:
        """Let the workload run; return for how many seconds it stood."""
        live = self._live
        with live.mishaps.noted("the workload was let run"):
            live.tracking.thawing()
        live.tree.thaw()
        stood = time.monotonic() - self._stood_since
        live.serve()
        try:
            live.tracking.thawed(live.tree)
        except Exception as error:
            live.observer.missed("it was not found out who writes from outside", error)
        return stood

    def leave_all(self) -> None:
        """Let the workload run, whoever writes a checkpoint of it."""
        self.leave(self._writers.client)
