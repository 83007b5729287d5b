"""What a program can notice of being kept: docs/effects.md has them all."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import struct
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from stage import AS_NOBODY, NOBODY
from system import descriptors, maps, state, status, wait_until
from test_calls import result_of

from tidemark.errors import AttachError
from tidemark.keeper.programs import what_suffers

if TYPE_CHECKING:
    from actors import Actor, Window
    from stage import Stage

GUARD_INSTALL = 102
PAGE = 4096


def kept(stage: Stage, tracker: str = "uffd-wp") -> tuple[Actor, Window]:
    stage.declared = {"tracker": tracker}
    leader = stage.program()
    window = leader.anonymous(16)
    leader.fill(window)
    stage.attach(leader)
    with stage.epoch():
        pass
    return leader, window


def test_memory_has_the_access_time_that_it_had(stage: Stage) -> None:
    leader = stage.program()
    handle = leader.memfd(8)
    window = leader.map(handle, 8)
    leader.fill(window)
    path = f"/proc/{leader.pid}/fd/{handle}"
    before = os.stat(path).st_atime_ns  # noqa: PTH116 - a link of /proc
    stage.attach(leader)
    for page in (1, 2):
        with stage.epoch():
            leader.store(window, page)
    assert before - 1 <= os.stat(path).st_atime_ns <= before  # noqa: PTH116
    stage.stop()
    assert os.stat(path).st_atime_ns == before  # noqa: PTH116


def test_memory_can_be_guarded(stage: Stage) -> None:
    leader, window = kept(stage)
    with stage.epoch():
        leader.begin("call", "madvise", window.at(4), 2 * PAGE, GUARD_INSTALL)
        time.sleep(0.1)
    with stage.epoch() as epoch:
        result = result_of(leader)
        if result == -errno.EINVAL:
            pytest.skip("the kernel does not guard shared memory")
        leader.store(window, 9)
    assert result == 0
    assert 9 in epoch.region.dirty | epoch.region.suspect


def test_a_program_gets_the_userfaultfd_that_it_may_want(stage: Stage) -> None:
    leader, window = kept(stage, "auto")
    with stage.epoch() as epoch:
        leader.ask("protect_itself", window.address, window.bytes)
        leader.store(window, 3)
    assert any("userfaultfd of its own" in reason for reason in epoch.region.reasons)
    assert 3 in epoch.region.suspect


def test_it_does_not_get_it_where_the_tracker_was_asked_for(stage: Stage) -> None:
    leader, window = kept(stage, "uffd-wp")
    with stage.epoch() as epoch:
        with pytest.raises(OSError, match="busy"):
            leader.ask("protect_itself", window.address, window.bytes)
        leader.store(window, 3)
    assert 3 in epoch.region.dirty


def test_a_program_without_a_free_descriptor_is_kept(stage: Stage) -> None:
    leader = stage.program()
    window = leader.anonymous(16)
    leader.fill(window)
    number = max(map(int, os.listdir(f"/proc/{leader.pid}/fd"))) + 1  # noqa: PTH208
    while len(descriptors(leader.pid)) < number:
        leader.call("dup", 0)
    resource.prlimit(leader.pid, resource.RLIMIT_NOFILE, (number, number))
    stage.attach(leader)
    with stage.epoch():
        pass
    with stage.epoch() as epoch:
        leader.store(window, 3)
    assert any("no descriptor left" in reason for reason in epoch.region.reasons)
    assert 3 in epoch.region.suspect


def test_a_program_of_32_bits_is_kept(stage: Stage) -> None:
    with of_32_bits(stage.directory) as program:
        stage.attach(Running(program.pid))
        for _ in range(2):
            with stage.epoch() as epoch:
                before = words_of(program.pid)[0]
                wait_until(partial(has_gone_on, program.pid, before), "it goes on")
            assert 0 in epoch.region.suspect
        stage.stop()
        assert words_of(program.pid)[1:] == (0, 0), "no call was ended"
        program.kill()


def has_gone_on(pid: int, before: int) -> bool:
    return words_of(pid)[0] > before


@dataclass
class Running:
    """What is to be attached to."""

    pid: int


def of_32_bits(directory: Path) -> subprocess.Popen[bytes]:
    source, program = Path(__file__).parent / "programs/bits32/program.c", directory / "program"
    flags = ["-m32", "-nostdlib", "-static", "-O1", "-fno-stack-protector", "-fno-pie", "-no-pie"]
    built = subprocess.run(["cc", *flags, "-o", program, source], check=False)
    if built.returncode != 0:
        pytest.skip("the compiler makes no 32-bit programs")
    process = subprocess.Popen([program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def words_of(pid: int) -> tuple[int, int, int]:
    (line,) = (line for line in maps(pid).splitlines() if "/dev/zero" in line)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 - a seekable one
        memory.seek(int(line.partition("-")[0], 16))
        first, second, third = struct.unpack("<3i", memory.read(12))
    return first, second, third


def test_who_would_stand_for_too_long_is_not_attached_to(stage: Stage) -> None:
    leader = stage.program()
    leader.fill(leader.anonymous(16))
    with pytest.raises(AttachError, match=r"than the 1e-06 s for which .* nothing was changed"):
        stage.attach(leader, stand=1e-6)
    wait_until(lambda: status(leader.pid, "TracerPid") == "0", "it is let go")
    assert state(leader.pid) in "SR"
    leader.fill(leader.anonymous(4))


def sleeper(directory: Path, name: str) -> Path:
    """Return a program of that name, which sleeps."""
    found = shutil.which("sleep")
    assert found is not None
    return Path(shutil.copy(found, directory / name))


def running(program: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([program, "60"])
    wait_until(lambda: os.readlink(f"/proc/{process.pid}/exe") == str(program), "it runs")  # noqa: PTH115
    return process


def test_it_is_said_that_a_debugger_cannot_trace_what_is_kept(tmp_path: Path) -> None:
    with running(sleeper(tmp_path, "gdb")) as process:
        sentence = what_suffers(process.pid) or ""
        process.kill()
    assert "(gdb) traces others, which it cannot while they are kept" in sentence


def test_it_is_said_that_a_program_does_not_get_rights_from_its_file(bare_plain: Stage) -> None:
    program = sleeper(bare_plain.directory, "program")
    os.chown(program, NOBODY, NOBODY)
    program.chmod(0o4755)
    code = "import subprocess, sys; from tidemark.keeper.programs import what_suffers; "
    code += "process = subprocess.Popen([sys.argv[1], '60']); "
    code += "print(what_suffers(process.pid)); process.kill()"
    words = [*AS_NOBODY, bare_plain._python, "-c", code, str(program)]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert "runs a program whose file gives it rights" in said
