"""A live workload, taken through its epochs step by step."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tidemark.errors import WorkloadError
from tidemark.keeper.begin import begin
from tidemark.keeper.quantum import command_failed, describe_ending, quantum_of
from tidemark.keeper.snapshot import Snapshot
from tidemark.keeper.spawn import last_output
from tidemark.keeper.truth import Truth
from tidemark.native.process import adopt_orphans

if TYPE_CHECKING:
    from tidemark.keeper.live import Live
    from tidemark.keeper.quantum import Quantum
    from tidemark.keeper.tree import Ending


class Session:
    """The steps of one workload, to be called in their order.

    ``life`` is random: what two sessions write can be told apart by it.
    """

    def __init__(self, live: Live) -> None:
        self.life = uuid.uuid4().hex
        self._stood: list[float] = []
        self._live = live
        self._snapshot: Snapshot | None = None
        self._truth: Truth | None = None
        self._scan: dict[str, Any] | None = None
        self._frozen_at = 0.0

    @property
    def frozen_seconds(self) -> list[float]:
        """For how many seconds the workload stood after each epoch that is over."""
        return self._stood[1:]

    def begin(self) -> None:
        """Start the workload, or attach to it, and leave it frozen.

        :raises WorkloadError: when it does not start, does not get ready, or shares no memory
        :raises AttachError: when it cannot be attached to
        """
        adopt_orphans()
        begin(self._live)
        self._frozen_at = time.monotonic()

    def clear(self) -> dict[str, Any]:
        """Begin an epoch: arm the trackers."""
        self._close_snapshot()
        begun = time.monotonic()
        counts = self._live.tracking.clear(self._live.tree)
        return {
            **counts,
            "tracker": self._live.tracker,
            "tracker_reason": self._live.tracker_reason,
            "testimony": self._live.tracking.vouching,
            "seconds": time.monotonic() - begun,
        }

    def advance(self) -> dict[str, Any]:
        """Let the workload run for its quantum, and freeze it again.

        :raises WorkloadError: when it ended, or did not get there in time
        """
        live = self._live
        quantum = quantum_of(live)
        at_start = len(live.tree.processes)
        quantum.start()
        stood = self._thaw()
        begun = time.monotonic()
        arrived = live.loop.wait_until(
            lambda: quantum.done() or live.gone(), quantum.limit, quantum.wake_after
        )
        live.tracking.look_outside(live.tree)
        ended = time.monotonic()
        self._freeze()
        counts = live.tree.counts
        return {
            **self._outcome(quantum, arrived=arrived),
            "running_seconds": ended - begun,
            "freeze_seconds": self._frozen_at - ended,
            "frozen_before_seconds": stood,
            "processes": {
                "at_start": at_start,
                **vars(counts),
                "at_end": len(live.tree.processes),
            },
        }

    def _outcome(self, quantum: Quantum, *, arrived: bool) -> dict[str, object]:
        live, name = self._live, self._live.workload.name
        if live.gone():
            raise WorkloadError(
                f"workload {name} {describe_ending(live.tree.root_ending)} within an epoch"
                f"{last_output(live.output)}; declare fewer epochs, or let it run longer"
            )
        if not arrived:
            live.stop_commands()
            raise WorkloadError(
                f"workload {name} did not finish {quantum.describe()} within {quantum.limit:g} s"
                f"{last_output(live.output)}; raise `timeout`, or ask for less in `advance`"
            )
        return quantum.finish()

    def _thaw(self) -> float:
        """Let the workload run; return for how many seconds it stood."""
        self._live.tracking.thawing()
        stood = time.monotonic() - self._frozen_at
        self._live.tree.thaw()
        self._live.tracking.thawed(self._live.tree)
        self._stood.append(stood)
        return stood

    def _freeze(self) -> None:
        self._live.tree.freeze()
        self._frozen_at = time.monotonic()

    def collect(self) -> dict[str, Any]:
        """End an epoch: scan what was written; what was found, if asked again."""
        if self._scan is None:
            snapshot = self._snapshot_now()
            self._scan = snapshot.examine(snapshot.sources())
        return self._scan

    def open(self) -> tuple[dict[str, Any], list[int]]:
        """Return the layout, and how to read the regions, with the descriptors for that.

        ``policy`` says how the workload wants its pages to be settled, ``unsaved`` what it shares
        and is in no region, and ``truth`` what the dump is to be held against.
        """
        snapshot = self._snapshot_now()
        regions, descriptors = snapshot.readings()
        policy = asdict(self._live.workload.policy)
        answer = {"layout": snapshot.layout(), "regions": regions, "policy": policy}
        answer["unsaved"] = snapshot.unsaved()
        pids = [[process.number, process.pid] for process in self._live.tree.in_order()]
        return answer | {"pids": pids, "truth": self._tell_truth(descriptors)}, descriptors

    def _tell_truth(self, descriptors: list[int]) -> dict[str, Any]:
        self._close_truth()
        held = [region.descriptor for region in self._live.tracking.in_order()]
        self._truth = Truth(self._live.tree, [one for one in held if one is not None])
        return self._truth.tell(descriptors)

    def _close_truth(self) -> None:
        if self._truth is not None:
            self._truth.close()
            self._truth = None

    def _snapshot_now(self) -> Snapshot:
        if self._snapshot is None:
            self._snapshot = Snapshot(self._live.tree, self._live.tracking)
            self._live.tracking.note_calls(self._live.tree)
        return self._snapshot

    def _close_snapshot(self) -> None:
        self._close_truth()
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = self._scan = None

    def seal(self) -> dict[str, Any]:
        """End the workload that we started, or leave the one that we attached to.

        :raises WorkloadError: when its check command fails, or its own check of itself
        """
        live = self._live
        self._close_snapshot()
        live.stop_tracking()
        self._thaw()
        check = self._run_check()
        if not live.started:
            live.tree.detach()
            return {"exit": None, "check": check}
        self._stop()
        ending = live.tree.root_ending
        self.kill()
        return {"exit": self._judge(ending), "check": check}

    def _run_check(self) -> dict[str, Any] | None:
        live, argv = self._live, self._live.workload.check
        if argv is None:
            return None
        command = live.run_command(argv)
        live.loop.wait_until(command.done, live.workload.timeout)
        command.stop()
        if command.ending is None or command.ending.code != 0:
            raise command_failed("the check", argv, command.ending, live.command_output)
        return {"argv": list(argv), "exit_code": 0}

    def _stop(self) -> None:
        """Ask the workload to end, and give it time."""
        live = self._live
        if live.asks_for_steps:
            live.steps.stop()
        else:
            self._signal_root(self._stop_signal())
        live.loop.wait_until(live.gone, live.workload.stop_grace)

    def _stop_signal(self) -> int:
        return int(signal.Signals[f"SIG{self._live.workload.stop_signal}"])

    def _signal_root(self, number: int) -> None:
        pid = self._live.tree.root_pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def _judge(self, ending: Ending | None) -> dict[str, Any]:
        """Raise unless the workload ended well, or by the signal that asked it to end."""
        live, asked = self._live, self._stop_signal()
        if ending is not None and (ending.code in {0, 128 + asked} or ending.signal == asked):
            return {"code": ending.code, "signal": ending.signal}
        what = describe_ending(ending) if ending else "did not end and had to be killed"
        raise WorkloadError(
            f"workload {live.workload.name} {what} when it was asked to stop"
            f"{last_output(live.output)}; its output is in {live.output}"
        )

    def release(self, *, stop: bool) -> dict[str, Any]:
        """Let the workload go on without us, or ``stop`` it if we started it.

        :raises WorkloadError: when it does not end well, or is not ours to stop
        """
        live = self._live
        if not stop:
            live.stop_tracking()
            live.tree.detach()
            return {"exit": None}
        if not live.started:
            raise WorkloadError(
                f"workload {live.workload.name} was not started by its keeper, which does not stop "
                f"it; release it, and end process {live.tree.root_pid} yourself"
            )
        return self.seal()

    def kill(self) -> None:
        """Kill what is left of a workload that we started."""
        for pid in list(self._live.tree.processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def abandon(self, *, spare: bool = False) -> None:
        """Leave in a hurry: kill what we started, but for what is to be spared; let go all else."""
        live = self._live
        live.stop_commands()
        self._close_snapshot()
        live.stop_tracking()
        if live.started and not spare:
            self.kill()
        else:
            live.tree.detach()
