"""A workload as its jobs know it: resolved, plain and quick to read.

The config's models stay where the run is planned. Each of a run's many short jobs gets its
workload as JSON, and pays for no more than the standard library to read it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

HOLD_SECONDS = 30.0
"""For so long a workload may stand because of a checkpoint, whatever we or a client do."""


@dataclass(frozen=True)
class Advance:
    """What the workload does in an epoch; exactly one of these is not None."""

    steps: int | None
    seconds: float | None
    command: tuple[str, ...] | None


@dataclass(frozen=True)
class Ready:
    """How it is known that the workload is ready; exactly one of these is not None."""

    step: bool | None
    output: str | None
    seconds: float | None


@dataclass(frozen=True)
class Policy:
    """What is to be compared with the parent beside what has to be, and what is an error.

    ``audit`` is the share, from 0 to 1, of the pages called clean that are compared all the same.
    """

    audit: float = 0.0
    strict: bool = False
    drop_unchanged: bool = False


@dataclass(frozen=True)
class Workload:
    """One declared program: either ``run``, or one of the two ways to name what to attach to.

    ``ready`` is None where the config does not say: the first step of a workload that advances by
    steps, and the first shared memory of any other. ``hold`` is for how many seconds it may stand
    because of a checkpoint.
    """

    name: str
    run: tuple[str, ...] | None
    attach_pid: int | None
    attach_pidfile: str | None
    epochs: int
    advance: Advance
    tracker: str
    policy: Policy
    ready: Ready | None
    timeout: float
    stop_signal: str
    stop_grace: float
    check: tuple[str, ...] | None
    env: Mapping[str, str]
    stand: float = 2.0
    """For how many seconds processes may stand while they are attached to."""
    hold: float = HOLD_SECONDS

    @classmethod
    def from_json(cls, text: str) -> Workload:
        """Return the workload that ``Config.workload_json`` wrote.

        :raises KeyError: when ``text`` is from another version, and lacks something
        """
        value = json.loads(text)
        attach = value["attach"] or {"pid": None, "pidfile": None}
        advance, ready = value["advance"], value["ready"]
        return cls(
            name=value["name"],
            run=_words(value["run"]),
            attach_pid=attach["pid"],
            attach_pidfile=attach["pidfile"],
            epochs=value["epochs"],
            advance=Advance(advance["steps"], advance["seconds"], _words(advance["command"])),
            tracker=value["tracker"],
            policy=Policy(value["audit"], value["strict"], value["drop_unchanged"]),
            ready=Ready(**ready) if ready else None,
            timeout=value["timeout"],
            stop_signal=value["stop"]["signal"],
            stop_grace=value["stop"]["grace"],
            check=_words(value["check"]),
            env=value["env"],
            stand=value.get("stand", cls.stand),
            hold=value.get("hold", HOLD_SECONDS),
        )

    def to_json(self) -> str:
        """Return what :meth:`from_json` reads."""
        attach = {"pid": self.attach_pid, "pidfile": self.attach_pidfile}
        value = {
            "name": self.name,
            "run": self.run,
            "attach": attach if self.run is None else None,
            "epochs": self.epochs,
            "advance": vars(self.advance),
            "tracker": self.tracker,
            **vars(self.policy),
            "ready": self.ready and vars(self.ready),
            "timeout": self.timeout,
            "stop": {"signal": self.stop_signal, "grace": self.stop_grace},
            "check": self.check,
            "env": dict(self.env),
            "stand": self.stand,
            "hold": self.hold,
        }
        return json.dumps(value)


def _words(value: Any) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)
