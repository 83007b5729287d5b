"""The keeper's socket: requests, answered one at a time."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

from tidemark.errors import KeeperError, TidemarkError
from tidemark.keeper import requests
from tidemark.keeper.encoding import pieces
from tidemark.keeper.loop import Ended
from tidemark.keeper.mishaps import describe
from tidemark.keeper.order import Order
from tidemark.keeper.peer import Peer
from tidemark.keeper.protocol import HEAD, SocketPath
from tidemark.keeper.quantum import describe_ending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tidemark.keeper.checkpoint import Answer, Checkpoints
    from tidemark.keeper.live import Live
    from tidemark.keeper.session import Session

log = logging.getLogger(__name__)

_IDLE_SECONDS = 3600.0
"""After so long without a request the keeper ends: a workload must not stand for ever."""

_BACKLOG = 1024
_MOST_CLIENTS = 4096
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Server:
    """Answers requests, one at a time.

    While a step takes its time, the loop runs on within it: other clients may then ask for the
    status, or tell the keeper to stop. Nobody is waited for: what a client is slow to say or to
    read is its own loss.
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
        self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._peers: dict[Peer, None] = {}  # who was heard last comes last
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_clients = min(_MOST_CLIENTS, max(limit // 4, 1))
        self._steps: dict[type[requests.Request], Callable[[], dict[str, Any]]] = {
            requests.Clear: session.clear,
            requests.Advance: session.advance,
            requests.Collect: session.collect,
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
        self._listener.listen(_BACKLOG)
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
            checkpoints = self._checkpoints
            if checkpoints is not None and self._live.gone():
                raise Ended(f"the workload {describe_ending(self._live.tree.root_ending)}")
            patience = _IDLE_SECONDS if checkpoints is None else checkpoints.let_go_after()
            heard = self._live.loop.wait(patience)
            if checkpoints is not None:
                checkpoints.let_go_overdue()
            elif not heard:
                raise Ended(f"nobody asked for anything for {_IDLE_SECONDS:.0f} s")

    # Clients

    def _on_connection(self) -> None:
        if len(self._peers) >= self._most_clients:
            self._make_room()
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            # Else it has been accepted within a step, or has gone.
            if error.errno in _NO_ROOM and not self._make_room():
                self._refuse()
            return
        peer = Peer(connection, self._live.loop, self._on_message, self._on_gone)
        self._peers[peer] = None
        peer.begin()

    def _make_room(self) -> bool:
        """Hang up on one client of the process that has most; return whether that was done.

        It is the one that has been silent for longest, and for whom nothing is done.
        """
        counts = Counter(peer.pid for peer in self._peers)
        greedy, most = counts.most_common(1)[0] if counts else (0, 0)
        for peer in self._peers:
            writes = self._checkpoints is not None and self._checkpoints.is_writer(peer)
            if peer.pid == greedy and most > 1 and not (peer.handling or writes):
                log.warning("hung up on process %d, which has %d connections", greedy, most)
                self._on_gone(peer)
                return True
        return False

    def _refuse(self) -> None:
        """Hang up on whoever connects: there is no descriptor for him, but one in reserve."""
        os.close(self._reserve)
        with contextlib.suppress(OSError):
            self._listener.accept()[0].close()
        self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        log.warning("hung up on a client: %s", os.strerror(errno.EMFILE))

    def _on_gone(self, peer: Peer) -> None:
        if self._peers.pop(peer, self) is self:
            return
        peer.close()
        if self._checkpoints is not None:
            self._checkpoints.leave(peer)

    def _on_message(self, peer: Peer, message: bytearray | None) -> None:
        """Answer a request. What is none, and what fails, is answered with an error."""
        self._peers.pop(peer, None)
        self._peers[peer] = None
        descriptors: list[int] = []
        try:
            answer, descriptors = self._handle(peer, requests.decode(message))
        except TidemarkError as error:
            answer = {"error": str(error), "exit_code": error.exit_code}
        except Exception as error:  # the workload depends on us: one request is not all
            foreseen = isinstance(error, OSError)
            log.warning("a request failed: %s", error, exc_info=None if foreseen else error)
            said = f"the keeper failed in a request: {describe(error)}; keeper.log tells more"
            answer = {"error": said, "exit_code": KeeperError.exit_code}
        try:
            self._send(peer, answer, descriptors)
        except Exception:  # he learns that nothing comes
            log.exception("an answer failed")
            self._on_gone(peer)

    def _send(self, peer: Peer, answer: dict[str, Any], descriptors: list[int]) -> None:
        body = []
        for piece in pieces(answer):
            body.append(piece.encode())
            self._live.serve()
        text = b"".join(body)
        if not peer.closed:
            peer.send([HEAD.pack(len(text), len(descriptors)), text], descriptors)

    # Requests

    def _handle(self, peer: Peer, request: requests.Request) -> Answer:
        match request:
            case requests.Status():
                return self._status(), []
            case requests.Stop():
                raise Ended("a client told it to stop")
            case requests.Writing():
                return self._checkpoints_of_ours().writing(peer), []
        step = f"step {requests.name_of(request)}"
        if isinstance(request, requests.EpochStep):
            step = f"{step} of epoch {request.epoch}"
        with self._working(step):
            match request:
                case requests.Seal():
                    return self._seal(), []
                case requests.Clear() | requests.Advance() | requests.Collect() | requests.Open():
                    return self._epoch_step(request)
            return self._checkpoint_step(peer, request)

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

    def _epoch_step(self, request: requests.EpochStep) -> Answer:
        self._check_epochs()
        step, epoch = requests.name_of(request), request.epoch
        self._order.check(step, epoch)
        descriptors: list[int] = []
        if isinstance(request, requests.Open):
            answer, descriptors = self._session.open()
        else:
            answer = self._steps[type(request)]()
        sequence = self._order.note(step, epoch)
        return {
            **answer,
            "workload": self._live.workload.name,
            "epoch": epoch,
            "life": self._session.life,
            "sequence": sequence,
        }, descriptors

    def _checkpoints_of_ours(self) -> Checkpoints:
        if self._checkpoints is None:
            raise KeeperError("this keeper takes its workload through epochs, not checkpoints")
        return self._checkpoints

    def _checkpoint_step(self, peer: Peer, request: requests.Request) -> Answer:
        checkpoints = self._checkpoints_of_ours()
        match request:
            case requests.TakeCheckpoint(full, most_bytes):
                return checkpoints.take(peer, full=full, most_bytes=most_bytes)
            case requests.Save(path, sha256):
                return checkpoints.save(peer, path, sha256), []
            case requests.Release(stop):
                return self._release(checkpoints, stop=stop), []
        return checkpoints.leave(peer), []

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
            "untracked": self._live.untracked(),
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
