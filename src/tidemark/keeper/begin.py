"""Starting a workload, or attaching to one, until it is ready and stands."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from tidemark import proc
from tidemark.errors import AttachError, WorkloadError
from tidemark.keeper.quantum import STEP_VARIABLE, describe_ending
from tidemark.keeper.spawn import Streams, cannot_execute, last_output, spawn
from tidemark.native.library import ForbiddenError, ProcessGoneError, TracedError

if TYPE_CHECKING:
    from tidemark.keeper.live import Live

_POLL_SECONDS = 0.02
"""How often a workload that is getting ready is looked at."""

_EXEC_SECONDS = 30.0

_LAST_PID = 1 << 22
"""PID_MAX_LIMIT of the kernel, on machines of 64 bits."""


def begin(live: Live) -> None:
    """Start the workload, or attach to it, and leave it frozen and ready.

    :raises WorkloadError: when it does not start, does not get ready, or shares no memory
    :raises AttachError: when it cannot be attached to
    """
    if live.started or not live.outlives:  # or there is none of ours
        for output in (live.output, live.command_output):
            output.unlink(missing_ok=True)  # what a former run printed says nothing of this one
    if live.started:
        _start(live)
        if not live.streams:
            _wait_until_ready(live)
        live.tracking.look_at_programs(list(live.tree.processes))
        live.tree.freeze()
    else:
        _attach(live)
    if not live.streams and not live.shares_memory():
        raise WorkloadError(
            f"workload {live.workload.name} shares no memory: none of its "
            f"{len(live.tree.processes)} processes maps any with MAP_SHARED"
            f"{last_output(live.output)}; check its command, or say in `ready` when it does"
        )


def _start(live: Live) -> None:
    argv = live.workload.run or ()
    env = live.env
    theirs = live.steps.theirs
    if live.asks_for_steps:
        env = {**env, STEP_VARIABLE: str(theirs.fileno())}
        live.loop.add(live.steps.fileno(), lambda: _on_question(live))
    inherit = [theirs.fileno()] if live.asks_for_steps else []
    streams = Streams(live.output, live.streams)
    spawned = spawn(argv, env, streams, live.limits, inherit=inherit, outlives=live.outlives)
    for descriptor in live.streams:
        os.close(descriptor)  # or who reads them would never see their end
    theirs.close()
    live.tree.seize(spawned.pid)
    spawned.go()
    # It stops at its exec, and is let on from the loop; only then can the pipe tell.
    live.loop.wait_until(lambda: live.tree.counts.executed > 0 or live.gone(), _EXEC_SECONDS)
    if failure := spawned.failure():
        raise cannot_execute(argv, failure)


def _on_question(live: Live) -> None:
    if not live.steps.on_question():
        live.loop.remove(live.steps.fileno())


def _wait_until_ready(live: Live) -> None:
    workload = live.workload
    begun = time.monotonic()

    def ready() -> bool:
        return live.gone() or _is_ready(live, time.monotonic() - begun)

    arrived = live.loop.wait_until(ready, workload.timeout, lambda: _POLL_SECONDS)
    if live.gone():
        raise WorkloadError(
            f"workload {workload.name} {describe_ending(live.tree.root_ending)} before it was "
            f"ready{last_output(live.output)}; run its command by hand to see why"
        )
    if not arrived:
        raise WorkloadError(
            f"workload {workload.name} {_what_is_missing(live)} within {workload.timeout:g} s"
            f"{last_output(live.output)}; check its command, or raise `timeout`"
        )


def _is_ready(live: Live, seconds: float) -> bool:
    ready = live.workload.ready
    if ready is not None and ready.output is not None:
        return _printed(live, ready.output)
    if ready is not None and ready.seconds is not None:
        return seconds >= ready.seconds
    if live.asks_for_steps:
        return live.steps.asking
    return live.shares_memory()


def _printed(live: Live, pattern: str) -> bool:
    try:
        text = live.output.read_text(errors="replace")
    except OSError:
        return False
    return any(re.search(pattern, line) for line in text.splitlines())


def _what_is_missing(live: Live) -> str:
    ready = live.workload.ready
    if ready is not None and ready.output is not None:
        return f"printed no line that matches {ready.output!r}"
    if live.asks_for_steps:
        return f"did not ask for its first step (on the descriptor in {STEP_VARIABLE})"
    return "shared no memory"


def _attach(live: Live) -> None:
    pid = _pid_to_attach(live)
    if os.getpid() in proc.tree_of(pid):
        raise AttachError(
            f"process {pid} is the keeper's own, or one of those that started it; "
            "name the workload's"
        )
    group = proc.frozen_by(pid)
    if group is not None:
        # It could not even make the system call that tracking begins with.
        raise AttachError(f"process {pid} is frozen by its control group {group}; thaw that first")
    live.tracking.look_at_programs(proc.tree_of(pid))
    try:
        live.tree.attach(pid, live.workload.stand)
        if not live.outlives:
            live.tree.budget.end()  # between epochs it stands for as long as the steps take
    except TracedError as error:
        raise AttachError(f"{error}; end that debugger or tracer first") from error
    except ForbiddenError as error:
        raise AttachError(f"{error}; run as the owner of that process, or as root") from error
    except ProcessGoneError as error:
        raise AttachError(f"process {pid} is gone; name one that runs") from error


def _pid_to_attach(live: Live) -> int:
    if live.workload.attach_pid is not None:
        return live.workload.attach_pid
    path = live.workload.attach_pidfile or ""
    try:
        with open(path) as file:  # noqa: PTH123 - the first line of what may be a pipe
            return _process_id(file.readline())
    except (OSError, ValueError, IndexError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no process id"
        raise AttachError(
            f"cannot read the pidfile {path}: {reason}; start the program that writes it"
        ) from error


def _process_id(text: str) -> int:
    """Return the process id that a line begins with.

    :raises ValueError: when it is none
    :raises IndexError: when there is nothing
    """
    pid = int(text.split(maxsplit=1)[0])
    if not 0 < pid <= _LAST_PID:
        raise ValueError(f"{pid} is no process id")
    return pid
