"""What the Snakefile and its rules need to know: the config, and what each step's code is."""

from __future__ import annotations

import ast
import atexit
import functools
import hashlib
import importlib.util
import os
import platform
import re
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tidemark
from tidemark.console import complain, guard
from tidemark.errors import StorageError, TidemarkError
from tidemark.files import PUBLIC, read_json, write_bytes, write_json
from tidemark.interruption import Interrupted, was_interrupted
from tidemark.keeper.client import is_owned
from tidemark.keeper.launch import OWNER_VARIABLE
from tidemark.keeper.record import read_keeper
from tidemark.locks import Held, Lock, held
from tidemark.owned import Kind, OwnDirectory, is_marked
from tidemark.steps import forkserver
from tidemark.steps.forkserver import NAME_VARIABLE, SCRIPTS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tidemark.config import Config
    from tidemark.keeper.record import KeeperRecord

T = TypeVar("T")

RUN_FILE = ".run"
RUN_VARIABLE = "TIDEMARK_RUN"
"""By both of these, a batch job knows whether it sees the results of the run that it is of."""

RUNS_FILE = "run/workloads.json"
"""What the report is made of: each workload of the run, and the number of its epochs."""

EPOCH_OUTPUTS = (
    "clear.json",
    "advance.json",
    "scan.pb",
    "bitmap.pb",
    "image",
    "layout.json",
    "truth.json",
    "verify.json",
)
"""What each epoch leaves: all of it is asked for, so that the loss of any part is noticed."""

LIVE_STEPS = ("clear", "advance", "collect", "merge", "dump")
"""The steps of an epoch that a fused live part does in its one job."""

_NOTHING = "(?!)"
"""A pattern that nothing matches."""

_BESIDE = {
    # What a script starts as a process of its own is not to be seen in its imports.
    "keep": ("tidemark.keeper.main",),
}
_BUILT = ("_native", "tidemark-holder", "tidemark-testimony", "tidemark-watchdog")


def load_config(merged: Mapping[str, Any], sources: Sequence[str]) -> Config:
    """Return the config that Snakemake has merged from its files and ``--config``.

    :raises SystemExit: when it is wrong, after all its mistakes were printed
    """
    from tidemark.config import resolve

    return _or_exit(lambda: resolve(merged, [Path(source) for source in sources]))


def _or_exit(function: Callable[[], T]) -> T:
    """Return what ``function`` returns; end the process with the exit code of an error of ours.

    Snakemake would show an exception with lines of its own code, and always exit with 1.
    """
    found: list[T] = []

    def call() -> int:
        found.append(function())
        return 0

    if code := guard(call):
        sys.exit(code)
    return found[0]


def prepare_jobs(scripts: Path, results: Path, workflow: Any) -> None:
    """Set what the shell commands of jobs of this process find in their environment.

    They run the scripts in ``scripts`` with this Python; keepers that they start, and the server
    that forks for them, end with this process. ``workflow`` is Snakemake's.

    :raises SystemExit: in a batch job on a node that does not see the results
    """
    _or_exit(lambda: _verify_visible(results))
    os.environ[OWNER_VARIABLE] = str(os.getpid())
    # What Snakemake deploys for a job, conda's Python say, is that job's own.
    own = workflow.deployment_settings.deployment_method
    os.environ[NAME_VARIABLE] = name = "" if own else f"tidemark-{uuid.uuid4().hex}"
    atexit.register(forkserver.end, name)
    os.environ[SCRIPTS_VARIABLE] = str(scripts)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def open_results(results: Path, runs: Sequence[tuple[str, int]]) -> None:
    """Take the results for this run alone, until this process ends, and say there what it is of.

    To be called when the run begins. The lock is the kernel's, so a run that was killed leaves
    none behind.

    :raises SystemExit: when another run has them, or they cannot be written
    """
    from tidemark.steps.report import forget_failures

    _or_exit(lambda: _hold(results))
    forget_failures(results, runs)
    _or_exit(lambda: write_json(results / RUNS_FILE, {"runs": list(runs)}, PUBLIC))


