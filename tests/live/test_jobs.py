"""``tidemark run --to DIR -- COMMAND``: the program of a batch job, with checkpoints of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING

import pytest
from system import is_alive, wait_until

from tidemark.checkpoint.series import Series
from tidemark.proc import children_of
from tidemark.restore.files import restore_files

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.live

TIDEMARK = Path(sys.executable).with_name("tidemark")
COUNTER = """
import mmap, os, signal, sys, time
memory = mmap.mmap(-1, 1 << 20)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print(os.getpid(), flush=True)
for number in range(1, 1000):
    memory[0:8] = number.to_bytes(8, "little")
    time.sleep(0.01)
"""


class Jobs:
    """Commands that run in a directory of their own, with checkpoints below it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.checkpoints = directory / "checkpoints"
        self.started: list[subprocess.Popen[str]] = []

    def command(self, *words: str, options: tuple[str, ...] = ()) -> list[str]:
        """Return the command line that runs ``words``."""
        return [str(TIDEMARK), "run", "--to", str(self.checkpoints), *options, "--", *words]

    def run(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``words`` to their end."""
        return subprocess.run(
            self.command(*words), input=given, capture_output=True, text=True, check=False
        )

    def start(self, *options: str) -> tuple[subprocess.Popen[str], int]:
        """Start the counter; return its job, and its process id."""
        job = subprocess.Popen(
            self.command(sys.executable, "-c", COUNTER, options=options),
            stdout=subprocess.PIPE,
            stderr=(self.directory / "errors").open("ab"),
            text=True,
        )
        self.started.append(job)
        return job, int(_stdout(job).readline())

    def numbers(self) -> list[int]:
        """Return the numbers of the checkpoints."""
        with Series(self.checkpoints) as series:
            return series.numbers()

    def counted(self, number: int) -> int:
        """Return what the counter had counted to at a checkpoint."""
        with TemporaryDirectory(dir=self.directory) as target:
            files = restore_files(self.checkpoints / f"{number:06d}" / "image", Path(target))
            (file,) = (path for path in files if path.stat().st_size == 1 << 20)
            return int.from_bytes(file.read_bytes()[:8], "little")

    def taken(self, count: int) -> None:
        """Wait until there are ``count`` checkpoints."""
        pattern = "*/image/manifest.json"
        wait_until(lambda: len(list(self.checkpoints.glob(pattern))) >= count, f"{count} of them")


def _stdout(job: subprocess.Popen[str]) -> IO[str]:
    assert job.stdout is not None
    return job.stdout


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    (tmp_path / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    jobs = Jobs(tmp_path)
    yield jobs
    for job in jobs.started:
        job.kill()
        job.communicate()


@pytest.mark.parametrize(
    ("words", "code"),
    [(["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137)],
)
def test_the_exit_code_of_the_program_is_passed_on(jobs: Jobs, words: list[str], code: int) -> None:
    done = jobs.run(*words)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
    assert not list((jobs.directory / "runtime").glob("tidemark/*"))


def test_the_program_has_the_streams_of_the_job(jobs: Jobs) -> None:
    done = jobs.run("sh", "-c", "cat; echo wrong >&2", given="given")
    assert (done.stdout, done.stderr) == ("given", "wrong\n")


def test_a_program_that_cannot_be_executed_is_told(jobs: Jobs) -> None:
    done = jobs.run("no-such-program")
    assert done.returncode == 4
    assert "cannot execute no-such-program" in done.stderr
    assert not list((jobs.directory / "runtime").glob("tidemark/*"))


def test_without_a_directory_or_a_command_it_says_what_lacks(jobs: Jobs) -> None:
    for words, lacks in (
        (("--every", "1s", "--", "true"), "--to DIR"),
        (("--to", "x"), "after --"),
    ):
        done = subprocess.run(
            [TIDEMARK, "run", *words],
            cwd=jobs.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, lacks in done.stderr) == (1, True)


def test_checkpoints_are_taken_on_a_schedule_while_it_runs(jobs: Jobs) -> None:
    job, _ = jobs.start("--every", "100ms", "--keep", "3")
    jobs.taken(3)
    job.send_signal(signal.SIGTERM)
    assert job.wait() == 5
    numbers = jobs.numbers()
    assert len(numbers) == 3
    counted = [jobs.counted(number) for number in numbers]
    assert counted == sorted(set(counted))


def test_the_announcement_of_the_end_takes_one_and_it_runs_on(jobs: Jobs) -> None:
    job, pid = jobs.start()
    job.send_signal(signal.SIGUSR1)
    jobs.taken(1)
    assert is_alive(pid)
    job.send_signal(signal.SIGUSR1)
    jobs.taken(2)
    assert jobs.counted(0) < jobs.counted(1)
    job.send_signal(signal.SIGTERM)
    assert job.wait() == 5
    jobs.taken(3)
    assert jobs.counted(1) < jobs.counted(2)


def test_a_job_that_is_killed_takes_its_program_along(jobs: Jobs) -> None:
    job, pid = jobs.start()
    job.kill()
    wait_until(lambda: not is_alive(pid), "its end")


def is_keeper(pid: int) -> bool:
    """Tell a keeper from the program, and from what else the keeper has started."""
    return b"tidemark.keeper.main" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_program_outlives_its_keeper_and_is_waited_for(jobs: Jobs) -> None:
    job, pid = jobs.start("--every", "50ms")
    jobs.taken(1)
    below = [grandchild for child in children_of(job.pid) for grandchild in children_of(child)]
    (keeper,) = filter(is_keeper, below)  # its watchdog stands in between
    os.kill(keeper, signal.SIGTERM)  # of no concern to it
    jobs.taken(2)
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: pid in children_of(job.pid), "its being adopted")
    assert is_alive(pid)
    job.send_signal(signal.SIGTERM)
    assert job.wait() == 5
    assert "runs on, without checkpoints" in (jobs.directory / "errors").read_text()


def test_a_checkpoint_that_fails_is_told_and_does_not_end_the_program(jobs: Jobs) -> None:
    job, pid = jobs.start("--every", "50ms")
    jobs.taken(1)
    jobs.checkpoints.rename(jobs.directory / "away")
    jobs.checkpoints.write_text("a file in its place")
    errors = jobs.directory / "errors"
    wait_until(lambda: "no checkpoint: " in errors.read_text(), "its being told")
    assert is_alive(pid)
    job.send_signal(signal.SIGTERM)
    assert job.wait() == 5
