"""The bundled programs: deterministic, obedient to the step protocol, able to find damage."""

import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

WORKLOADS = Path(__file__).parents[2] / "workloads"
PAGE = os.sysconf("SC_PAGESIZE")
OPTIONS = {
    "grid": ["--pages", "64", "--processes", "3"],
    "sparse": ["--gib", "1", "--pages", "100"],
    "views": ["--pages", "64"],
    "pyshm": ["--frames", "4", "--pages", "4", "--workers", "2"],
    "kv": ["--slots", "256"],
    "prefork": ["--pages", "64", "--workers", "4"],
}
STEPWISE = ["grid", "sparse", "views", "pyshm"]
FREE_RUNNING = ["kv", "prefork"]
PATIENCE = 60  # seconds until a test gives up on a program, not a measure of one


def command(name: str, *options: object) -> list[str]:
    return [sys.executable, str(WORKLOADS / f"{name}.py"), *OPTIONS[name], *map(str, options)]


def output(name: str, *options: object) -> str:
    done = subprocess.run(command(name, *options), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def descriptors(pid: int) -> list[str]:
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]


class Program:
    """A running program: the leader of a session of its own."""

    def __init__(self, name: str, *options: object, descriptor: int | None = None) -> None:
        step = {} if descriptor is None else {"TIDEMARK_STEP_FD": str(descriptor)}
        self.process = subprocess.Popen(
            command(name, *options),
            env=os.environ | step,
            pass_fds=[] if descriptor is None else [descriptor],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        self.pid = self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.signal_all(signal.SIGKILL)
        self.end()

    def members(self) -> dict[int, str]:
        """Return the states of the session's processes, the leader among them."""
        states = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            except OSError:  # it has gone meanwhile
                continue
            if int(session) == self.pid and state not in "ZX":
                states[int(path.parent.name)] = state
        return states

    def ready(self) -> None:
        """Wait for the line that a free-running program prints when it has begun."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def signal_all(self, number: signal.Signals) -> None:
        for pid in self.members():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def freeze(self) -> None:
        """Stop all processes, and those that were born meanwhile."""
        while set(self.members().values()) - {"T"}:
            self.signal_all(signal.SIGSTOP)

    def end(self) -> tuple[int, str, str]:
        """Return the exit code and what was written, once no process is left."""
        written, complaints = self.process.communicate(timeout=PATIENCE)
        wait_until(lambda: not self.members())
        return self.process.returncode, written, complaints

    def damage(self, addresses: list[int]) -> None:
        """Overwrite the pages at these addresses from outside."""
        assert addresses
        with Path(f"/proc/{self.pid}/mem").open("r+b", buffering=0) as memory:
            for address in addresses:
                memory.seek(address)
                memory.write(b"damaged!" * (PAGE // 8))

    def touched(self) -> list[int]:
        """Return the addresses of the shared pages that the leader has touched."""
        maps = Path(f"/proc/{self.pid}/maps").read_text()
        with Path(f"/proc/{self.pid}/pagemap").open("rb") as pagemap:
            pages = []
            for found in re.finditer(r"^(\w+)-(\w+) rw-s", maps, re.MULTILINE):
                first, end = (int(address, 16) // PAGE for address in found.groups())
                pagemap.seek(first * 8)
                entries = memoryview(pagemap.read((end - first) * 8)).cast("Q")
                pages += [(first + n) * PAGE for n, entry in enumerate(entries) if entry >> 63]
        return pages


class Stepped(Program):
    """A program whose keeper is the test."""

    def __init__(self, name: str, *options: object) -> None:
        self.line, theirs = socket.socketpair()
        self.line.settimeout(PATIENCE)
        self.theirs = str(Path(f"/proc/self/fd/{theirs.fileno()}").readlink())
        super().__init__(name, *options, descriptor=theirs.fileno())
        theirs.close()
        assert self.line.recv(1) == b"?"

    def grant(self, steps: int) -> None:
        for _ in range(steps):
            self.line.sendall(b"g")
            assert self.line.recv(1) == b"?"

    def stop(self) -> tuple[int, str, str]:
        self.line.sendall(b"s")
        return self.end()


@pytest.mark.parametrize("name", STEPWISE)
def test_content_is_a_function_of_the_seed_and_the_steps(name: str) -> None:
    once = output(name, "--digest", "--steps", 3)
    assert re.search(r"^digest \w{64}$", once, re.MULTILINE)
    assert output(name, "--digest", "--steps", 3, "--seed", 2) != once
    with Stepped(name, "--digest") as program:
        program.grant(3)
        assert program.stop() == (0, once, "")


@pytest.mark.parametrize("name", ["grid", "sparse"])
def test_content_does_not_depend_on_the_number_of_processes(name: str) -> None:
    alone = output(name, "--steps", 4, "--digest", "--processes", 1)
    assert output(name, "--steps", 4, "--digest", "--processes", 5) == alone


@pytest.mark.parametrize("name", STEPWISE)
def test_others_are_at_rest_and_strangers_to_the_keeper_while_the_leader_waits(name: str) -> None:
    with Stepped(name) as program:
        program.grant(1)
        wait_until(lambda: set(program.members().values()) == {"S"})
        holders = [pid for pid in program.members() if program.theirs in descriptors(pid)]
        assert holders == [program.pid]
        assert len(program.members()) > 1


def test_the_end_of_the_stream_stops_a_program() -> None:
    with Stepped("grid") as program:
        program.grant(2)
        program.line.close()
        assert program.end()[::2] == (0, "")


@pytest.mark.parametrize("name", STEPWISE)
def test_a_page_that_was_changed_from_outside_fails_the_check(name: str) -> None:
    with Stepped(name) as program:
        program.grant(2)
        program.damage(program.touched()[:1])
        code, _, complaint = program.stop()
        assert code == 1
        assert re.fullmatch(r"Page \d+ .*\.\n|Row \d+ .*\.\n", complaint)


def test_damage_that_a_member_finds_ends_the_program() -> None:
    with Stepped("views") as program:
        program.grant(2)
        program.damage(program.touched())
        program.line.sendall(b"g")
        code, _, complaint = program.end()
        assert code == 1
        assert re.fullmatch(r"Page \d+ has a wrong sum\.\n", complaint)


@pytest.mark.parametrize("name", OPTIONS)
def test_no_process_survives_a_leader_that_is_killed(name: str) -> None:
    with Stepped(name) if name in STEPWISE else Program(name) as program:
        if name in FREE_RUNNING:
            program.ready()
        program.process.kill()
        assert program.end()[0] == -signal.SIGKILL


@pytest.mark.parametrize("name", FREE_RUNNING)
def test_a_program_that_was_frozen_many_times_finds_all_well(name: str) -> None:
    with Program(name) as program:
        program.ready()
        for _ in range(10):
            program.freeze()
            program.signal_all(signal.SIGCONT)
        program.process.terminate()
        code, written, complaint = program.end()
        assert (code, complaint) == (0, "")
        assert written.startswith(f"{name}: ")


@pytest.mark.parametrize("name", FREE_RUNNING)
def test_damage_is_found_by_a_program_that_runs_freely(name: str) -> None:
    with Program(name) as program:
        program.ready()
        program.freeze()
        program.damage(program.touched())
        program.process.terminate()
        program.signal_all(signal.SIGCONT)
        code, _, complaint = program.end()
        assert code == 1
        assert complaint.endswith(".\n")


def test_a_torn_page_names_all_of_its_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(WORKLOADS)
    imprint = importlib.import_module("imprint")
    old, new = imprint.imprint(3, 7), imprint.imprint(11, 7)
    assert imprint.writers(new, 7) == {11}
    assert imprint.writers(new[:1000] + old[1000:], 7) == {3, 11}
    assert imprint.writers(new[:1001] + old[1001:], 7) is None
    assert imprint.writers(new, 8) is None


@pytest.mark.parametrize("name", OPTIONS)
def test_help_says_what_a_program_does_in_one_line(name: str) -> None:
    _, description, _ = output(name, "--help").split("\n\n", maxsplit=2)
    assert re.fullmatch(r"[A-Z][^\n]*\.", description)


def test_postgres_names_the_package_that_is_missing(tmp_path: Path) -> None:
    nowhere = os.environ | {"TIDEMARK_PG_BIN": str(tmp_path)}
    script = [str(WORKLOADS / "postgres.sh")]
    done = subprocess.run(script, env=nowhere, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"postgres\.sh: .* install the Debian package postgresql\.\n", done.stderr)
