"""A keeper with actors for a workload, taken through epochs step by step.

Every epoch goes through the steps of a run, on files: clear, advance, collect, merge, dump. When
it is over, the oracle tells whether a page changed that is neither dirty nor suspect; when the
test is over, each dump is restored and verified. So every test is one of both, whatever else
it asserts.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import oracle
import system
from actors import Actor, Hall

from results import Epoch, read_results
from tidemark.errors import TidemarkError
from tidemark.files import read_json, write_json
from tidemark.keeper.client import Client, error_of
from tidemark.keeper.launch import launch
from tidemark.steps import live
from tidemark.steps.collect import collect
from tidemark.steps.dump import Targets, dump
from tidemark.steps.merge import merge
from tidemark.steps.restore import restore
from tidemark.steps.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future


NOBODY = 65534 - 2 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""A user without any privilege, and without processes of other tests."""
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
_LAUNCH = """
import json, pathlib, sys
from tidemark.errors import TidemarkError
from tidemark.keeper.launch import launch
try:
    answer = launch(sys.stdin.read(), pathlib.Path(sys.argv[1]), *sys.argv[2:])
except TidemarkError as error:
    answer = {"error": str(error), "exit_code": error.exit_code}
print(json.dumps(answer))
"""


class HasPid(Protocol):
    """A process."""

    pid: int


