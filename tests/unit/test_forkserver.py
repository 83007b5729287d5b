"""tidemark-step: the same as a Python of one's own, though a server forks it."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tidemark.keeper.launch import OWNER_VARIABLE
from tidemark.steps.forkserver import NAME_VARIABLE, SCRIPTS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STEP = str(Path(sys.executable).with_name("tidemark-step"))
TELL = """
import os, sys
print(sys.argv[1:], os.environ.get("SAID"), os.getcwd(), __name__, os.getppid(), sys.stdin.read())
sys.stderr.write("beside\\n")
"""
PATIENCE = 60.0
ACCEPTS = "00010000"
"""The flag of a socket that listens in /proc/net/unix; what it has accepted has its name, too."""


class Server(NamedTuple):
    """A fork server: its process, and what a client finds it by."""

    process: subprocess.Popen[bytes]
    environment: Mapping[str, str]

    def step(self, script: Path, *words: str | bytes, **options: object) -> subprocess.Popen[str]:
        """Start a client."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        given = {"env": self.environment, "text": True, **pipes, **options}
        return subprocess.Popen([STEP, str(script), *words], **given)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "infinity"]) as process:
        yield process
        process.kill()


@pytest.fixture
def server(tmp_path: Path, owner: subprocess.Popen[bytes]) -> Iterator[Server]:
    environment = _environment(tmp_path, owner.pid)
    with _serve(environment) as process:
        yield Server(process, environment)
        process.kill()


def _environment(directory: Path, owner: int) -> dict[str, str]:
    scripts = directory / "scripts"
    scripts.mkdir()
    (scripts / "loaded.py").write_text("from tidemark.steps import merge")
    (directory / "tell.py").write_text(TELL)
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        NAME_VARIABLE: f"tidemark-test-{uuid.uuid4().hex}",
        OWNER_VARIABLE: str(owner),
        SCRIPTS_VARIABLE: str(scripts),
    }