def report_failure(results: Path, runs: Sequence[tuple[str, int]], workflow: Any) -> None:
    """Report of what there is, and say of each workload why it did not get to its end.

    To be called when the run has failed. Where it was interrupted, that is reason enough; and what
    jobs on this machine have said stands above. ``workflow`` is Snakemake's.

    :raises SystemExit: when the run was interrupted
    """
    from tidemark.steps.report import report_unfinished

    if was_interrupted():
        _cancel(workflow)
        raise Interrupted  # Snakemake would say that a job did not complete
    reasons = report_unfinished(results, runs)
    for reason in () if workflow.local_exec else reasons:
        complain(reason)


def _cancel(workflow: Any) -> None:
    """Cancel the batch jobs of this run that Snakemake's plug-in (2.8) has left.

    It cancels none that it is asking Slurm about, or submitting, at that moment.
    """
    if workflow.executor_plugin.name == "slurm":
        from tidemark.cluster.slurm import cancel, jobs_in

        _or_exit(lambda: cancel(jobs_in(Path.cwd())))


def check_cluster(config: Config, workflow: Any) -> None:
    """Fail where batch jobs of this run could never start, if it submits any; heed them to the end.

    To be called when the run begins; ``workflow`` is Snakemake's.

    :raises SystemExit: when the partition or its nodes lack what is asked for, or batch jobs of a
        run that was killed go on
    """
    if workflow.executor_plugin.name != "slurm":
        return
    from tidemark.cluster.check import check, check_free
    from tidemark.cluster.patience import await_answers

    await_answers()
    _or_exit(lambda: check_free(Path.cwd()))
    submitted = next((job for job in workflow.dag.needrun_jobs() if not job.is_local), None)
    if submitted is not None:
        partition = submitted.resources.get("slurm_partition")
        cores = workflow.resource_settings.cores
        _or_exit(lambda: check(config, partition and str(partition), cores))


_LOCKS: list[Lock] = []
"""What this process holds until it ends."""

_LEFT = {".lock", RUN_FILE, "benchmarks"}
"""What may stand in results that have no mark: of a former version, or of `make bench`."""


def _foreign(directory: Path, names: Sequence[str]) -> str | None:
    """Return what keeps a directory from being the results of a former version, without a mark."""
    try:
        read_json(directory / RUNS_FILE)["runs"]
    except (TidemarkError, KeyError):
        return next((name for name in names if name not in _LEFT), None)
    return None


RESULTS = Kind("results", "the results", _foreign, public=True, found_by_name=True)


def _hold(results: Path) -> None:
    lock = held(
        OwnDirectory(results, RESULTS),
        lambda who: (
            f"another run ({who}) works on {results}; wait for it, or set `results` to "
            "another directory"
        ),
    )
    _LOCKS.append(lock)
    token = uuid.uuid4().hex
    write_bytes(results / RUN_FILE, f"{token}\n".encode())
    os.environ[RUN_VARIABLE] = token


def _verify_visible(results: Path) -> None:
    """Fail in a batch job that has other results before it than the run that submitted it.

    :raises StorageError: then
    """
    token = os.environ.get(RUN_VARIABLE)
    if token is None:
        return
    try:
        seen = (results / RUN_FILE).read_text().strip()
    except OSError:
        seen = ""
    if seen != token:
        raise StorageError(
            f"the results in {results.absolute()} are not seen by the node {platform.node()}; set "
            "`results` to a directory that all nodes share"
        )


def prepare_results(results: Path) -> None:
    """Remove the files of keepers that are gone: a run that was killed leaves them.

    Nothing is touched where another run works on the results: its keepers may be on other nodes.
    To be called before Snakemake looks at files, and only by its main process.

    :raises SystemExit: when something else stands in their place
    """
    _or_exit(lambda: _verify_directory(results))
    with suppress(Held, StorageError):
        if is_marked(results) or (results / RUNS_FILE).is_file():
            with OwnDirectory(results, RESULTS) as own, Lock(own):
                _remove_stale(results)


def _remove_stale(results: Path) -> None:
    for path in results.glob("run/*/keeper.json"):
        try:
            kept = _is_kept(read_keeper(path))
        except TidemarkError:
            kept = False
        if not kept:
            path.unlink(missing_ok=True)


