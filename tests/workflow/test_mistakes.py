"""What a user's mistakes and a machine's limits come to: one sentence, and nothing left behind."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pipeline import GRID

from tidemark.locks import Lock
from tidemark.owned import OwnDirectory
from tidemark.workflow import RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline import Pipeline, Run

pytestmark = pytest.mark.live

SECOND = {"seconds": 0.1}


def sentence(run: Run) -> str:
    """Return the one error line of a run, which had no traceback of ours."""
    lines = [line for line in run.output.splitlines() if line.startswith("tidemark: error: ")]
    assert len(lines) == 1, run.output
    assert "Traceback" not in run.output
    return lines[0]


def failed(pipeline: Pipeline, **workload: Any) -> str:
    """Run one workload that must fail; return the sentence that said why."""
    pipeline.configure(it={"epochs": 1, "advance": SECOND, "timeout": 3, **workload})
    run = pipeline.run()
    assert run.code != 0
    assert pipeline.processes() == []
    assert not list(pipeline.results.glob("it/live.json"))
    return sentence(run)


def python(program: str) -> list[str]:
    """Return the command for a small program."""
    return [sys.executable, "-c", program]


def test_all_mistakes_of_a_config_are_told_at_once_with_its_exit_code(pipeline: Pipeline) -> None:
    (pipeline.directory / "config" / "config.yaml").write_text(
        "workloads:\n"
        "  one: {run: [no-such-program], epochs: -1, advance: {steps: 1}}\n"
        "  one: {run: [true], epoch: 2, advance: {steps: many}, tracker: softdirty}\n"
    )
    run = pipeline.tidemark("run")
    assert run.code == 3
    for told in ("is given 2 times", "did you mean `epochs`", "tracker", "advance.steps"):
        assert told in run.output, run.output
    assert "Traceback" not in run.output
    assert not pipeline.results.exists()


def test_snakemake_itself_tells_the_mistakes_too_without_a_traceback(pipeline: Pipeline) -> None:
    pipeline.configure(it={"run": ["true"], "epochs": -1, "advance": {"step": 1}})
    run = pipeline.run()
    assert run.code == 3
    assert "config/config.yaml: workloads.it.epochs: is -1" in run.output
    assert "did you mean `steps`" in run.output
    assert "Traceback" not in run.output


def test_a_command_that_exits_at_once_is_told_with_its_last_words(pipeline: Pipeline) -> None:
    said = failed(pipeline, run=python("import sys; sys.exit('no licence')"))
    assert "workload it exited with code 1 before it was ready" in said
    assert "no licence" in said


def test_a_command_that_cannot_be_executed_is_told(pipeline: Pipeline) -> None:
    program = pipeline.directory / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    assert f"cannot execute {program}" in failed(pipeline, run=[str(program)])


def test_a_workload_that_never_shares_memory_is_told(pipeline: Pipeline) -> None:
    said = failed(pipeline, run=["sleep", "100"])
    assert "workload it shared no memory within 3 s" in said


def test_a_workload_that_is_ready_but_shares_nothing_is_told(pipeline: Pipeline) -> None:
    said = failed(pipeline, run=["sleep", "100"], ready={"seconds": 0.1})
    assert "workload it shares no memory" in said


def test_a_workload_that_never_asks_for_its_step_is_told(pipeline: Pipeline) -> None:
    share = python("import mmap, time; m = mmap.mmap(-1, 4096); time.sleep(100)")
    said = failed(pipeline, run=share, advance={"steps": 1})
    assert "did not ask for its first step" in said


def test_a_workload_that_never_reaches_its_step_is_told(pipeline: Pipeline) -> None:
    stuck = python(
        "import mmap, os, time\n"
        "memory, fd = mmap.mmap(-1, 4096), int(os.environ['TIDEMARK_STEP_FD'])\n"
        "os.write(fd, b'?'); os.read(fd, 1); time.sleep(100)"
    )
    said = failed(pipeline, run=stuck, advance={"steps": 2})
    assert "did not finish 2 steps" in said


def test_a_workload_that_fails_its_own_check_fails_the_run(pipeline: Pipeline) -> None:
    share = python("import mmap, time; m = mmap.mmap(-1, 4096); time.sleep(100)")
    said = failed(pipeline, run=share, check=["false"])
    assert "the check false exited with code 1" in said


def test_an_advance_command_that_fails_fails_the_run(pipeline: Pipeline) -> None:
    share = python("import mmap, time; m = mmap.mmap(-1, 4096); time.sleep(100)")
    said = failed(pipeline, run=share, advance={"command": ["ls", "/no/such/place"]})
    assert "the advance command ls /no/such/place exited with code 2" in said
    assert "No such file" in said


def test_a_pid_that_is_gone_is_told(pipeline: Pipeline) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert f"process {gone.pid} is gone" in failed(pipeline, attach={"pid": gone.pid})


def test_a_pidfile_without_a_pid_is_told(pipeline: Pipeline) -> None:
    pidfile = pipeline.directory / "pid"
    pidfile.write_text("not a number\n")
    said = failed(pipeline, attach={"pidfile": str(pidfile)})
    assert f"cannot read the pidfile {pidfile}: it holds no process id" in said


def test_a_tracker_that_the_machine_lacks_is_told(pipeline: Pipeline) -> None:
    if "soft-dirty               yes" in pipeline.tidemark("probe").output:
        pytest.skip("this machine has both trackers")
    said = failed(pipeline, **{**GRID, "epochs": 1, "tracker": "soft-dirty"})
    assert "this machine lacks the tracker soft-dirty" in said
    assert "tracker: auto" in said


def test_a_file_in_the_place_of_the_results_is_told(pipeline: Pipeline) -> None:
    pipeline.configure(grid=GRID)
    pipeline.results.write_text("in the way")
    run = pipeline.run()
    assert run.code == 7
    assert "results is not a directory; move it away" in sentence(run)
    assert pipeline.results.read_text() == "in the way"


def test_two_runs_on_the_same_results_do_not_mix(pipeline: Pipeline) -> None:
    pipeline.configure(grid=GRID)
    with OwnDirectory(pipeline.results, RESULTS) as own, Lock(own):
        run = pipeline.run()
    assert run.code == 12
    us = f"process {os.getpid()} on {platform.node()}"
    assert f"another run ({us}) works on results" in sentence(run)


def test_results_in_a_directory_of_somebody_elses_files_are_refused(pipeline: Pipeline) -> None:
    pipeline.configure(grid=GRID)
    mine = {"report.html": "mine", "run/grid/keeper.json": "mine", "grid/thesis.txt": "mine"}
    for name, text in mine.items():
        (pipeline.results / name).parent.mkdir(parents=True, exist_ok=True)
        (pipeline.results / name).write_text(text)
    run = pipeline.run()
    assert run.code == 7
    assert "results cannot be the results: it holds what is not Tidemark's (grid)" in sentence(run)
    found = {str(path.relative_to(pipeline.results)) for path in pipeline.results.rglob("*")}
    assert found == {*mine, "grid", "run", "run/grid"}
    assert all((pipeline.results / name).read_text() == text for name, text in mine.items())


@contextmanager
def small_file_system(place: Path, size: str) -> Iterator[None]:
    """Mount a file system of ``size`` at ``place``."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tidemark-test", str(place)]
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("this machine does not allow to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_file_system_is_told_and_leaves_no_half_an_image(pipeline: Pipeline) -> None:
    pipeline.configure(grid={**GRID, "run": [*GRID["run"][:4], "--pages", 1024]})
    with small_file_system(pipeline.results, "3m"):
        run = pipeline.run()
        assert run.code != 0
        assert "the file system is full; free some space" in sentence(run)
        assert not (pipeline.results / "grid/e0/image").exists()
        assert not list(pipeline.results.rglob("*.tmp"))
        assert pipeline.processes() == []
