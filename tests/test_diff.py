from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.web.diff import LONGEST, difference

TEXTS = st.text(st.sampled_from("ab  \n,.天气晴Ű😀'"), max_size=40)


def told(old: str, new: str) -> str | None:
    """A difference in one line: -removed-, +added+."""
    pieces = difference(old, new)
    marks = {"same": "", "removed": "-", "added": "+"}
    return None if pieces is None else "".join(f"{marks[p.kind]}{p.text}{marks[p.kind]}" for p in pieces)


@given(TEXTS, TEXTS)
def test_the_pieces_are_the_old_and_the_new_text(old: str, new: str) -> None:
    pieces = difference(old, new)
    if pieces is not None:
        assert "".join(piece.text for piece in pieces if piece.kind != "added") == old
        assert "".join(piece.text for piece in pieces if piece.kind != "removed") == new
        assert all(piece.text for piece in pieces)
        assert all(one.kind != other.kind for one, other in pairwise(pieces))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("the same", "the same", "the same"),
        ("", "all of it", "+all of it+"),
        ("all of it", "", "-all of it-"),
        ("", "", ""),
        ("Name three foods.", "Name three healthy foods.", "Name three +healthy +foods."),
        ("don't go now", "do go now", "-don't-+do+ go now"),
        ("今天天气很好。", "今天北京天气很好。", "今天+北京+天气很好。"),
        ("一二三", "一四三", "一-二-+四+三"),
    ],
)
def test_words_are_compared_whole_and_chinese_by_characters(old: str, new: str, expected: str) -> None:
    assert told(old, new) == expected


def test_neighbouring_changes_are_one() -> None:
    assert told("keep the old red car here", "keep the new blue car here") == "keep the -old red-+new blue+ car here"


def test_texts_with_next_to_nothing_in_common_are_two_texts() -> None:
    assert difference("Rain falls on green hills.", "Compute 17 * 23, step-wise: 391!") is None


def test_long_texts_are_not_compared_and_long_enough_ones_quickly() -> None:
    assert difference("a" * (LONGEST + 1), "a") is None
    assert difference("a b " * 5000, "b a " * 5000) is None  # too many tokens
    began = time.perf_counter()
    assert difference("word " * 2900, "word other " * 1400) is not None
    assert time.perf_counter() - began < 2
