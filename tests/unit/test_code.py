"""What counts as a rule's code, and what a job's start costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tidemark.steps.job import Job, run
from tidemark.workflow import code

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow" / "scripts"
PROTOS = ("src/tidemark/proto/criu.proto", "src/tidemark/proto/tracking.proto")
HEAVY = (
    ("polars", "jinja2", "pydantic", "yaml", "snakemake", "tidemark.config", "tidemark.report"),
    "planning and reporting",
)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Give a copy of a script that can be changed."""
    path = tmp_path / "merge.py"
    path.write_bytes((SCRIPTS / "merge.py").read_bytes())
    return path


def test_code_changes_with_the_script_and_not_otherwise(script: Path) -> None:
    before = code(script)
    assert code(script) == before
    script.write_text(script.read_text() + "\n")
    assert code(script) != before


def test_a_touched_script_is_a_changed_one(script: Path) -> None:
    before = code(script)
    os.utime(script, ns=(0, 0))
    assert code(script) != before


def test_every_script_has_code_of_its_own() -> None:
    digests = {path.stem: code(path) for path in SCRIPTS.glob("*.py")}
    assert len(set(digests.values())) == len(digests) == 11


@pytest.mark.parametrize("name", ["keep", "clear", "advance", "collect", "merge", "dump", "seal"])
def test_a_live_job_imports_nothing_for_planning_or_reporting(name: str) -> None:
    imported = imports_of(SCRIPTS / f"{name}.py")
    assert not [module for module in HEAVY[0] if module in imported]


@pytest.mark.parametrize("name", ["keep", "clear", "advance", "seal"])
def test_a_job_that_only_asks_the_keeper_needs_no_protobuf(name: str) -> None:
    assert "google.protobuf" not in imports_of(SCRIPTS / f"{name}.py")


def imports_of(path: Path) -> set[str]:
    """Return the modules that a script imports when it starts."""
    program = (
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='imported');"
        "print(*sys.modules, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_a_script_s_arguments_may_be_lists_and_hold_equals_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Job] = []
    words = ["x/seal.py", "keeper=a=b", "lives=one", "t w o", "/three=3", f"log={tmp_path / 'l'}"]
    monkeypatch.setattr(sys, "argv", [*words, "parent="])
    with pytest.raises(SystemExit) as ended:
        run(seen.append)
    assert ended.value.code == 0
    (job,) = seen
    assert job.name == "seal"
    assert job.text("keeper") == "a=b"
    assert job.paths("lives") == [Path("one"), Path("t w o"), Path("/three=3")]
    assert job.optional_path("parent") is None


def test_the_protobuf_modules_are_what_the_protos_give(tmp_path: Path) -> None:
    tools = pytest.importorskip("grpc_tools.protoc", reason="needs grpcio-tools: `make test`")
    out = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    sources = [str(ROOT / proto) for proto in PROTOS]
    assert tools.main(["protoc", f"-I{ROOT / 'src'}", *out, *sources]) == 0
    for made in tmp_path.rglob("*_pb2.py*"):
        kept = ROOT / "src" / made.relative_to(tmp_path)
        assert made.read_text() == kept.read_text(), f"{kept} is out of step: run `make protos`"
