"""What the Snakefile asks the package."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tidemark.workflow import one_of

WORDS = st.lists(st.from_regex(r"[ab][ab_-]{0,4}", fullmatch=True), max_size=8)


@given(WORDS, WORDS)
def test_a_pattern_of_words_matches_them_and_no_others(words: list[str], others: list[str]) -> None:
    pattern = re.compile(one_of(words))
    assert all(pattern.fullmatch(word) for word in words)
    assert not [word for word in set(others) - set(words) if pattern.fullmatch(word)]


def test_a_word_that_begins_another_is_matched_before_what_follows() -> None:
    assert re.fullmatch(f"{one_of(['grid-2', 'grid', 'sparse'])}/e0", "grid/e0")
    assert not re.fullmatch(one_of([]), "")
