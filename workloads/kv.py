"""Serve a hash table that clients read directly and write by request.

Models an in-memory store: the server alone writes the table, on request; the clients choose keys by
Zipf's law, read values straight from the shared memory, and retry what a write was tearing while
they read. Runs until SIGTERM (or for --seconds) and then checks all slots. It prints `ready` when
the table is filled. No clock is looked at in between: it may be frozen anywhere, for any time.

Shared: one anonymous mapping, a page with a counter of writes and then the slots.
Deterministic: what each client asks for and when, but not how the clients take turns.
"""

import argparse
import random
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import accumulate
from multiprocessing.connection import Connection, wait

import program
from pages import generator
from processes import Staff
from table import Table, value

EXPONENT = 1.1  # of Zipf's law
WRITES = 0.3  # the part of the clients' actions that are writes
BATCH = 256  # keys that are chosen at a time
REQUEST = struct.Struct("=QQ")  # key, token; the value follows
PAUSE = b""  # a request to do nothing


def chosen(chance: random.Random, keys: range) -> Iterator[int]:
    """Return keys without end, a few of them often and most of them rarely."""
    ranked = chance.sample(keys, len(keys))  # so that frequent keys lie on many pages
    weights = list(accumulate(rank**-EXPONENT for rank in range(1, len(keys) + 1)))
    while True:
        yield from chance.choices(ranked, cum_weights=weights, k=BATCH)


def client(table: Table, keys: range, seed: int, number: int, line: Connection) -> None:
    """Read and write until the server hangs up."""
    chance = generator(seed, number)
    with suppress(EOFError, ConnectionError):
        for turn, key in enumerate(chosen(chance, keys)):
            if chance.random() < WRITES:
                token = number << 48 | turn
                _ask(line, REQUEST.pack(key, token) + value(key, token))
                continue
            # The server answers between writes, so a question to it outlasts a write.
            slot = table.read(table.find(key), pause=partial(_ask, line, PAUSE))
            if slot.key != key:
                raise program.Damage(f"A slot holds key {slot.key} in place of {key}.")


def serve(table: Table, lines: list[Connection], signals: program.Signals) -> None:
    """Carry out the clients' writes until a signal says stop."""
    while True:
        for source in wait([signals.fileno(), *lines]):
            if isinstance(source, Connection):
                _answer(table, source)
            elif signals.stop(patience=0):
                return


def _ask(line: Connection, request: bytes) -> None:
    line.send_bytes(request)
    line.recv_bytes()


def _answer(table: Table, line: Connection) -> None:
    try:
        request = line.recv_bytes()
        if request != PAUSE:
            key, token = REQUEST.unpack_from(request)
            table.write(key, token, request[REQUEST.size :])
        line.send_bytes(b"done")
    except (EOFError, ConnectionError) as error:
        raise program.Damage("A client ended before it was told to.") from error


def main(options: argparse.Namespace) -> Iterator[str]:
    """Fill the table, serve it until told to stop, check it and say so."""
    signals = program.Signals(options.seconds)
    keys = range(1, options.slots * 3 // 4 + 1)
    table = Table(options.slots)
    for key in keys:
        table.write(key, 0, value(key, 0))
    with Staff() as staff:
        for number in range(1, options.clients + 1):
            staff.hire(partial(client, table, keys, options.seed, number))
        yield "ready"
        serve(table, staff.lines, signals)
    table.check(keys)
    yield f"kv: {table.writes} writes to {len(keys)} keys, all slots sound"


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = program.free_running(__doc__)
    parser.add_argument("--clients", type=program.positive, default=3, help="besides the server")
    parser.add_argument("--slots", type=program.positive, default=4096, help="of 256 bytes")
    return parser.parse_args()


if __name__ == "__main__":
    program.run(main, parse())
