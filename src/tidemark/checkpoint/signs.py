"""Signs of life: a client that writes a checkpoint tells the keeper so, while it writes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from tidemark.errors import TidemarkError

if TYPE_CHECKING:
    from tidemark.keeper.client import Client

_SECONDS = 5.0


class Signs:
    """Has a keeper know that its checkpoint is being written; a context manager.

    What a thread of its own says stops when this process is stopped, and goes on however long a
    page takes to be written. Where the keeper takes the checkpoint away, that is found out when it
    is to be saved.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _tell(self) -> None:
        while not self._done.wait(_SECONDS):
            try:
                self._client.ask("writing")
            except TidemarkError:
                return
