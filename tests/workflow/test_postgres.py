"""A real PostgreSQL server under pgbench: dumped, restored, verified, and none the worse for it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline import Pipeline

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
        reason="PostgreSQL is not installed (Debian package postgresql)",
    ),
]


@pytest.fixture
def socket_directory() -> Iterator[str]:
    """Give a path for a server's socket, short enough for one, where nothing is yet."""
    with tempfile.TemporaryDirectory(prefix="tidemark-pg.", dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield f"{directory}/s"


def declared(socket_directory: str) -> dict[str, Any]:
    """Return the workload of config/postgres.yaml, with a socket of its own."""
    config = yaml.safe_load(Path("config/postgres.yaml").read_text())
    workload: dict[str, Any] = config["workloads"]["postgres"]
    return workload | {"env": {"TIDEMARK_PG_DIR": socket_directory}}


def assert_verified(pipeline: Pipeline, epochs: int) -> None:
    """Check that every epoch was restored, and that there was something to restore."""
    for epoch in range(epochs):
        verify = pipeline.json(f"postgres/e{epoch}/verify.json")
        assert (verify["different"], verify["missed"], verify["recall"]) == (0, 0, 1.0)
        assert verify["changed"] > 100
        assert verify["sharing"]["seen"] == verify["sharing"]["of"] > 0


def test_three_epochs_under_pgbench_are_verified_and_the_server_passes_its_check(
    pipeline: Pipeline, socket_directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pipeline.directory)
    pipeline.configure(postgres=declared(socket_directory))
    done = pipeline.run()
    assert done.code == 0, done.output
    assert_verified(pipeline, 3)
    live = pipeline.json("postgres/live.json")
    assert live["check"]["exit_code"] == 0
    assert live["exit"] == {"code": 0, "signal": None}
    kinds = {r["kind"] for r in pipeline.json("postgres/e2/image/manifest.json")["regions"]}
    assert kinds == {"anonymous", "posix", "sysv"}


def test_no_write_of_a_backend_that_has_ended_is_lost(
    pipeline: Pipeline, socket_directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pipeline.directory)
    drive = {"advance": {"command": ["workloads/pgbench.sh", "60", "reconnect"]}}
    pipeline.configure(postgres=declared(socket_directory) | drive | {"audit": "full"})
    done = pipeline.run()
    assert done.code == 0, done.output
    assert_verified(pipeline, 3)
    for epoch in range(3):
        processes = pipeline.json(f"postgres/e{epoch}/advance.json")["processes"]
        assert processes["exited"] >= 120
    for epoch in (1, 2):
        regions = pipeline.json(f"postgres/e{epoch}/image/manifest.json")["regions"]
        assert sum(region["audited"] for region in regions) > 1000


@contextmanager
def server(socket_directory: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server that is nobody's workload."""
    environment = {**os.environ, "TIDEMARK_PG_DIR": socket_directory}
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["workloads/postgres.sh"], env=environment, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 60
        while b"ready\n" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def test_a_server_that_was_attached_to_goes_on_working(
    pipeline: Pipeline, socket_directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pipeline.directory)
    workload = declared(socket_directory)
    environment = {**os.environ, "TIDEMARK_PG_DIR": socket_directory}
    with server(socket_directory, pipeline.directory / "server.log") as process:
        attach = {"attach": {"pid": process.pid}, "epochs": 2}
        pipeline.configure(
            postgres=attach | {key: workload[key] for key in ("advance", "timeout", "env")}
        )
        done = pipeline.run()
        assert done.code == 0, done.output
        assert_verified(pipeline, 2)
        for command in (["workloads/pgbench.sh", "1"], ["workloads/pgcheck.sh"]):
            after = subprocess.run(command, env=environment, capture_output=True, check=False)
            assert after.returncode == 0, after.stderr.decode()
        assert process.poll() is None
    assert process.returncode == 0
