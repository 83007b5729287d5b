"""A real Slurm cluster of two nodes on this machine, and what is done with it from its login node.

The commands are Debian's (packages slurm-wlm and munge). They take root, and namespaces: see
``cluster.sh``, which the cluster lives in.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
NODES = ("n1", "n2")
CPUS, MEMORY_MB = 4, 8000
PATIENCE = 180
LONGEST_RUN = 400

_CONF = """\
ClusterName=tidemark
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={directory}/munge.sock
MpiDefault=none
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/spool/%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/%n.log
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MinJobAge=3600
KillWait=3
SlurmdTimeout=6
SlurmdParameters=config_overrides
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[17001-17002] CPUs={cpus} \
RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes=ALL MaxTime=60 DefMemPerNode=500 State=UP
"""


def lacking() -> str | None:
    """Return why there can be no cluster here; None where there can."""
    if os.getuid() != 0:
        return "Slurm's daemons take root"
    for command in ("slurmctld", "slurmd", "munged", "nsenter", "ip"):
        if shutil.which(command) is None:
            return f"{command} is not installed: tools/debian-packages.sh slurm"
    if find_spec("snakemake_executor_plugin_slurm") is None:
        return "Snakemake's plug-in for Slurm is not installed: make setup-slurm"
    network = ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"]
    tried = ["unshare", "--mount", "--net", "--pid", "--fork", *network]
    if subprocess.run(tried, capture_output=True, check=False).returncode:
        return "this machine allows no namespaces with a network of their own"
    return None


class Cluster:
    """A running cluster; a context manager. ``directory`` is for what it needs itself."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> Self:
        (self.directory / "munge.key").write_bytes(os.urandom(1024))
        (self.directory / "munge.key").chmod(0o400)
        conf = _CONF.format(
            host=os.uname().nodename, directory=self.directory, cpus=CPUS, memory=MEMORY_MB
        )
        (self.directory / "slurm.conf").write_text(conf)
        # When we end, in whatever way, so does its standard input, and with it the cluster.
        self._machine = subprocess.Popen(
            ["unshare", "--mount", "--net", str(HERE / "cluster.sh"), str(self.directory), *NODES],
            env=os.environ | {"CLOSED": " ".join(map(str, closed()))},
            stdin=subprocess.PIPE,
        )
        try:
            wait_for((self.directory / "up").exists, "the cluster's coming up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._machine.stdin is not None
        self._machine.stdin.close()
        self._machine.wait()

    def command(self, words: Sequence[object]) -> list[str]:
        """Return the command line that runs ``words`` on the login node."""
        inside = ("nsenter", "--target", str(self._machine.pid), "--mount", "--net", "--wd=.")
        return [*inside, *map(str, words)]

    def run(self, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a command on the login node, to its end; stderr is in stdout."""
        return subprocess.run(
            self.command(words),
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=LONGEST_RUN,
        )

    def ask(self, *words: object) -> str:
        """Return what one of Slurm's commands prints."""
        done = self.run(*words, cwd=self.directory)
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()

    def lose(self, node: str) -> None:
        """Have a node vanish, with all of its processes."""
        pid = int((self.directory / f"{node}.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: "down" in self._state(node), f"the loss of {node} being noticed")

    def start(self, node: str) -> None:
        """Start a node that was lost again."""
        assert self._machine.stdin is not None
        self._machine.stdin.write(f"{node}\n".encode())
        self._machine.stdin.flush()
        wait_for(lambda: self._state(node) == "idle", f"{node} being back")

    def _state(self, node: str) -> str:
        return self.ask("sinfo", "--noheader", "--format=%t", f"--nodes={node}")

    def submit(self, *words: object, cwd: Path) -> int:
        """Submit a batch job by sbatch; return its id."""
        done = self.run("sbatch", "--parsable", *words, cwd=cwd)
        assert done.returncode == 0, done.stdout
        return int(done.stdout)

    def job(self, number: int) -> dict[str, str]:
        """Return what Slurm knows about a job."""
        told = self.ask("scontrol", "--oneliner", "show", "job", number)
        return dict(word.split("=", 1) for word in told.split() if "=" in word)

    def finish(self, number: int) -> dict[str, str]:
        """Wait for the end of a job; return what Slurm knows about it."""
        running = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}
        wait_for(lambda: self.job(number)["JobState"] not in running, f"the end of job {number}")
        return self.job(number)

    def jobs(self, *states: str) -> list[int]:
        """Return the jobs that are in one of ``states``."""
        told = self.ask("squeue", "--noheader", "--format=%A", f"--states={','.join(states)}")
        return [int(line) for line in told.split()]


def closed() -> list[Path]:
    """Return the directories that an ordinary user cannot enter on the way to what is run."""
    ends = (Path(sys.executable).resolve(), Path(sys.executable), HERE)
    above = {path for end in ends for path in end.parents}
    return [path for path in sorted(above) if not path.stat().st_mode & 0o001]


def environment() -> dict[str, str]:
    """Return the environment of a login shell with the project's commands on its PATH."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("TIDEMARK", "SLURM", "PYTEST"))
    }
    return {**kept, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def wait_for(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {patience:g} s"
        time.sleep(0.1)
