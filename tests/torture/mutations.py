"""Ways to break the tracking of writes on purpose, and what has to find each of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LIVE = "tests/live"
_MOMENT = "test_a_checkpoint_is_of_one_moment_though_not_all_that_was_told_was_copied"


class Torture:
    """The torture finds it, by these operations beside the most common ones."""

    def __init__(self, *verbs: str, mode: str = "epochs") -> None:
        self.verbs = verbs
        self.mode = mode

    def __str__(self) -> str:
        return f"the torture in {self.mode}, by {', '.join(self.verbs)}"


@dataclass(frozen=True)
class Test:
    """One test finds it; where it depends on times, within some ``attempts``."""

    __test__ = False

    node: str
    attempts: int = 1

    def __str__(self) -> str:
        return self.node


@dataclass(frozen=True)
class NativeTest:
    """A test of the native library finds it."""

    name: str

    def __str__(self) -> str:
        return f"native/tests/test_{self.name}.c"


@dataclass(frozen=True)
class Mutation:
    """A text of one source file, which occurs there once, and what is put in its place."""

    name: str
    path: str
    old: str
    new: str
    found_by: Torture | Test | NativeTest

    @property
    def racy(self) -> bool:
        """Whether it takes some luck to find it."""
        return isinstance(self.found_by, Test) and self.found_by.attempts > 1

    @property
    def native(self) -> bool:
        """Whether the native library is to be built anew."""
        return self.path.startswith("native/")


MUTATIONS = (
    Mutation(
        "the scan of a process that exits is forgotten",
        "src/tidemark/keeper/tracking.py",
        "            space.scan(views, _note_written)\n",
        "            del views\n",
        Torture("store_and_die", "leave", "fork"),
    ),
    Mutation(
        "what a process may have written before its exec is forgotten",
        "src/tidemark/keeper/tracking.py",
        "        self._leave(process, suspicion.EXEC)\n",
        "        self._space_of(process).close()\n        self._leave(process, suspicion.EXEC)\n",
        Torture("execute", "fork"),
    ),
    Mutation(
        "pages that became holes are taken for what they were",
        "src/tidemark/steps/merge.py",
        "    used = bitmap_of(region.data, pages)\n"
        "    dirty = _union(pages, (region.ended, region.born, region.holes))\n",
        "    used = bitmap_of(region.data, pages) | bitmap_of(region.holes, pages)\n"
        "    dirty = _union(pages, (region.ended, region.born))\n",
        Torture("remove_pages", "punch"),
    ),
    Mutation(
        "what was stored to a mapping that is gone is forgotten",
        "src/tidemark/keeper/spaces.py",
        "            self._suspect_unmapped(view)\n",
        "            del view\n",
        Torture("store_and_unmap", "unmap_part"),
    ),
    Mutation(
        "that a mapping was longer for a while is not heard",
        "src/tidemark/keeper/spaces.py",
        "                self._hear_unmapped(notice)\n",
        "",
        Torture("map_with_room", "stretch"),
    ),
    Mutation(
        "shared memory that has a name is taken for a file",
        "src/tidemark/keeper/objects.py",
        'frozenset({"anonymous", "memfd", "sysv", "posix"})',
        'frozenset({"anonymous", "memfd", "sysv"})',
        Torture("pwrite", "store_in_brief_mapping"),
    ),
    Mutation(
        "the witness sees nothing",
        "src/tidemark/keeper/witness.py",
        "        if touched or self._numbers[region.number] in (written or ()):\n",
        "        if touched and not touched:\n",
        Torture("pwrite", "store_in_brief_mapping"),
    ),
    Mutation(
        "the page at which a part of a mapping begins is ignored",
        "src/tidemark/keeper/views.py",
        "self.page + (start - self.start) // PAGE_SIZE, self.region)",
        "self.page, self.region)",
        Torture("map_part", "unmap_part"),
    ),
    Mutation(
        "the last word of a bitmap, which is not full, is left out",
        "native/bitmap_sets.c",
        "			bitmap->leaves[i].words[word] |= other->leaves[j].words[word];\n",
        "			if (other->leaves[j].index * TM_LEAF_PAGES + (word + 1) * TM_WORD_BITS <=\n"
        "			    other->pages)\n"
        "				bitmap->leaves[i].words[word] |= other->leaves[j].words[word];\n",
        Torture("new_region", "forget_region"),
    ),
    # Found by a test of its own
    Mutation(
        "early copies that were told of and not copied are valid",
        "src/tidemark/keeper/early.py",
        "        if region.number in self._due:\n            copied -= self._due[region.number]\n",
        "",
        Test(f"{_LIVE}/test_moments.py::{_MOMENT}", attempts=4),
    ),
    Mutation(
        "what is left to a parent need not be there",
        "src/tidemark/image/level.py",
        " or read[1] - below:\n",
        ":\n",
        Test(
            "tests/unit/test_image_damage.py::"
            "test_a_page_that_is_left_to_a_parent_which_lacks_it_is_refused"
        ),
    ),
    Mutation(
        "processes that may not be inspected are ignored",
        "src/tidemark/keeper/foreign.py",
        "                if user and _may_be_opened(region, user):\n",
        "                if not user and _may_be_opened(region, user):\n",
        Test(
            f"{_LIVE}/test_outsiders.py::"
            "test_what_a_process_that_may_not_be_inspected_could_open_is_suspect"
        ),
    ),
    Mutation(
        "who is outside at the end of an epoch, where the next begins, is forgotten",
        "src/tidemark/keeper/tracking.py",
        "        self._outside, self._seen_outside = now, None\n",
        "        self._outside, self._seen_outside = {}, None\n",
        Test(
            f"{_LIVE}/test_outsiders.py::"
            "test_what_a_process_outside_held_when_an_epoch_began_is_suspect"
        ),
    ),
    Mutation(
        "outputs of another life are sealed",
        "src/tidemark/steps/live.py",
        '        if life != answer["life"]:\n',
        "        if not life:\n",
        Test(f"{_LIVE}/test_outsiders.py::test_outputs_of_another_life_are_not_sealed"),
    ),
    Mutation(
        "a page that the parent lacks is clean if the tracker says so",
        "src/tidemark/steps/settle.py",
        "    surprising = unproven - source.zero(unproven)\n",
        "    surprising = unproven - unproven\n",
        Test(
            "tests/unit/test_settle.py::"
            "test_a_page_that_is_called_clean_and_that_the_parent_lacks_is_dumped"
        ),
    ),
    Mutation(
        "munmap is no change of mappings",
        "native/process.c",
        "SYS_mremap, SYS_munmap,\n",
        "SYS_mremap,\n",
        Test(f"{_LIVE}/test_guarantees.py::test_no_write_is_lost[kill_within_unmap-uffd-wp]"),
    ),
    Mutation(
        "a call that would go on is not gone on with",
        "native/lifeline.c",
        "	else if (result == -TM_ERESTART_RESTARTBLOCK)\n		state.rax = RESTART_SYSCALL;\n",
        "",
        NativeTest("lifeline"),
    ),
    Mutation(
        "a huge page counts for more than a view shows of it",
        "native/pagemap.c",
        "	if (end > view->end)\n		end = view->end;\n",
        "",
        NativeTest("pagemap"),
    ),
)
