"""Fixtures of the tests on a Slurm cluster."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from cluster import Cluster, lacking
from pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is below this directory."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Give a cluster that runs until the last test is over."""
    why = lacking()
    if why is not None:
        pytest.skip(why)
    # Not in pytest's own directory, which is root's alone: all users of the cluster enter it.
    with TemporaryDirectory(prefix="tidemark-cluster-", dir="/var/tmp") as directory:
        Path(directory).chmod(0o755)
        with Cluster(Path(directory)) as cluster:
            yield cluster


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """Give a workflow of its own to a test, in a directory that all nodes share."""
    pipeline = Pipeline(tmp_path)
    profile = tmp_path / "workflow/profiles/slurm/config.yaml"
    text = profile.read_text()
    assert text.count("default-resources:\n") == 1
    profile.write_text(
        text.replace("default-resources:\n", "default-resources:\n  slurm_partition: main\n")
    )
    return pipeline