def _is_kept(keeper: KeeperRecord) -> bool:
    """Return whether a keeper runs: that of a batch job on another node does as long as the job."""
    from tidemark.cluster.slurm import is_running

    if keeper["node"] == platform.node():
        return is_owned(keeper)
    return keeper["batch_job"] is not None and is_running(keeper["batch_job"])


def _verify_directory(results: Path) -> None:
    if results.exists() and not results.is_dir():
        raise StorageError(f"{results} is not a directory; move it away, or set `results`")


def code(script: Path) -> str:
    """Return a digest of the code that a script runs: its own and all that it imports of ours.

    Content counts, not file times, but for the script itself: to touch it means to run its
    rule again, as with Snakemake's own ``script:``.
    """
    digest = hashlib.sha256(str(script.stat().st_mtime_ns).encode())
    for path in sorted(_closure(script)):
        digest.update(_file_digest(path))
    return digest.hexdigest()[:16]


def _closure(script: Path) -> set[Path]:
    """Return the files of a script, of the modules that it imports, and of what is built."""
    found: set[Path] = set()
    waiting = [script]
    for module in _BESIDE.get(script.stem, ()):
        waiting.extend(_files_of(module))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            for module in _imports(path):
                waiting.extend(_files_of(module))
    return found | set(_built_files())


@functools.cache
def _imports(path: Path) -> frozenset[str]:
    """Return the modules of ours that a source file imports when it runs."""
    if path.suffix != ".py":
        return frozenset()
    return frozenset(
        name for name in _imported(ast.parse(path.read_bytes())) if name.startswith("tidemark")
    )


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue  # names for the type checker alone
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from _imported(node)


@functools.cache
def _files_of(module: str) -> tuple[Path, ...]:
    """Return the source file of a module; nothing for a name that is not one."""
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):
        return ()
    return (Path(spec.origin),) if spec and spec.origin else ()


def _built_files() -> Iterator[Path]:
    """Return what was compiled: the extension and the holder program."""
    for directory in tidemark.__path__:
        for path in Path(directory).iterdir():
            if path.name.startswith(_BUILT) and path.suffix != ".pyi":
                yield path


@functools.cache
def _file_digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def live_group(workflow: Any) -> Callable[[Any], str | None]:
    """Return what gives the group of a step of the live part: its workload's, in one batch job.

    None in a dry run, where Snakemake (9.27) heeds groups to no end, but takes a time to check them
    that grows with the cube of their jobs. ``workflow`` is Snakemake's.
    """
    return lambda wildcards: None if workflow.dryrun else f"live_{wildcards.w}"


def names(config: Config, *, fused: bool, epochs: int | None = None) -> str:
    """Return a pattern of the workloads of one form and, where given, of so many epochs."""
    from tidemark.config.fields import NAME

    chosen = [
        name
        for name, workload in config.workloads.items()
        if config.fused(name) == fused and epochs in (None, workload.epochs)
    ]
    return NAME.pattern if len(chosen) == len(config.workloads) else one_of(chosen)


def one_of(words: Sequence[str]) -> str:
    """Return a pattern that matches these words, and takes no longer where there are many.

    It goes letter by letter: each file of a run is matched, and word by word would be quadratic.
    """
    if not words:
        return _NOTHING
    after: dict[str, list[str]] = {}
    for word in words:
        after.setdefault(word[:1], []).append(word[1:])
    branches = [
        re.escape(letter) + (one_of(rest) if any(rest) else "") for letter, rest in after.items()
    ]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def fused_epochs(config: Config) -> list[int]:
    """Return the numbers of epochs that fused workloads have."""
    fused = (workload for name, workload in config.workloads.items() if config.fused(name))
    return sorted({workload.epochs for workload in fused})


def programs(workload: Any) -> str:
    """Return a digest of the files that a workload's commands name: a changed program is news."""
    digest = hashlib.sha256()
    for argv in (workload.run, workload.advance.command, workload.check):
        for word in (argv,) if isinstance(argv, str) else argv or ():
            if Path(word).is_file():
                digest.update(_file_digest(Path(word)))
    return digest.hexdigest()[:16]
