"""What the programs have in common: their options, how they are told to stop, how they end."""

import argparse
import hashlib
import select
import signal
import socket
from collections.abc import Callable, Iterable
from typing import Any

STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGALRM})


class Damage(Exception):  # noqa: N818 - it is what was found, not a mistake of the program
    """The shared memory does not hold what it must; the text is the sentence that says so."""


def natural(text: str) -> int:
    """Return the whole number that an option gives, which may not be negative."""
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def positive(text: str) -> int:
    """Return the whole number that an option gives, which must be at least 1."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser described by the first line of `doc`, with the option that all take."""
    made = argparse.ArgumentParser(
        description=(doc or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument("--seed", type=natural, default=1, help="what all randomness comes from")
    return made


def stepwise(doc: str | None, steps: int) -> argparse.ArgumentParser:
    """Return a parser for a program that runs in steps and is deterministic."""
    made = parser(doc)
    made.add_argument("--steps", type=natural, default=steps, help="steps to take without a keeper")
    made.add_argument("--digest", action="store_true", help="print a hash of the shared content")
    return made


def free_running(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser for a program that runs until it is told to stop."""
    made = parser(doc)
    made.add_argument("--seconds", type=float, default=0.0, help="stop by itself, 0 for never")
    return made


def run(main: Callable[[argparse.Namespace], Iterable[str]], options: argparse.Namespace) -> None:
    """Run a program to its end: print its lines, or say what is damaged and exit 1."""
    # An interrupt from the terminal ends the leader at once; the kernel ends its children then.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        for line in main(options):
            print(line, flush=True)
    except Damage as found:
        raise SystemExit(str(found)) from found


def digest(parts: Iterable[bytes]) -> str:
    """Return the line that `--digest` prints for content given in parts."""
    summed = hashlib.sha256()
    for part in parts:
        summed.update(part)
    return f"digest {summed.hexdigest()}"


class Signals:
    """What a free-running program is told by signals, to be waited for among its descriptors."""

    def __init__(self, seconds: float, *others: signal.Signals) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno())
        for number in (*STOP, *others):
            signal.signal(number, _noted)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def fileno(self) -> int:
        """Return the descriptor that is readable when a signal has come."""
        return self._reader.fileno()

    def stop(self, patience: float | None) -> bool:
        """Wait for a signal, for at most `patience` seconds; tell whether one of them says stop."""
        if not select.select([self], [], [], patience)[0]:
            return False
        return not STOP.isdisjoint(self._reader.recv(4096))


def _noted(*_: Any) -> None:
    """Do nothing: the interpreter has written the signal's number to the descriptor."""
