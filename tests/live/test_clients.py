"""Clients that are slow, silent, many, or greedy: none delays another, or the workload."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kept import PLENTY, Kept
from system import PATIENCE, wait_until

from tidemark.keeper.client import Client
from tidemark.keeper.protocol import SocketPath, receive

if TYPE_CHECKING:
    from collections.abc import Iterator


MANY = 1100
"""More than select(2) can watch."""


@pytest.fixture
def peers(kept: Kept) -> Iterator[contextlib.ExitStack]:
    del kept
    with contextlib.ExitStack() as stack:
        yield stack


def connect(kept: Kept, peers: contextlib.ExitStack) -> socket.socket:
    """Return a connection to the keeper, to say anything on."""
    peer = peers.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    with SocketPath(kept.stage.directory / kept.stage.keeper["socket"]) as address:
        peer.connect(address)  # with a time limit it fails where the queue is full for a moment
    peer.settimeout(PATIENCE)
    return peer


def message(**words: object) -> bytes:
    body = json.dumps(words).encode()
    return struct.pack("<QI", len(body), 0) + body


def test_a_message_may_come_in_any_parts(kept: Kept, peers: contextlib.ExitStack) -> None:
    kept.attach()
    peer = connect(kept, peers)
    for byte in message(step="status"):
        peer.send(bytes([byte]))
        kept.stage.ask("status")
    received = receive(peer)
    assert received is not None
    assert received[0]["workload"] == "stage"


def test_several_messages_at_once_are_answered_in_their_order(
    kept: Kept, peers: contextlib.ExitStack
) -> None:
    kept.attach()
    peer = connect(kept, peers)
    peer.sendall(message(step="status") + message(step="fly") + message(step="leave"))
    answers = [receive(peer) for _ in range(3)]
    assert [sorted(answer[0])[0] for answer in answers[:2] if answer] == ["checkpoints", "error"]
    assert answers[2] == ({}, [])


def test_a_client_that_does_not_read_delays_nobody(kept: Kept, peers: contextlib.ExitStack) -> None:
    leader, window = kept.attach()
    peer = connect(kept, peers)
    peer.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while True:
            peer.sendall(message(step="status"))
    for page in range(3):
        leader.store(window, page)
        kept.take()
    leader.fork()
    assert kept.stage.ask("status")["checkpoints"] == 3


def test_an_answer_that_is_read_late_comes_whole_with_its_descriptors(
    kept: Kept, peers: contextlib.ExitStack
) -> None:
    leader, _ = kept.attach()
    regions = [leader.anonymous(1) for _ in range(600)]
    for region in regions:
        leader.store(region, 0)
    peer = connect(kept, peers)
    peer.sendall(message(step="checkpoint", full=True, most_bytes=0))
    wait_until(lambda: not kept.stage.runs(), "it stands")
    assert kept.stage.ask("status")["checkpoints"] == 1
    received = receive(peer)
    assert received is not None
    answer, came = received
    assert (answer["held"], len(answer["regions"]), len(came)) == (True, 601, 601)
    for descriptor in came:
        socket.close(descriptor)
    peer.sendall(message(step="leave"))
    assert receive(peer) is not None


def test_what_a_client_did_not_read_is_let_go_with_it(
    kept: Kept, peers: contextlib.ExitStack
) -> None:
    leader, _ = kept.attach()
    for _ in range(600):
        leader.store(leader.anonymous(1), 0)
    counts, opened = [], Path(f"/proc/{kept.stage.keeper['pid']}/fd")
    for _ in range(6):
        peer = connect(kept, peers)
        peer.sendall(message(step="checkpoint", full=True, most_bytes=0))
        wait_until(lambda: not kept.stage.runs(), "it stands")
        peer.close()
        wait_until(kept.stage.runs, "it runs again")
        kept.stage.ask("status")
        counts.append(len(list(opened.iterdir())))
    assert counts[-1] <= counts[1] + 2  # but for connections that come and go


def test_a_thousand_clients_are_served_beside_the_workload(
    kept: Kept, peers: contextlib.ExitStack
) -> None:
    leader, window = kept.attach()
    clients = [peers.enter_context(Client(kept.stage.keeper_json)) for _ in range(MANY)]
    for client in clients[::100]:
        assert client.ask("status")[0]["workload"] == "stage"
    born = leader.anonymous(1)  # whose descriptors are beyond all of theirs
    leader.store(born, 0)
    kept.windows.append((leader, born))
    leader.fork().store(window, 1)
    kept.take()
    leader.store(born, 0)
    assert kept.take().pages == 1
    for client in clients:
        assert client.ask("status")[0]["checkpoints"] == 2


def test_half_a_message_of_a_thousand_clients_keeps_nobody_waiting(
    kept: Kept, peers: contextlib.ExitStack
) -> None:
    leader, window = kept.attach()
    for _ in range(MANY):
        connect(kept, peers).send(message(step="status")[:20])
    leader.store(window, 1)
    assert kept.take(PLENTY).full
    assert kept.stage.ask("status")["checkpoints"] == 1