class Stage:
    """One workload, its keeper, and a directory for their files."""

    def __init__(
        self,
        directory: Path,
        actor: Path,
        mark: str,
        user: Sequence[str] = (),
        python: str = sys.executable,
    ) -> None:
        self.directory = directory
        self.hall = Hall()
        self.keeper: dict[str, Any] = {}
        self.epochs: list[Epoch] = []
        self.declared: dict[str, object] = {}
        self.words: tuple[str, ...] = ()  # of the keeper's command line
        self.before_dump: Callable[[], None] = lambda: None
        self._actor = actor
        self._mark = mark
        self.user = user
        self._python = python
        self._gate_path = directory / "gate"
        os.mkfifo(self._gate_path, 0o666)
        self._gate_path.chmod(0o666)
        self._gate = os.open(self._gate_path, os.O_RDWR | os.O_CLOEXEC)
        self._helper = ThreadPoolExecutor(2)
        self._launched: Future[dict[str, Any]] | None = None
        self._root: Actor | None = None
        self._numbers = itertools.count()
        self._programs: list[subprocess.Popen[bytes]] = []

    # The workload

    def workload(self, **changes: object) -> str:
        """Return a declaration as the keeper reads it."""
        value: dict[str, Any] = {
            "name": "stage",
            "run": None,
            "attach": None,
            "epochs": 9,
            "advance": {"steps": None, "seconds": None, "command": self.gate_command()},
            "tracker": "uffd-wp",
            "audit": 0.0,
            "strict": False,
            "drop_unchanged": False,
            "ready": None,
            "timeout": system.PATIENCE,
            "stop": {"signal": "TERM", "grace": 10.0},
            "check": None,
            "env": {},
        }
        return json.dumps(value | self.declared | changes)

    def gate_command(self) -> list[str]:
        """Return the advance command that runs until the test opens the gate."""
        return ["/bin/sh", "-c", 'read go < "$0"', str(self._gate_path)]

    def actor_command(self, name: str) -> list[str]:
        """Return the command of an actor that introduces itself by ``name``."""
        return [str(self._actor), self.hall.name, name]

    def start(self, **changes: object) -> Actor:
        """Have a keeper start an actor, which is not ready before :meth:`ready`."""
        name = self.hall.new_name()
        ready = {"step": None, "output": "^ready$", "seconds": None}
        declared = {"run": self.actor_command(name), "ready": ready} | changes
        self._launched = self._helper.submit(self._launch, self.workload(**declared))
        self._root = self.hall.meet(name, self._raise_if_launched)
        return self._root

    def _raise_if_launched(self) -> None:
        if self._launched is not None and self._launched.done():
            self._launched.result()

    def ready(self) -> None:
        """Have the actor say that it is ready, and wait until the keeper has it frozen.

        :raises TidemarkError: what the keeper says instead
        """
        assert self._root is not None
        self._root.charge("print", "ready")  # it may be frozen before it can answer
        self.launched()

    def launched(self) -> None:
        """Wait until the keeper has the workload frozen.

        :raises TidemarkError: what the keeper says instead
        """
        assert self._launched is not None
        self._keep(self._launched.result())

    def baseline(self) -> None:
        """Be ready, and go through a first epoch in which nothing happens."""
        self.ready()
        with self.epoch():
            pass

    def program(self, *, prefix: Sequence[str] = (), **options: Any) -> Actor:
        """Start an actor that no keeper knows."""
        name = self.hall.new_name()
        command = [*prefix, *self.actor_command(name)]
        self._programs.append(subprocess.Popen(command, start_new_session=True, **options))
        return self.hall.meet(name)

    def attach(self, actor: HasPid, **changes: object) -> None:
        """Have a keeper attach to an actor.

        :raises TidemarkError: what the keeper says instead
        """
        declared = {"attach": {"pid": actor.pid, "pidfile": None}} | changes
        self.launch(**declared)

    def launch(self, **changes: object) -> None:
        """Start a keeper with any declaration."""
        self._keep(self._launch(self.workload(**changes)))

    def _launch(self, workload: str) -> dict[str, Any]:
        if not self.user:
            return dict(launch(workload, self.directory, *self.words))
        command = [*self.user, self._python, "-c", _LAUNCH, str(self.directory), *self.words]
        done = subprocess.run(
            command, input=workload, stdout=subprocess.PIPE, text=True, check=True
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        if "error" in answer:
            raise error_of(answer)
        return answer

    def _keep(self, keeper: dict[str, Any]) -> None:
        self.keeper = keeper
        write_json(self.keeper_json, keeper)

    @property
    def keeper_json(self) -> Path:
        """The file that names the keeper."""
        return self.directory / "keeper.json"

    # Steps

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Connect to the keeper, which stays when the step fails."""
        with Client(self.keeper_json) as client:
            yield client

    def ask(self, step: str, **arguments: object) -> dict[str, Any]:
        """Ask the keeper for one step."""
        with self.client() as client:
            answer, descriptors = client.ask(step, **arguments)
        for descriptor in descriptors:
            os.close(descriptor)
        return answer

    def begin(self, step: str, **arguments: object) -> Future[dict[str, Any]]:
        """Ask the keeper for a step that takes its time."""
        return self._helper.submit(self.ask, step, **arguments)

    def runs(self) -> bool:
        """Return whether the workload runs."""
        return all(system.state(actor.tid) not in "tT" for actor in self.hall.actors())

    def open_gate(self) -> None:
        """End the advance command."""
        os.write(self._gate, b"go\n")

    def path(self, epoch: int, name: str) -> Path:
        """Return the path of an epoch's file."""
        directory = self.directory / f"e{epoch}"
        directory.mkdir(exist_ok=True)
        return directory / name

    @contextmanager
    def epoch(self, *, judged: bool = True) -> Iterator[Epoch]:
        """Take the workload through an epoch; what the test does within happens in it."""
        epoch = Epoch(len(self.epochs))
        live.clear(self.keeper_json, epoch.number, self.path(epoch.number, "clear.json"))
        advance = self._helper.submit(
            live.advance, self.keeper_json, epoch.number, self.path(epoch.number, "advance.json")
        )
        try:
            yield epoch
        finally:
            self.open_gate()
            advance.result()
        self._finish(epoch)
        if judged:
            epoch.judge(self.epochs[-1] if self.epochs else None)
        self.epochs.append(epoch)

    def testified(self, epoch: Epoch) -> bool:
        """Return whether the kernel testified to what was done to regions."""
        return bool(read_json(self.path(epoch.number, "clear.json"))["testimony"] == "yes")

    def _finish(self, epoch: Epoch) -> None:
        number = epoch.number
        epoch.advance = read_json(self.path(number, "advance.json"))
        collect(self.keeper_json, number, self.path(number, "scan.pb"))
        merge(self.path(number, "scan.pb"), self.path(number, "bitmap.pb"))
        epoch.regions = read_results(self.path(number, "scan.pb"), self.path(number, "bitmap.pb"))
        parent = self.path(number - 1, "image") if number else None
        targets = Targets(*(self.path(number, n) for n in ("image", "layout.json", "truth.json")))
        self.before_dump()
        dump(self.keeper_json, number, self.path(number, "bitmap.pb"), parent, targets)
        with self.client() as client:
            answer, descriptors = client.ask("open", epoch=number)
        try:
            keeper = self.keeper["pid"]
            found = oracle.look(answer, descriptors, keeper, only_shown=bool(self.user))
            epoch.content, epoch.left_out = found.contents, found.left_out
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def manifest(self, epoch: int) -> dict[str, Any]:
        """Return what the manifest of an epoch's image says of the one region."""
        return self.manifest_of(self.path(epoch, "image"))

    @staticmethod
    def manifest_of(image: Path) -> dict[str, Any]:
        """Return what the manifest of an image says of the one region."""
        (region,) = read_json(image / "manifest.json")["regions"]
        return dict(region)

    def kill(self, actor: Actor) -> None:
        """Kill an actor's process."""
        system.kill(actor.pid)

    def verify_all(self) -> list[dict[str, Any]]:
        """Restore and verify the dumps of all epochs; return what each verification found."""
        found = []
        for epoch in self.epochs:
            path, before = epoch.number, epoch.number - 1
            target = self.path(path, "restored")
            restore(self.path(path, "image"), self.path(path, "layout.json"), target)
            truth_before = self.path(before, "truth.json") if epoch.number else None
            result = self.path(path, "verify.json")
            verify(
                target,
                self.path(path, "image"),
                self.path(path, "truth.json"),
                truth_before,
                result,
            )
            found.append(read_json(result))
        return found

    def shm_path(self) -> str:
        """Return a name in /dev/shm for a POSIX object, which is removed in the end."""
        return f"/dev/shm/{self.hall.name}-{next(self._numbers)}"  # noqa: S108 - unguessable

    @staticmethod
    def write_memory(pid: int, address: int, data: bytes) -> None:
        """Write into the memory of a process from outside."""
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(address)
            memory.write(data)

    def forget(self) -> None:
        """Begin anew: the next epoch is the first one of another keeper."""
        self.epochs = []
        for entry in self.directory.glob("e[0-9]*"):
            shutil.rmtree(entry)

    # The end

    @contextmanager
    def keeper_held(self) -> Iterator[None]:
        """Have the keeper do nothing meanwhile."""
        system.kill(self.keeper["pid"], signal.SIGSTOP)
        try:
            yield
        finally:
            system.kill(self.keeper["pid"], signal.SIGCONT)

    def stop(self) -> None:
        """Tell the keeper to end, and wait until it has."""
        with contextlib.suppress(TidemarkError):
            self.ask("stop")
        self.wait_for_keeper()

    def wait_for_keeper(self) -> None:
        """Wait until the keeper has ended."""
        pid = self.keeper["pid"]
        system.wait_until(lambda: not system.is_alive(pid), "the keeper's end")
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)

    def check_end(self) -> None:
        """End the keeper: nothing is left of what it started, and all runs that it did not."""
        if system.is_alive(self.keeper["pid"]):
            self.stop()
        ours = {program.pid for program in self._programs}
        if not ours:
            self.check_nothing_left()
        for pid in self.left_over():
            assert system.status(pid, "TracerPid") == "0"
            assert system.state(pid) not in "tT"

    def check_nothing_left(self) -> None:
        """Wait until no process of this test runs any more; fail the test when one stays."""
        system.wait_until(lambda: not self.left_over(), "the end of all processes")

    def left_over(self) -> list[int]:
        """Return the processes of this test that still run."""
        return system.marked(self._mark)

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        for pid in self.left_over():
            system.kill(pid)
        self.hall.close()
        self.open_gate()
        self._helper.shutdown()
        if self.keeper:
            self.wait_for_keeper()
        for program in self._programs:
            program.kill()
            program.wait()
        self.check_nothing_left()
        os.close(self._gate)
        for path in Path("/dev/shm").glob(f"{self.hall.name}-*"):  # noqa: S108 - our own
            path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