def _serve(environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a server as a client does, but wait for it as a parent."""
    command = [sys.executable, "-P", "-m", "tidemark.steps.forkserver"]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{environment[NAME_VARIABLE]}")
        listener.listen()
        number = listener.fileno()
        redirect = f"exec {shlex.join(command)}" + (f" 3<&{number}-" if number != 3 else "")
        return subprocess.Popen(["bash", "-c", redirect], env=environment, pass_fds=[number])


def _listens(name: str) -> bool:
    lines = Path("/proc/net/unix").read_text().splitlines()
    return any(line.endswith(f"@{name}") and f" {ACCEPTS} " in line for line in lines)


def _wait_until(true: object) -> None:
    end = time.monotonic() + PATIENCE
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def _script(directory: Path, text: str) -> Path:
    path = directory / "script.py"
    path.write_text(text)
    return path


def test_a_script_finds_words_environment_directory_and_streams_of_its_client(
    server: Server, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    client = server.step(
        tmp_path / "tell.py",
        "",
        "two\nlines",
        "a=b",
        cwd=there,
        env={**server.environment, "SAID": "x=y"},
    )
    out, err = client.communicate("in")
    assert out.split("\n") == [
        f"['', 'two\\nlines', 'a=b'] x=y {there} __main__ {server.process.pid} in",
        "",
    ]
    assert (err, client.returncode) == ("beside\n", 0)


def test_words_need_not_be_text(server: Server, tmp_path: Path) -> None:
    script = _script(tmp_path, "import os, sys; print(os.fsencode(sys.argv[1]))")
    assert server.step(script, b"\xff").communicate()[0] == "b'\\xff'\n"


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('why')", 1, "why\n"),
        ("raise KeyError('lost')", 1, "KeyError: 'lost'\n"),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("pass", 0, ""),
    ],
)
def test_the_end_of_a_client_is_that_of_its_script(
    server: Server, tmp_path: Path, text: str, code: int, says: str
) -> None:
    client = server.step(_script(tmp_path, text))
    assert client.communicate()[1].endswith(says)
    assert client.returncode == code


WAITS = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_a_client_is_its_scripts(
    server: Server, tmp_path: Path, number: signal.Signals
) -> None:
    client = server.step(_script(tmp_path, WAITS))
    assert client.stdout
    client.stdout.readline()
    client.send_signal(number)
    client.communicate()
    assert client.returncode == -number


def test_an_interrupt_is_an_exception_of_the_script(server: Server, tmp_path: Path) -> None:
    client = server.step(_script(tmp_path, WAITS))
    assert client.stdout
    client.stdout.readline()
    client.send_signal(signal.SIGINT)
    assert client.communicate()[1].endswith("KeyboardInterrupt\n")


def test_a_script_is_killed_with_its_client(server: Server, tmp_path: Path) -> None:
    client = server.step(_script(tmp_path, WAITS))
    assert client.stdout
    child = os.pidfd_open(int(client.stdout.readline()))
    client.kill()
    client.communicate()
    _wait_until(lambda: _ended(child))
    os.close(child)


def test_a_server_ends_with_its_owner_when_no_script_runs(
    server: Server, owner: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    script = _script(tmp_path, "print('begun', flush=True); input(); print('done')")
    client = server.step(script)
    assert client.stdout
    client.stdout.readline()
    owner.kill()
    _wait_until(lambda: not _listens(server.environment[NAME_VARIABLE]))
    assert server.process.poll() is None
    assert client.communicate("\n")[0] == "done\n"
    assert server.process.wait(PATIENCE) == 0


def test_where_the_server_is_killed_the_client_says_so(server: Server, tmp_path: Path) -> None:
    client = server.step(_script(tmp_path, WAITS))
    assert client.stdout
    child = os.pidfd_open(int(client.stdout.readline()))
    server.process.kill()
    assert client.communicate()[1] == (
        f"tidemark: error: the fork server ended before {tmp_path / 'script.py'} did; run again\n"
    )
    assert client.returncode == 1
    _wait_until(lambda: _ended(child))
    os.close(child)


def test_an_owner_ends_its_server_and_waits_for_it(tmp_path: Path) -> None:
    owner = (
        "import os, subprocess, sys; from tidemark.steps.forkserver import end;"
        f"os.environ['{OWNER_VARIABLE}'] = str(os.getpid());"
        f"subprocess.run(['{STEP}', sys.argv[1]]); subprocess.run(['{STEP}', sys.argv[1]]);"
        f"end(os.environ['{NAME_VARIABLE}']);"
        f"print(sys.argv[2] in open('/proc/net/unix').read())"
    )
    environment = _environment(tmp_path, 0)
    script = _script(tmp_path, "import os; print(os.getppid(), flush=True)")
    command = [sys.executable, "-c", owner, str(script), environment[NAME_VARIABLE]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    asked, served, left = done.stdout.split()
    assert asked != served
    assert left == "False"


def test_a_server_that_cannot_begin_is_done_without(tmp_path: Path) -> None:
    environment = _environment(tmp_path, 0)
    (tmp_path / "scripts" / "loaded.py").write_text("raise SystemExit")
    command = [STEP, str(_script(tmp_path, "print('done')"))]
    runs = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [run.communicate()[0] for run in runs] == ["done\n"] * 3


def test_without_a_server_a_client_is_a_python_and_starts_one(
    tmp_path: Path, owner: subprocess.Popen[bytes]
) -> None:
    environment = _environment(tmp_path, owner.pid)

    def said() -> str:
        command = [STEP, str(tmp_path / "tell.py")]
        done = subprocess.run(
            command, env=environment, input="", capture_output=True, text=True, check=True
        )
        return done.stdout

    assert f" {os.getpid()} " in said()
    _wait_until(lambda: _listens(environment[NAME_VARIABLE]))
    assert f" {os.getpid()} " not in said()
    owner.kill()
    _wait_until(lambda: not _listens(environment[NAME_VARIABLE]))


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_another_users_server_is_not_asked(server: Server, tmp_path: Path) -> None:
    script = _script(tmp_path, "import os; print(os.getppid())")
    (tmp_path / "python").symlink_to("/usr/bin/python3")  # which that user can read
    for path in (script, *script.parents):
        if path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    environment = {**server.environment, "PATH": str(tmp_path)}
    client = server.step(script, user=65534, env=environment, stderr=subprocess.DEVNULL)
    assert client.communicate()[0] == f"{os.getpid()}\n"


def _ended(pidfd: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return True
    return False
