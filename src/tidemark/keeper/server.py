"""The keeper's socket: requests, answered one at a time."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import TYPE_CHECKING, Any

from tidemark.errors import KeeperError, TidemarkError
from tidemark.keeper.loop import Ended
from tidemark.keeper.order import Order
from tidemark.keeper.protocol import SocketPath, receive, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tidemark.keeper.checkpoint import Answer, Checkpoints
    from tidemark.keeper.live import Live
    from tidemark.keeper.session import Session


_IDLE_SECONDS = 3600.0
"""After so long without a request the keeper ends: a workload must not stand for ever."""

_PEER_SECONDS = 30.0
"""How long a client may take over a message that it has begun."""


class Server:
    """Answers requests, one at a time.

    While a step takes its time, the loop runs on within it: other clients may then ask for the
    status, or tell the keeper to stop.
    """

    def __init__(
        self, live: Live, session: Session, path: Path, checkpoints: Checkpoints | None
    ) -> None:
        self._live = live
        self._session = session
        self._path = path
        self._order = Order()
        self._checkpoints = checkpoints
        self._sealed = False
        self._busy = ""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._steps: dict[str, Callable[[], dict[str, Any]]] = {
            "clear": session.clear,
            "advance": session.advance,
            "collect": session.collect,
        }

    def listen(self) -> None:
        """Open the socket, for its owner alone."""
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            with SocketPath(self._path) as address:
                self._listener.bind(address)
        finally:
            os.umask(before)
        self._listener.listen()
        self._listener.setblocking(False)
        self._live.loop.add(self._listener.fileno(), self._on_connection)

    def close(self) -> None:
        """Remove the socket."""
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def serve(self) -> None:
        """Answer until the workload is sealed, released or given up.

        :raises Ended: when the keeper is to end before
        """
        while not self._sealed:
            if self._checkpoints is not None and self._live.gone():
                raise Ended
            heard = self._live.loop.wait(_IDLE_SECONDS)
            if self._checkpoints is None and not heard:
                raise Ended

    def _on_connection(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # it has been accepted within a step, or has gone
        client.settimeout(_PEER_SECONDS)
        self._live.loop.add(client.fileno(), lambda: self._on_request(client))

    def _on_request(self, client: socket.socket) -> None:
        """Answer a request. Who died, or talks nonsense, is heard no more."""
        if client.fileno() < 0 or not select.select([client], [], [], 0)[0]:
            return  # it has been answered within a step
        try:
            received = receive(client)
            if received is None:
                self._hang_up(client)
                return
            request, descriptors = received
            for descriptor in descriptors:
                os.close(descriptor)
            self._answer(client, request)
        except (OSError, KeeperError):
            self._hang_up(client)

    def _hang_up(self, client: socket.socket) -> None:
        if client.fileno() >= 0:
            self._live.loop.remove(client.fileno())
            client.close()
            if self._checkpoints is not None:
                self._checkpoints.leave(client)

    def _answer(self, client: socket.socket, request: dict[str, Any]) -> None:
        try:
            answer, descriptors = self._handle(client, request)
        except TidemarkError as error:
            answer, descriptors = {"error": str(error), "exit_code": error.exit_code}, []
        send(client, answer, descriptors)

    def _handle(self, client: socket.socket, request: dict[str, Any]) -> Answer:
        step, epoch = request.get("step"), request.get("epoch")
        match step:
            case "status":
                return self._status(), []
            case "stop":
                raise Ended
            case "checkpoint" | "save" | "leave" | "release":
                with self._working(f"step {step}"):
                    return self._checkpoint_step(client, request)
            case "seal":
                with self._working("step seal"):
                    return self._seal(), []
            case "clear" | "advance" | "collect" | "open" if isinstance(epoch, int):
                with self._working(f"step {step} of epoch {epoch}"):
                    return self._epoch_step(step, epoch)
        raise KeeperError(f"there is no step {step!r}; the client is of another version")

    @contextlib.contextmanager
    def _working(self, what: str) -> Iterator[None]:
        """Do one thing at a time.

        :raises KeeperError: when another is being done
        """
        if self._busy:
            raise KeeperError(f"the keeper is busy with {self._busy}; ask again when that is done")
        self._busy = what
        try:
            yield
        finally:
            self._busy = ""

    def _epoch_step(self, step: str, epoch: int) -> Answer:
        self._check_epochs()
        self._order.check(step, epoch)
        descriptors: list[int] = []
        if step == "open":
            answer, descriptors = self._session.open()
        else:
            answer = self._steps[step]()
        sequence = self._order.note(step, epoch)
        return {
            **answer,
            "workload": self._live.workload.name,
            "epoch": epoch,
            "life": self._session.life,
            "sequence": sequence,
        }, descriptors

    def _checkpoint_step(self, client: socket.socket, request: dict[str, Any]) -> Answer:
        checkpoints = self._checkpoints
        if checkpoints is None:
            raise KeeperError("this keeper takes its workload through epochs, not checkpoints")
        match request["step"]:
            case "checkpoint":
                most = request["most_bytes"]
                return checkpoints.take(client, full=request["full"], most_bytes=most)
            case "save":
                return checkpoints.save(client, request["path"], request["sha256"]), []
            case "leave":
                return checkpoints.leave(client), []
        return self._release(checkpoints, stop=request["stop"]), []

    def _release(self, checkpoints: Checkpoints, *, stop: bool) -> dict[str, Any]:
        checkpoints.leave_all()
        answer = self._session.release(stop=stop)
        self._sealed = True
        return answer

    def _status(self) -> dict[str, Any]:
        return {
            "workload": self._live.workload.name,
            "life": self._session.life,
            "epoch": self._order.epoch,
            "processes": [process.pid for process in self._live.tree.in_order()],
            "tracker": self._live.tracker,
            "follows": self._live.follows,
            "testimony": self._live.tracking.vouching,
            **(self._checkpoints.status() if self._checkpoints else {}),
        }

    def _check_epochs(self) -> None:
        if self._checkpoints is not None:
            raise KeeperError("this keeper takes checkpoints, and does not know epochs")

    def _seal(self) -> dict[str, Any]:
        self._check_epochs()
        self._sealed = True
        return {
            **self._session.seal(),
            "workload": self._live.workload.name,
            "life": self._session.life,
            "epochs": self._order.epoch + 1,
            "tracker": self._live.tracker,
            "tracker_reason": self._live.tracker_reason,
            "frozen_seconds": self._session.frozen_seconds,
        }
