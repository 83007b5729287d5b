"""The one place that prints errors, and the set-up of logging."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from tidemark.errors import TidemarkError

if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED = 130


def set_up_logging(level: int = logging.INFO) -> None:
    """Send log lines to stderr; stdout is for data."""
    logging.basicConfig(level=level, format="tidemark: %(message)s", stream=sys.stderr)


def guard(run: Callable[[], int | None]) -> int:
    """Return the exit code of ``run``, with our own errors printed in one line and no traceback."""
    try:
        return run() or 0
    except TidemarkError as error:
        print(f"tidemark: error: {error}", file=sys.stderr)  # noqa: T201 - the place that prints
        return error.exit_code
    except KeyboardInterrupt:
        print("tidemark: interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has gone (a closed pager): nothing is wrong here.
        sys.stderr.close()
        return 0
