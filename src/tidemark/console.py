"""The one place that prints errors, and the set-up of logging."""

from __future__ import annotations

import logging
import signal
import sys
from typing import TYPE_CHECKING, Self

from tidemark.errors import TidemarkError

if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED = 130
INTERRUPTED_LINE = "tidemark: interrupted; give the same command again to go on"


class Interrupts:
    """Remembers that Ctrl-C was pressed, for what goes on without an end.

    Python forgets an exception that is raised while a destructor runs.
    """

    def __init__(self) -> None:
        self._came = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: object) -> None:
        self._came = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt where one was forgotten."""
        if self._came:
            raise KeyboardInterrupt


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def set_up_logging(level: int = logging.INFO) -> None:
    """Send log lines to stderr; stdout is for data."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("tidemark: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


def complain(message: str) -> None:
    """Print an error."""
    text = printable(f"tidemark: error: {message}")
    print(text, file=sys.stderr)  # noqa: T201 - the place that prints


def _failure(error: OSError | ImportError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f" at {error.filename}" if error.filename else "")
    return str(error)


def printable(text: str) -> str:
    """Return ``text`` with what a terminal would obey, or cannot show, escaped; lines stay.

    A program names its files and its memory as it likes.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def printable_line(text: str) -> str:
    """Return ``text`` as :func:`printable` does, and in one line."""
    return printable(text).replace("\n", "\\n")


def guard(run: Callable[[], int | None]) -> int:
    """Return the exit code of ``run``, with our own errors printed in one line and no traceback."""
    try:
        return run() or 0
    except TidemarkError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        print(INTERRUPTED_LINE, file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except MemoryError:
        complain("there is not enough memory for this; free some, or raise the limit (ulimit -v)")
        return TidemarkError.exit_code
    except BrokenPipeError:
        # The reader of stdout has gone (a closed pager): nothing is wrong here.
        sys.stderr.close()
        return 0
    except (OSError, ImportError) as error:
        # Whatever has a sentence of its own has said it: this is of the machine.
        logging.getLogger(__name__).debug("where", exc_info=True)
        complain(f"the system fails with {_failure(error)}; see that it is well, and try again")
        return TidemarkError.exit_code
