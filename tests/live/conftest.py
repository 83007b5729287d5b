"""What the live tests have in common: the actor program, and a stage that leaves nothing behind."""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kept import Kept
from stage import AS_NOBODY, NOBODY, Stage
from system import SLOWNESS
from users import python_for_all

from tidemark.keeper import pins
from tidemark.keeper.vouching import SWITCH
from tidemark.native.probe import probe_tracker

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

DEADLINE = int(30 * SLOWNESS)
PROGRAMS = Path(__file__).parent / "programs"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.live)


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """End a test that hangs: what it waits for is a bug, and the others have to run."""

    def end(*_: object) -> None:
        raise TimeoutError(f"this test took longer than {DEADLINE} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(DEADLINE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def actor_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    directory = tmp_path_factory.mktemp("programs")
    sources = sorted(PROGRAMS.glob("*.c"))
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]
    subprocess.run([compiler, *flags, "-o", directory / "actor", *sources], check=True)
    return directory / "actor"


@functools.cache
def lacking() -> str | None:
    """Return why this machine cannot track writes; None where it can."""
    return probe_tracker("uffd-wp")


@pytest.fixture
def root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can do this")


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what all processes of this test have in their environment."""
    mark = f"TIDEMARK_TEST={secrets.token_hex(8)}"
    monkeypatch.setenv(*mark.split("="))
    monkeypatch.setenv("TIDEMARK_OWNER_PID", str(os.getpid()))
    # Whether the kernel testifies is nothing to leave to chance: most is tested without.
    monkeypatch.setenv(SWITCH, os.environ.get(SWITCH, "off"))
    # What another test has pinned would make suspect what this one writes.
    monkeypatch.setenv(pins.SWITCH, os.environ.get(pins.SWITCH, "off"))
    return mark


@pytest.fixture
def bare_stage(actor_program: Path, tmp_path: Path, mark: str) -> Iterator[Stage]:
    """Return a stage for a test that says itself which tracker it needs."""
    with Stage(tmp_path, actor_program, mark) as stage:
        yield stage


@pytest.fixture
def tracked() -> None:
    if lacking():
        pytest.skip(f"no uffd-wp: {lacking()}")


@pytest.fixture
def stage(tracked: None, bare_stage: Stage) -> Stage:  # noqa: ARG001 - skipped before it is set
    return bare_stage


@pytest.fixture
def plain(tracked: None, bare_plain: Stage) -> Stage:  # noqa: ARG001 - skipped before it is set
    return bare_plain


@pytest.fixture
def kept(stage: Stage) -> Iterator[Kept]:
    """Return a workload that is kept; each checkpoint of it is restored in the end."""
    kept = Kept(stage)
    yield kept
    kept.check_all()


@pytest.fixture
def bare_plain(actor_program: Path, mark: str) -> Iterator[Stage]:
    """Return a stage whose keeper is run by a user without any privilege."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root with setpriv can become another user")
    directory = Path(tempfile.mkdtemp(prefix="tidemark-test-"))
    try:
        os.chown(directory, NOBODY, NOBODY)
        program = directory / "actor"
        shutil.copy(actor_program, program)
        program.chmod(0o755)
        python = python_for_all(directory)
        with Stage(directory, program, mark, AS_NOBODY, python) as stage:
            yield stage
    finally:
        shutil.rmtree(directory)


PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def verified(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Return a stage that a test leaves as it must be.

    Every dump is restored and verified. The keeper's end is that of the workload that it started,
    and none for one that it attached to.
    """
    yield stage
    if request.node.stash.get(PASSED, False):
        for found in stage.verify_all():
            assert (found["different"], found["missed"]) == (0, 0), found
            assert found["sharing"]["seen"] == found["sharing"]["of"]
        stage.check_end()
