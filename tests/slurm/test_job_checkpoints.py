"""An MPI program as a batch job, with checkpoints: Open MPI's ranks share a window of memory."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cluster import wait_for
from documented import documented

from tidemark.restore.files import restore_files

if TYPE_CHECKING:
    from cluster import Cluster

SOURCE = Path(__file__).parent / "programs" / "window.c"
RANKS, PAGES, ROUNDS, CODE = 4, 64, 300, 3
PAGE_WORDS, STRIDE, TURNS = 512, 3, 4
SUBMIT = documented("sbatch --partition=main --nodes=1")
ANNOUNCED = "checkpoints"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Compile the program; return the directory that it is in."""
    compiler = shutil.which("mpicc")
    if compiler is None:
        pytest.skip("Open MPI is not installed: tools/debian-packages.sh slurm")
    subprocess.run([compiler, "-O1", "-o", tmp_path / "window", SOURCE], check=True)
    solver = tmp_path / "solver"
    solver.write_text(f"#!/bin/sh\nexec ./window {PAGES} {ROUNDS} {CODE} go\n")
    solver.chmod(0o755)
    return tmp_path


def window() -> bytes:
    """Return what the window holds after the last round."""
    content = bytearray()
    for rank in range(RANKS):
        for page in range(PAGES):
            last = ROUNDS - (ROUNDS - page) % TURNS
            words = [(rank << 32) + last if word % STRIDE == 0 else 0 for word in range(PAGE_WORDS)]
            content += struct.pack(f"={PAGE_WORDS}Q", *words)
    return bytes(content)


def submit(cluster: Cluster, program: Path, name: str, words: list[str], *options: str) -> int:
    """Submit the program, with checkpoints to the directory ``name``."""
    as_root = "--export=ALL,OMPI_ALLOW_RUN_AS_ROOT=1,OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
    more = ("--mem=1000", f"--output={name}.log", as_root, *options)
    return cluster.submit(*words[1:], *more, cwd=program)


def is_done(program: Path, name: str) -> bool:
    """Return whether the program has done all of its rounds."""
    log = program / f"{name}.log"
    return log.exists() and "done\n" in log.read_text()


def images(directory: Path) -> list[Path]:
    """Return the checkpoints in a directory, the last one last."""
    return [path.parent for path in sorted(directory.glob("*/image/manifest.json"))]


def test_an_mpi_job_is_checkpointed_on_a_schedule_and_before_its_end(
    cluster: Cluster, program: Path
) -> None:
    often = [
        word.replace("10m --keep 3 --to checkpoints", "500ms --to scheduled") for word in SUBMIT
    ]
    scheduled = submit(cluster, program, "scheduled", often)
    # Its last 58 seconds are announced, which are nearly all that it has.
    soon = ("--time=1", "--signal=B:USR1@58")
    announced = submit(cluster, program, ANNOUNCED, SUBMIT, *soon)
    wait_for(lambda: is_done(program, "scheduled"), "its last round")
    wait_for(lambda: is_done(program, ANNOUNCED), "its last round")
    known = {name: len(images(program / name)) for name in ("scheduled", ANNOUNCED)}
    wait_for(lambda: len(images(program / "scheduled")) > known["scheduled"] + 1, "two more")
    wait_for(lambda: images(program / ANNOUNCED), "the announcement")
    (program / "go").touch()
    for number in (scheduled, announced):
        job = cluster.finish(number)
        assert (job["JobState"], job["ExitCode"]) == ("FAILED", f"{CODE}:0"), job
    last = images(program / "scheduled")[known["scheduled"] + 1]
    restored = [path.read_bytes() for path in restore_files(last, program / "restored")]
    assert any(window() in content for content in restored)
    for name in ("scheduled", ANNOUNCED):
        for image in images(program / name):
            checked = cluster.run("tidemark", "fsck", image, cwd=program)
            assert checked.returncode == 0, checked.stdout
