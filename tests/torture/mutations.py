"""Ways to break the tracking of writes on purpose, each of which the torture has to find."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PARTS = ("CMakeLists.txt", "native", "src", "tests/live", "tests/torture")


@dataclass(frozen=True)
class Mutation:
    """A text of one source file, which occurs there once, and what is put in its place."""

    name: str
    path: str
    old: str
    new: str


MUTATIONS = (
    Mutation(
        "the scan of a process that exits is forgotten",
        "src/tidemark/keeper/tracking.py",
        "            space.scan(views, _note_written)\n",
        "            del views\n",
    ),
    Mutation(
        "what a process may have written before its exec is forgotten",
        "src/tidemark/keeper/tracking.py",
        "        self._leave(process, suspicion.EXEC)\n",
        "        self._space_of(process).close()\n        self._leave(process, suspicion.EXEC)\n",
    ),
    Mutation(
        "pages that became holes are taken for what they were",
        "src/tidemark/steps/merge.py",
        "    used = bitmap_of(region.data, pages)\n"
        "    dirty = _union(pages, (region.ended, region.born, region.holes))\n",
        "    used = bitmap_of(region.data, pages) | bitmap_of(region.holes, pages)\n"
        "    dirty = _union(pages, (region.ended, region.born))\n",
    ),
    Mutation(
        "what was stored to a mapping that is gone is forgotten",
        "src/tidemark/keeper/spaces.py",
        "            self._suspect_unmapped(view)\n",
        "            del view\n",
    ),
    Mutation(
        "that a mapping was longer for a while is not heard",
        "src/tidemark/keeper/spaces.py",
        "                self._hear_unmapped(notice)\n",
        "",
    ),
    Mutation(
        "shared memory that has a name is taken for a file",
        "src/tidemark/keeper/objects.py",
        'frozenset({"anonymous", "memfd", "sysv", "posix"})',
        'frozenset({"anonymous", "memfd", "sysv"})',
    ),
    Mutation(
        "the witness sees nothing",
        "src/tidemark/keeper/witness.py",
        "        if touched or self._numbers[region.number] in (written or ()):\n",
        "        if touched and not touched:\n",
    ),
    Mutation(
        "the page at which a part of a mapping begins is ignored",
        "src/tidemark/keeper/views.py",
        "self.page + (start - self.start) // PAGE_SIZE, self.region)",
        "self.page, self.region)",
    ),
    Mutation(
        "the last word of a bitmap, which is not full, is left out",
        "native/bitmap_sets.c",
        "			bitmap->leaves[i].words[word] |= other->leaves[j].words[word];\n",
        "			if (other->leaves[j].index * TM_LEAF_PAGES + (word + 1) * TM_WORD_BITS <=\n"
        "			    other->pages)\n"
        "				bitmap->leaves[i].words[word] |= other->leaves[j].words[word];\n",
    ),
)


def mutant(mutation: Mutation, directory: Path) -> Path:
    """Make a copy of the tree with a mutation, in ``directory``; return its interpreter."""
    for part in _PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, directory / part, symlinks=True)
        else:
            shutil.copy(source, directory / part)
    changed = directory / mutation.path
    text = changed.read_text()
    assert text.count(mutation.old) == 1, f"{mutation.path} has changed: see {__file__}"
    changed.write_text(text.replace(mutation.old, mutation.new))
    _build(directory)
    return _interpreter(directory)


def _build(directory: Path) -> None:
    """Build the copy's native library into its package."""
    build = directory / "build"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # ours, before an older one
    configure: list[str | Path] = [
        "cmake",
        "-S",
        directory,
        "-B",
        build,
        "-G",
        "Ninja",
        "-DSKBUILD=ON",
    ]
    configure += [f"-DCMAKE_INSTALL_PREFIX={directory / 'src'}", "-DCMAKE_BUILD_TYPE=Release"]
    configure += [f"-DPython_EXECUTABLE={sys.executable}"]
    for command in (
        configure,
        ["cmake", "--build", f"{build}"],
        ["cmake", "--install", f"{build}"],
    ):
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PATH": path}
        )


def _interpreter(directory: Path) -> Path:
    """Make a virtual environment with the copy of the package and the packages of this one."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix) / "bin"
    environment = directory / "venv"
    packages = environment / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    # What a path file adds is not searched for path files: ours, of the real package, has no part.
    paths = [directory / "src", sysconfig.get_path("purelib")]
    (packages / "mutant.pth").write_text("".join(f"{path}\n" for path in paths))
    (environment / "pyvenv.cfg").write_text(f"home = {base}\n")
    python = environment / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(Path(sys.executable).resolve())
    return python
