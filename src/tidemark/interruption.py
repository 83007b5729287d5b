"""Ending a run that Snakemake schedules, when a signal asks for it."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from tidemark.console import INTERRUPTED, INTERRUPTED_LINE
from tidemark.steps.job import INTERRUPTED_VARIABLE

if TYPE_CHECKING:
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_INSIST_SECONDS = 1.0

_SCHEDULER = "snakemake.scheduling.job_scheduler"
_TEAR_DOWN = ("snakemake.workflow", "tear_down")


class Interrupted(SystemExit):
    """A signal asks for the end of the run.

    Snakemake's scheduler ends its jobs for it as for a KeyboardInterrupt, and where nobody catches
    it the run ends with the code of one that was interrupted, and without a traceback.
    """

    def __init__(self) -> None:
        super().__init__(INTERRUPTED)


def end_on_signals() -> None:
    """Make SIGINT, SIGTERM and SIGHUP end the run, and have none of them be overlooked.

    To be called when the process begins, and again when the run does, after Snakemake (9.27) has
    installed a handler of its own: that one waits for a lock which the interrupted code may hold,
    and then the run hangs.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup(1) has it
            signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, _insist)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    atexit.unregister(_end)
    atexit.register(_end)


def hold_signals() -> None:
    """Let the signals wait until the program that this process becomes is ready for them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def was_interrupted() -> bool:
    """Return whether a signal asked for the end of this run."""
    return INTERRUPTED_VARIABLE in os.environ


def _interrupt(*_: object) -> None:
    os.environ[INTERRUPTED_VARIABLE] = "1"  # where another job begins all the same, it ends at once
    signal.setitimer(signal.ITIMER_REAL, _INSIST_SECONDS, _INSIST_SECONDS)
    # Snakemake makes another exception of one that comes within a function of the workflow's, and
    # ends with 1 for it.
    sys.exit = _exit
    raise Interrupted


def _exit(*_: object) -> NoReturn:
    raise Interrupted


def _insist(_: int, frame: FrameType | None) -> None:
    """Interrupt the scheduler again, where it has not begun to end.

    Python forgets an exception that is raised while a destructor runs, and Snakemake's logging one
    that is raised while it writes a line. The scheduler ends its jobs in the clause that catches
    the exception, so as long as it is handled there all is well. When all jobs have ended, it waits
    for tasks of its event loop: for ever, where the exception came between a task and its waiter.
    """
    handled = isinstance(sys.exc_info()[1], (KeyboardInterrupt, SystemExit))
    if (_runs(frame, _SCHEDULER) and not handled) or _runs(frame, *_TEAR_DOWN):
        raise Interrupted


def _runs(frame: FrameType | None, module: str, function: str | None = None) -> bool:
    """Return whether a module, or a function of it, is what runs there."""
    while frame is not None:
        if frame.f_globals.get("__name__") == module and function in {None, frame.f_code.co_name}:
            return True
        frame = frame.f_back
    return False


def _end() -> None:
    """Say at the very end that the run was interrupted; no signal disturbs that, the timer's least.

    When Python ends it gives each signal back its default, which is to kill.
    """
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (*_SIGNALS, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    if was_interrupted():
        logging.getLogger("asyncio").disabled = True  # of tasks that are lost, after the last line
        sys.stdout.flush()
        print(INTERRUPTED_LINE, file=sys.stderr, flush=True)  # noqa: T201
