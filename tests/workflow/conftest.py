"""Fixtures of the workflow tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pipeline import Pipeline

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """Give a workflow of its own to a test."""
    return Pipeline(tmp_path)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Give a workflow that was run to its end, which the test puts back as it was."""
    pipeline = Pipeline(tmp_path_factory.mktemp("complete"))
    done = pipeline.run()
    assert done.code == 0, done.output
    return pipeline
