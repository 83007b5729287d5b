"""Fuzzes what reads files: Python by Atheris, C by libFuzzer, each from its corpus on.

    python tests/fuzz/fuzz.py --seconds 60 [HARNESS ...]     (as `make fuzz` does)
    python tests/fuzz/fuzz.py --one HARNESS [OPTION OF LIBFUZZER ...]

Inputs that reach something new are kept in build/fuzz-found/, and what breaks a harness there
as crash-*; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CORPUS = HERE / "corpus"
FOUND = ROOT / "build" / "fuzz-found"
BUILD = ROOT / "build" / "fuzz"
NATIVE = ("bitmap", "btf", "filter", "maps", "pagemap", "text")
PYTHON = (
    *("json", "manifest", "layout", "keeper", "criu", "inventory", "config", "bitmap_set"),
    "image",
)
_MEMORY = Path("/dev/shm")
_MEMORY_MB = 1024
_SECONDS_OF_ONE = 10
"""What one input may take: memory, and time on a busy machine."""


@dataclass(frozen=True)
class Outcome:
    """How a harness was fuzzed; ``coverage`` counts the branches that were reached."""

    name: str
    code: int
    runs: int
    coverage: int
    said: str


def build() -> str:
    """Build the native harnesses; return why they cannot be, empty when they were."""
    if not shutil.which("clang"):
        return "clang is not there: apt-get install clang libclang-rt-14-dev"
    configure = [
        *("cmake", "-S", str(ROOT), "-B", str(BUILD), "-G", "Ninja", "-DCMAKE_C_COMPILER=clang"),
        *("-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DTIDEMARK_SANITIZE=ON", "-DTIDEMARK_FUZZ=ON"),
    ]
    targets = [f"fuzz_{name}" for name in NATIVE]
    for command in (configure, ["cmake", "--build", str(BUILD), "--target", *targets]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"the harnesses cannot be built: {(done.stdout + done.stderr)[-500:]}"
    return ""


def fuzz(name: str, seconds: int) -> Outcome:
    """Fuzz one harness for so long, on from its corpus and what was found before."""
    kept = FOUND / name
    kept.mkdir(parents=True, exist_ok=True)
    program = (
        [str(BUILD / "native" / "fuzz" / f"fuzz_{name}")]
        if name in NATIVE
        else [sys.executable, __file__, "--one", name]
    )
    options = [
        *(f"-max_total_time={seconds}", f"-timeout={_SECONDS_OF_ONE}", "-max_len=16384"),
        *(f"-rss_limit_mb={_MEMORY_MB}", f"-artifact_prefix={kept}/crash-", "-print_final_stats=1"),
    ]
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as home:
        done = subprocess.run(
            [*program, *options, str(kept), str(CORPUS / name)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            # Leaks are looked for by tracing, which not everybody may.
            env={**os.environ, "TIDEMARK_FUZZ_HOME": home, "ASAN_OPTIONS": "detect_leaks=0"},
        )
    runs = re.findall(r"number_of_executed_units: (\d+)|Done (\d+) runs", done.stdout)
    reached = re.findall(r"cov: (\d+)", done.stdout)
    total = max((int(a or b) for a, b in runs), default=0)
    return Outcome(name, done.returncode, total, int(reached[-1]) if reached else 0, done.stdout)


def one(name: str, words: list[str]) -> None:
    """Be the fuzzer of one harness in Python. It ends with this process."""
    import atheris

    # Atheris sees what is found by the finders behind its own: that of an editable install, too.
    sys.meta_path.sort(key=lambda finder: "Redirecting" in type(finder).__name__)
    with atheris.instrument_imports(include=["tidemark", "yaml"]):
        from harnesses import HARNESSES
    atheris.Setup([f"fuzz_{name}", *words], HARNESSES[name])
    atheris.Fuzz()


def _report(outcome: Outcome) -> None:
    verdict = "nothing found" if outcome.code == 0 else f"BROKEN, exit code {outcome.code}"
    print(f"{outcome.name:12} {outcome.runs:10} runs  {outcome.coverage:6} branches  {verdict}")
    if outcome.code:
        print(outcome.said[-3000:])
    sys.stdout.flush()


def main() -> int:
    """Fuzz the harnesses that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each harness")
    parser.add_argument("names", nargs="*", choices=[[], *NATIVE, *PYTHON])
    arguments = parser.parse_args()
    names = arguments.names or [*NATIVE, *PYTHON]
    lacking = build() if set(names) & set(NATIVE) else ""
    if lacking:
        print(f"skipped the native harnesses: {lacking}")
        names = [name for name in names if name in PYTHON]
    broken = 0
    for name in names:
        outcome = fuzz(name, arguments.seconds)
        _report(outcome)
        broken += outcome.code != 0
    return int(broken > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], sys.argv[3:])
    sys.exit(main())
