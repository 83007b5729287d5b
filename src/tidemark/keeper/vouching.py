"""What the kernel vouches for: regions that nobody touched but by stores to existing mappings.

As root, and on a kernel that lets us, it counts what is done to each region by whichever process,
through whichever descriptor (:mod:`tidemark.native.testimony`). Then a descriptor that is held
makes nothing suspect. Elsewhere, nothing is vouched for, and the :mod:`witness` stands alone.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tidemark.native.library import NativeError
from tidemark.native.testimony import Testimony, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tidemark.keeper.region import Region

SWITCH = "TIDEMARK_TESTIMONY"
"""The environment variable that, set to ``off``, has the kernel count nothing.

Set to ``wait``, the keeper waits at its start until the kernel counts.
"""


class Voucher:
    """Asks the kernel what was done to regions. The regions' descriptors stay theirs.

    It takes the kernel a while until it counts: until then, nothing is vouched for. ``state`` says
    in words whether it does. What goes wrong is told once, in the keeper's log.
    """

    def __init__(self) -> None:
        self._testimony: Testimony | None = None
        self._numbers: dict[int, int] = {}  # region number to the kernel's object
        self._refused: set[int] = set()  # region numbers
        self._verdicts: dict[int, Verdict] = {}  # by region number
        self.state = "the kernel does not count yet"
        if os.environ.get(SWITCH) == "off":
            self.state = f"switched off by {SWITCH}"
            return
        try:
            self._testimony = Testimony()
            self._testimony.ready(wait=os.environ.get(SWITCH) == "wait")
        except NativeError as error:
            self._give_up(error)

    def close(self) -> None:
        """Have the kernel count no more."""
        if self._testimony is not None:
            self._testimony.close()
            self._testimony = None

    def _give_up(self, error: NativeError) -> None:
        self.close()
        self._doubt(error)

    def _doubt(self, error: NativeError) -> None:
        """Vouch for nothing this time."""
        self._verdicts = {}
        state = f"no: {error}"
        if state != self.state:
            sys.stderr.write(f"the kernel does not testify to what is done to regions: {error}\n")
        self.state = state

    def begin(self, regions: Iterable[Region]) -> None:
        """Have the kernel count what is done to ``regions`` from now on.

        Those that it counts for already have been looked at by :meth:`examine`, and nothing that
        came since is lost.
        """
        if self._testimony is None:
            return
        try:
            counts = self._testimony.ready()
        except NativeError as error:
            self._give_up(error)
            return
        if counts:
            self._look_at(self._change(self._testimony, list(regions)))

    def _look_at(self, objects: list[int]) -> list[Verdict]:
        """Return what the kernel says of objects; nothing is known of any where it fails."""
        if self._testimony is None or not objects:
            return [Verdict.UNKNOWN] * len(objects)
        try:
            found = self._testimony.look(objects)
        except NativeError as error:
            self._doubt(error)
            return [Verdict.UNKNOWN] * len(objects)
        self.state = "yes"
        return found

    def _change(self, testimony: Testimony, regions: list[Region]) -> list[int]:
        """Watch ``regions`` and no others; return the objects that are new."""
        present = {region.number for region in regions}
        for number in self._numbers.keys() - present:
            testimony.remove(self._numbers.pop(number))
        self._refused &= present
        fresh = [r for r in regions if r.number not in self._numbers.keys() | self._refused]
        return [each for region in fresh if (each := self._add(testimony, region)) is not None]

    def _add(self, testimony: Testimony, region: Region) -> int | None:
        if region.descriptor is None:
            return None
        try:
            number = testimony.add(region.descriptor)
        except NativeError:  # more objects than there is room for: this one is not vouched for
            self._refused.add(region.number)
            return None
        self._numbers[region.number] = number
        return number

    def examine(self) -> None:
        """Ask what was done since the last time; the next epoch begins with that."""
        found = self._look_at(list(self._numbers.values()))
        self._verdicts = dict(zip(self._numbers, found, strict=True))

    def counts_for(self, region: Region) -> bool:
        """Return whether the kernel has counted what is done to a region since the epoch began."""
        return self._testimony is not None and region.number in self._numbers

    def untouched(self, region: Region) -> bool | None:
        """Return whether nobody touched a region in the epoch that was examined last.

        None where that cannot be told.
        """
        verdict = self._verdicts.get(region.number, Verdict.UNKNOWN)
        return None if verdict is Verdict.UNKNOWN else verdict is Verdict.UNTOUCHED
