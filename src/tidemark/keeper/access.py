"""The access time of an object, by which it shows that somebody has mapped or read it.

It is set a nanosecond back, which also sets the time of the last change of its inode to now. So
whoever maps or reads the object from then on gives it another access time, also where the file
system sets that only if it is older than those of changes (relatime); and no program takes notice
of a nanosecond, should we die. It is set back at the end.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from tidemark.native.process import set_access_time


@dataclass
class AccessMark:
    """The mark on one object; times are nanoseconds of Unix.

    ``original`` is what the access time would be without us, and ``set_to`` what it was set to.
    """

    original: int | None = None
    set_to: int | None = None

    def put(self, descriptor: int) -> None:
        """Mark an object; one that nobody has touched since it was marked is left alone.

        :raises ForbiddenError: when it is another user's
        """
        now = os.fstat(descriptor).st_atime_ns
        if now != self.set_to:
            self.original = now
            set_access_time(descriptor, now - 1)
            self.set_to = os.fstat(descriptor).st_atime_ns

    def put_again(self, descriptor: int) -> None:
        """Mark an object that we have touched ourselves.

        :raises ForbiddenError: when it is another user's
        """
        if self.set_to is not None:
            set_access_time(descriptor, self.set_to)

    def holds(self, descriptor: int) -> bool:
        """Return whether nobody has touched an object since it was marked."""
        return os.fstat(descriptor).st_atime_ns == self.set_to != self.original

    def take_away(self, descriptor: int) -> None:
        """Leave an object with the access time that it would have without us.

        :raises ForbiddenError: when it is another user's
        """
        if self.original is not None and self.holds(descriptor):
            set_access_time(descriptor, self.original)
        self.original = self.set_to = None
