"""A workload's process tree under ptrace: followed while it runs, frozen and thawed whole.

Every thread is seized, with the children that it makes. A child is stopped by the kernel
before its first instruction, and a process once more before its memory is taken down
(PTRACE_EVENT_EXIT, also under SIGKILL): at both moments the tree calls its observer.

Who asks clone(2) not to be followed (CLONE_UNTRACED) is looked for at each freeze, which is not
over before a search finds nothing new.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from tidemark import proc
from tidemark.errors import AttachError
from tidemark.keeper.freezing import FREEZE_SECONDS, LEAVE_SECONDS, Budget, wait_until_frozen
from tidemark.keeper.leaving import Lasts
from tidemark.keeper.unfollowed import Unfollowed, waits_for_vfork
from tidemark.native import tracee
from tidemark.native.library import (
    ForbiddenError,
    NativeError,
    ProcessGoneError,
    TracedError,
)
from tidemark.native.tracee import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tidemark.keeper.births import Births
    from tidemark.keeper.pace import Pace


_MOST_CALLERS = 16
"""So many threads of a process are tried, where not each one can make system calls of ours."""

_MANY = 64
"""Of no more threads each is seen to before the next is told to stop."""

_SEE_TO = 8
"""After so many threads that were told to stop, those that have are seen to."""

_STOPPING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT}

_ATTEMPTS = 3
"""So often it is tried to let a thread go on."""


class State(Enum):
    """What a thread is doing, as far as ptrace has told."""

    RUNNING = auto()
    STOPPED = auto()
    VFORKING = auto()  # waits in the kernel for its vfork child and cannot stop before
    LAST = auto()  # stands at its end, the last of its process, until the others are gone
    LEAVING = auto()  # was let go at its end


@dataclass(eq=False)
class Thread:
    """One thread of a traced process; ``group_stop`` is the signal that stopped it, or 0.

    ``stops`` counts how often it has stood because it was interrupted, and ``waits`` is whether it
    was within a call without a time limit then; None before.
    """

    tid: int
    process: Process
    state: State = State.RUNNING
    group_stop: int = 0
    stops: int = 0
    waits: bool | None = None

    @property
    def leaves(self) -> bool:
        """Whether it was let go at its end."""
        return self.state is State.LEAVING

    def stopped(self) -> tracee.Stopped:
        """Return what names this thread, which stands, to the native library."""
        return tracee.Stopped(self.process.pid, self.tid, self.process.options)


@dataclass(eq=False)
class Process:
    """One traced process; ``number`` is its canonical number, in order of creation."""

    number: int
    pid: int
    parent: Process | None
    command: str
    options: int = 0  # of the seizure
    ran: bool = True  # False for a child that was killed before its first instruction
    shares: bool = True  # another process may have the same memory, or have had it
    workers: bool = False  # the kernel had threads of its own in it when it was frozen
    threads: dict[int, Thread] = field(default_factory=dict)

    def a_thread(self) -> int:
        """Return the id of a thread that has not ended: the first one may have."""
        living = self.living()
        return living[0].tid if living else self.pid

    def living(self) -> list[Thread]:
        """Return the threads that have not been let go at their end."""
        return [thread for thread in self.threads.values() if thread.state is not State.LEAVING]


@dataclass
class Counts:
    """What happened to processes since the last thaw."""

    born: int = 0
    exited: int = 0
    killed: int = 0
    executed: int = 0


@dataclass(frozen=True)
class Ending:
    """How a process ended: an exit code, or the signal that killed it."""

    code: int | None
    signal: int | None


class Observer(Protocol):
    """Who wants to know what becomes of the processes of a tree."""

    def born(self, process: Process, thread: Thread) -> None:
        """Look at a new process; ``thread`` stands before its first instruction."""

    def leaving(self, thread: Thread) -> None:
        """Look at a thread that is about to end."""

    def found(self, process: Process) -> None:
        """Look at a process that was not followed from its birth on; it need not stand yet."""

    def unfollowed(self, reason: str) -> None:
        """Learn that somebody ran who was not followed, and could write what others map."""

    def exiting(self, process: Process, *, alone: bool) -> None:
        """Look at a process whose last thread is about to end; its memory still stands.

        Unless it is ``alone``, something else may write to that memory once more.
        """

    def executed(self, process: Process) -> None:
        """Learn that a process runs a new program; its former memory is gone."""

    def ended(self, process: Process) -> None:
        """Learn that a process is gone; it need not have stood before."""

    def guards(self, process: Process) -> None:
        """Let a process guard memory of its own, which it cannot while that is under a tracker."""

    def attend(self) -> bool:
        """Let go of threads that wait for the observer and cannot stop before, if there are any."""

    def missed(self, what: str, error: BaseException) -> None:
        """Learn that an event could not be handled."""


class Tree:
    """The processes of one workload.

    :param kill_with_tracer: the kernel kills them when this process ends: for a workload that
        we started, and for no other
    :param other_ended: called with pid and ending of a child that is not of the tree
    :param births: what the kernel reports of births
    :param pace: learns when all who waited have been let go, and when the workload stands
    """

    def __init__(
        self,
        observer: Observer,
        *,
        kill_with_tracer: bool,
        other_ended: Callable[[int, Ending], None],
        births: Births,
        pace: Pace,
    ) -> None:
        self.processes: dict[int, Process] = {}
        self.counts = Counts()
        self.root_pid = 0
        self.root_ending: Ending | None = None
        self._pace = pace
        self._frozen = False
        self.frozen_at = 0.0  # when the first thread was told to stop, the last time
        self._observer = observer
        self._options = tracee.options(kill_with_tracer=kill_with_tracer)
        self._other_ended = other_ended
        self._births = births
        self._unfollowed = Unfollowed(self, births, observer)
        self._lasts = Lasts()
        self.budget = Budget()
        self._group_stopped: set[Thread] = set()  # some of them may have ended
        self.late: set[int] = set()  # threads that are to stay where they stop, though others run
        self.threads: dict[int, Thread] = {}
        self._expected: dict[int, Thread | None] = {}  # not seen yet; who announced it waits
        self._early: set[int] = set()  # seen, not announced yet
        self._next_number = 0

    @property
    def frozen(self) -> bool:
        """Whether all threads stand, or are about to."""
        return self._frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        if frozen and not self._frozen:
            self.frozen_at = time.monotonic()
        self._frozen = frozen
        self._pace.stands(frozen=frozen)

    # Taking processes in

    def seize(self, pid: int) -> None:
        """Seize the one thread of a process that we created, without stopping it."""
        tracee.seize(pid, self._options)
        self.root_pid = pid
        self._births.begin([pid])
        self._add_thread(self._add_process(pid, None), pid)

    def attach(self, root: int, seconds: float | None = None) -> None:
        """Seize a running process with all its descendants and leave them frozen.

        :param seconds: for how long they may stand until the tree is thawed
        :raises AttachError: when one of them cannot be traced, or that takes too long; then all
            are let go
        """
        self.root_pid = root
        self.budget = Budget(seconds)
        self.budget.begin()
        self.frozen = True
        self._births.begin(proc.tree_of(root))
        try:
            while self._seize_tree(root):
                self.settle()
            self._unfollowed.take_in_all()
        except BaseException:
            self.detach()
            raise

    def _seize_tree(self, root: int) -> bool:
        """Seize what is not seized yet; a process may have forked or made threads meanwhile."""
        found = False
        for pid in proc.tree_of(root):
            self.budget.check()
            for tid in proc.thread_ids(pid):
                if tid not in self.threads and not proc.has_ended(tid):
                    found |= not proc.is_worker(tid) and self.seize_thread(pid, tid)
                self.pump()
        if root not in self.processes:
            raise AttachError(f"process {root} is gone; name one that runs")
        return found

    def seize_thread(self, pid: int, tid: int) -> bool:
        """Seize a thread, and stop it where the tree is frozen; False when it has ended.

        :raises TracedError: when another process traces it
        :raises ForbiddenError: when the privileges do not suffice
        """
        try:
            tracee.seize(tid, self._options)
            if self.frozen:
                tracee.interrupt(tid, waits=None)
        except ProcessGoneError:
            return False
        process = self.processes.get(pid)
        if process is None:
            parent = self.processes.get(proc.parent_of(pid) or 0)
            process = self._add_process(pid, parent)
            self.counts.born += 1
        self._add_thread(process, tid)
        self._observer.found(process)
        return True

    def expect(self, tid: int) -> None:
        """Wait, when the tree is frozen, for a thread that is traced and has not reported yet."""
        self._expected.setdefault(tid, None)

    def _add_process(self, pid: int, parent: Process | None) -> Process:
        process = Process(self._next_number, pid, parent, proc.command_of(pid), self._options)
        self._next_number += 1
        self.processes[pid] = process
        return process

    def _add_thread(self, process: Process, tid: int) -> Thread:
        thread = Thread(tid, process)
        process.threads[tid] = thread
        self.threads[tid] = thread
        return thread

    # Freezing and thawing

    def freeze(self) -> None:
        """Stop every thread; children that are being born included.

        :raises AttachError: when a thread does not stop; then the tree runs on
        """
        self._births.hear()
        self.serve()
        self.interrupt_all()
        self._pace.looked(found=False)  # from here on it is the freeze for which they wait
        self.settle()
        self._unfollowed.take_in_all()

    def serve(self) -> bool:
        """Let go who waits for us; return whether there was anybody."""
        found = self.pump()
        found |= self._observer.attend()
        self._pace.looked(found=found)
        return found

    def interrupt_all(self) -> None:
        """Ask every thread that runs to stop.

        Who has stopped is seen to at once: if we died before, its system call might have failed.
        """
        if not self.frozen:
            self.frozen = True
        for i, thread in enumerate(list(self.threads.values())):
            if thread.state in {State.RUNNING, State.VFORKING}:
                with contextlib.suppress(ProcessGoneError):
                    tracee.interrupt(thread.tid, waits=self._may_mend(thread))
            if i % _SEE_TO == _SEE_TO - 1:
                self.pump()

    def _may_mend(self, thread: Thread) -> bool | None:
        """Return whether a thread is within a call that is to be made again; None: not known.

        Not where a thread is stopped by a signal: that ends such a call, too. Of many threads, each
        is seen to a little later, lest the others stand meanwhile.
        """
        many = len(self.threads) > _MANY
        return False if self._group_stopped or many else thread.waits

    def settle(self, seconds: float = FREEZE_SECONDS) -> None:
        """Handle events until every thread stands.

        :raises AttachError: when one does not stop, or attaching takes too long; then the tree
            runs on
        """
        try:
            wait_until_frozen(self, self.budget, seconds)
        except AttachError:
            self.thaw()
            raise

    def look_at_stuck(self) -> None:
        """Find out why threads do not stop of which ptrace has not told what they do."""
        for thread in list(self.threads.values()):
            if thread.state is State.RUNNING and waits_for_vfork(thread.tid):
                thread.state = State.VFORKING
            elif thread.leaves and not _is_traced(thread.tid):
                # A thread that is not followed has executed a program, and has its id now.
                del self.threads[thread.tid]
                del thread.process.threads[thread.tid]
                self._observer.executed(thread.process)

    def moving(self) -> list[int]:
        """Return the threads that may still store to memory."""
        moving = [t.tid for t in self.threads.values() if t.state is State.RUNNING]
        # The kernel marks the robust locks of a thread that ends.
        moving += [
            t.tid
            for t in self.threads.values()
            if t.state is State.LEAVING and proc.has_memory(t.tid)
        ]
        return moving + [tid for tid in self._expected if tid not in self.threads]

    def let_run_but_late(self) -> None:
        """Let every thread run that stands, but those that are late; these stay where they stop."""
        self.frozen = False
        for thread in list(self.threads.values()):
            if thread.state is State.STOPPED and thread.tid not in self.late:
                self._let_run(thread)

    def thaw(self) -> None:
        """Let every thread run on, or stay in the stop that SIGSTOP put it in."""
        self.late.clear()
        self.let_run_but_late()
        self.budget = Budget()
        self.counts = Counts()
        self._pace.looked(found=False)

    def _let_run(self, thread: Thread) -> None:
        thread.state = State.RUNNING
        go_on = tracee.listen if thread.group_stop else tracee.resume
        try:
            _insist(lambda: go_on(thread.tid))
        except NativeError as error:  # the others are to run all the same
            self._observer.missed(f"thread {thread.tid} was not let run", error)

    def stop_briefly(self, threads: Iterable[Thread], seconds: float) -> bool:
        """Have each of some threads stand for a moment, but not all at a time; the tree runs.

        A thread that stands is within no system call. Return whether each one has, or has ended.

        :param seconds: after so long it is given up; one of them may wait for a device
        """
        awaited = {}
        for thread in threads:
            with contextlib.suppress(ProcessGoneError):
                tracee.interrupt(thread.tid)
                awaited[thread] = thread.stops
        deadline = time.monotonic() + seconds
        pause = 0.0
        while any(self._is_awaited(thread, stops) for thread, stops in awaited.items()):
            if not self.serve():
                if time.monotonic() > deadline:
                    return False
                time.sleep(pause)
                pause = min(pause + 0.00005, 0.001)
        return True

    def _is_awaited(self, thread: Thread, stops: int) -> bool:
        return thread.stops == stops and self.threads.get(thread.tid) is thread

    def detach(self) -> None:
        """Let all processes go, running, as if they had never been traced.

        Who runs need not be stopped for that, which might end a system call: the kernel lets it go
        at the end of this process, which is to be soon.
        """
        if self.frozen:
            with contextlib.suppress(AttachError):
                self.settle(LEAVE_SECONDS)  # what our interrupts have ended is to be made again
        self.pump()
        for thread in self.threads.values():
            # One that runs may have come to stand for a signal meanwhile, and would lose that.
            if thread.state in {State.STOPPED, State.LAST}:
                with contextlib.suppress(NativeError):
                    tracee.detach(thread.tid)
        self.processes.clear()
        self.threads.clear()
        self.frozen = False

    # Following

    def pump(self) -> bool:
        """Handle all events that have come; return whether there was any."""
        found = False
        while event := tracee.wait(mend=not self._group_stopped):
            found = True
            try:
                self._handle(event)
            except Exception as error:  # nobody may stand for that
                self._miss(event, error)
        try:
            return self._let_lasts_go() or found
        except Exception as error:
            self._observer.missed("the last threads of processes were not looked at", error)
            for thread in self._lasts.give_up():
                self._let_leave(thread)
            return True

    def _miss(self, event: Event, error: Exception) -> None:
        """Let a thread run on of which an event could not be handled.

        Where it is not known, it is let go: the next freeze finds it, and takes it in anew.
        """
        what = f"thread {event.tid}: {event.kind.name.lower()} was not handled"
        self._observer.missed(what, error)
        thread = self.threads.get(event.tid)
        if event.kind is EventKind.ENDED or (thread and thread.state is State.STOPPED):
            return
        with contextlib.suppress(NativeError):
            if thread is None:
                tracee.detach(event.tid)
            else:
                self._resume(thread, event.signal if event.kind is EventKind.SIGNAL else 0)

    def wake_after(self) -> float:
        """Return after how many seconds :meth:`pump` is to be called though nothing is heard."""
        return self._lasts.wake_after()

    def _handle(self, event: Event) -> None:
        if event.kind is EventKind.ENDED:
            self._on_ended(event)
            return
        thread = self.threads.get(event.tid)
        if thread is None:
            thread = self._adopt(event.tid, stands=event.kind is EventKind.STOPPED)
        match event.kind:
            case EventKind.STOPPED:
                self._mend_call(thread, event)
                self._on_stopped(thread, event.signal)
            case EventKind.CHILD | EventKind.VFORK:
                self._on_child(thread, event)
            case EventKind.EXEC:
                self._on_exec(event)
            case EventKind.EXITING:
                self._on_exiting(thread)
            case EventKind.SIGNAL:
                self._mend_call(thread, event)
                thread.state = State.RUNNING
                self._resume(thread, event.signal)
            case _:
                thread.state = State.RUNNING
                self._resume(thread)

    def _mend_call(self, thread: Thread, event: Event) -> None:
        """Have a call made again that was to wait without limit, and that a stop of ours has ended.

        While a thread is stopped by a signal, none has been mended yet: of that one it must not be.
        """
        if self._group_stopped and not thread.group_stop and event.signal not in _STOPPING:
            with contextlib.suppress(ProcessGoneError):
                event = tracee.mend_call(event)
        thread.waits = event.waits
        if event.guards:
            self._observer.guards(thread.process)

    def _resume(self, thread: Thread, signal: int = 0) -> None:
        """Let a thread on from a stop that is not the one a freeze waits for."""
        with contextlib.suppress(ProcessGoneError):
            if self.frozen and thread.state is not State.LEAVING:
                # Any stop takes a pending interrupt with it: ptrace_stop() of the kernel.
                tracee.interrupt(thread.tid)
            _insist(lambda: tracee.resume(thread.tid, signal))

    def _on_stopped(self, thread: Thread, signal: int) -> None:
        if thread.state is State.LEAVING:
            return
        thread.state = State.STOPPED
        (self._group_stopped.add if signal else self._group_stopped.discard)(thread)
        thread.group_stop = signal
        thread.stops += 1
        if not self.frozen and thread.tid not in self.late:
            self._let_run(thread)

    def _on_child(self, thread: Thread, event: Event) -> None:
        """Let a thread on that made a child, but not before the child has been seen.

        So a process cannot have a second child before the first has its number.
        """
        if event.kind is EventKind.VFORK:
            thread.state = State.VFORKING
        if event.child in self._early or event.child in self.threads:
            self._early.discard(event.child)
            self._resume(thread)
        elif not event.child:  # the maker was killed before it could be asked for its child
            self._resume(thread)
        else:
            self._expected[event.child] = thread

    def _seen(self, tid: int) -> Process | None:
        """Let the thread on that waits for ``tid`` to be seen; return its process."""
        maker = self._expected.pop(tid, None)
        if maker is None:
            return None
        self._resume(maker)
        return maker.process

    def _adopt(self, tid: int, *, stands: bool) -> Thread:
        """Take in a thread that was born under trace and reports for the first time.

        Unless it was killed at once, it ``stands`` before its first instruction.
        """
        parent = self._seen(tid)
        if parent is None:
            self._early.add(tid)
        pid = int(proc.status_field(tid, "Tgid") or tid)
        process = self.processes.get(pid)
        if process is not None:
            return self._add_thread(process, tid)
        if parent is None:
            parent = self.processes.get(proc.parent_of(pid) or 0)
        process = self._add_process(pid, parent)
        self._births.follows(pid)
        self.counts.born += 1
        thread = self._add_thread(process, tid)
        process.ran = stands
        if stands:
            thread.state = State.STOPPED
            try:
                self._observer.born(process, thread)
            except ProcessGoneError:
                self.thread_left(thread)
        return thread

    def thread_left(self, thread: Thread) -> None:
        """Note that a thread was killed while it executed a system call of ours.

        The news of its end came in the middle of that call and will not come again.
        """
        thread.state = State.LEAVING
        self._resume(thread)

    def _on_exec(self, event: Event) -> None:
        """Note a new program: it runs in one thread, which has the process's id."""
        process = self.threads[event.tid].process
        for tid in list(process.threads):
            self.threads.pop(tid, None)
        process.threads.clear()
        process.command = proc.command_of(process.pid)
        process.shares = False
        self._observer.executed(process)
        self.counts.executed += 1
        self._resume(self._add_thread(process, event.tid))

    def _on_exiting(self, thread: Thread) -> None:
        process = thread.process
        if process.ran:
            self._observer.leaving(thread)
        # Until its last thread has gone the process may still write.
        if process.ran and process.living() == [thread]:
            thread.state = State.LAST
            self._lasts.add(thread)
            self._let_lasts_go()
        else:
            self._let_leave(thread)

    def _let_leave(self, thread: Thread) -> None:
        thread.state = State.LEAVING
        self._resume(thread)

    def _let_lasts_go(self) -> bool:
        """Let those last threads go that need not wait any more; return whether there was one."""
        found = False
        while done := self._lasts.next(self.threads):
            found = True
            thread, wait = done
            for tid in wait.unseen:
                with contextlib.suppress(NativeError):  # it is looked for again at the next freeze
                    self._seize_unseen(thread.process, tid)
            if thread.process.living() == [thread]:
                self._observer.exiting(thread.process, alone=wait.alone)
            self._let_leave(thread)
        return found

    def _seize_unseen(self, process: Process, tid: int) -> None:
        """Follow a thread that outlives all that were followed.

        One that executes a program is left alone: it waits for the others to end, and who seizes
        it waits for it (cred_guard_mutex of the kernel).
        """
        if not proc.is_executing(tid):
            with contextlib.suppress(TracedError, ForbiddenError):
                self.seize_thread(process.pid, tid)

    def _on_ended(self, event: Event) -> None:
        self._seen(event.tid)
        ending = Ending(
            None if event.signal else event.exit_code, event.signal if event.signal else None
        )
        thread = self.threads.pop(event.tid, None)
        if thread is None:
            self._other_ended(event.tid, ending)
            return
        process = thread.process
        process.threads.pop(event.tid, None)
        if not process.threads or event.tid == process.pid:
            self._process_ended(process, ending)

    def _process_ended(self, process: Process, ending: Ending) -> None:
        for tid in list(process.threads):
            self.threads.pop(tid, None)
        if self.processes.pop(process.pid, None) is None:
            return
        if ending.signal is None:
            self.counts.exited += 1
        else:
            self.counts.killed += 1
        if process.pid == self.root_pid:
            self.root_ending = ending
        self._observer.ended(process)

    def stopped_threads(self, pids: Iterable[int]) -> list[Thread]:
        """Return threads of the processes that stand, to execute system calls in one of them."""
        standing = (
            thread
            for pid in sorted(pids)
            if pid in self.processes
            for thread in self.processes[pid].threads.values()
            if thread.state is State.STOPPED
        )
        return list(itertools.islice(standing, _MOST_CALLERS))

    def in_order(self) -> Iterator[Process]:
        """Yield the processes by canonical number."""
        yield from sorted(self.processes.values(), key=lambda process: process.number)


def _insist(deed: Callable[[], None]) -> None:
    """Let a thread go on that stands, and would stand for ever where that fails just once.

    :raises NativeError: when it fails again and again
    """
    with contextlib.suppress(ProcessGoneError):
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(NativeError):
                deed()
                return
        deed()


def _is_traced(tid: int) -> bool:
    return proc.status_field(tid, "TracerPid") in {str(os.getpid()), None}
