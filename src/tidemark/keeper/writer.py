"""The client that writes the last checkpoint: for how long it is his, and what he is told."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from tidemark.errors import KeeperError

SHARE = 0.9
"""So much of the time for which a workload may stand passes before we let it run ourselves."""


@dataclass
class Writers:
    """Who writes the last checkpoint, and who has lost one.

    :param limit: in seconds, for how long the workload may stand for a client; and after how long
        without a word from the client who writes another one may take a checkpoint
    """

    limit: float
    client: object | None = None
    _heard: float = 0.0  # when he said something last
    _held_since: float = math.inf  # since when the workload stands for him
    _lost: dict[object, str] = field(default_factory=dict)  # why a client's is not his any more

    def begin(self, client: object, held_since: float = math.inf) -> None:
        """Learn that a client begins to write."""
        self._lost.pop(client, None)
        self.client, self._heard, self._held_since = client, time.monotonic(), held_since

    def end(self) -> None:
        """Learn that he is done, or gone."""
        self.client, self._held_since = None, math.inf

    def lose(self, why: str) -> None:
        """Take the checkpoint from the client who writes it; he is told ``why`` when he comes."""
        self._lost[self.client] = why
        self.end()

    def forget(self, client: object) -> None:
        """Learn that a client is gone, or has no more interest in what he lost."""
        self._lost.pop(client, None)

    def heard(self, client: object) -> None:
        """Check that a checkpoint is a client's, who has said something.

        :raises KeeperError: when it is not
        """
        if self.client is not client:
            why = self._lost.get(client, "this client has none; take one first")
            raise KeeperError(f"the checkpoint cannot be saved: {why}")
        self._heard = time.monotonic()

    def left(self) -> float:
        """Return for how many seconds more the workload may stand for the client."""
        return max(0.0, self._held_since + SHARE * self.limit - time.monotonic())

    def is_silent(self) -> bool:
        """Return whether the client who writes has not said anything for too long."""
        return self.client is not None and time.monotonic() - self._heard > self.limit
