"""Tags around reasoning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.tags import split_think


@pytest.mark.parametrize(
    ("text", "reasoning", "rest"),
    [
        ("plain", None, "plain"),
        ("", None, ""),
        ("<think>a</think>b", "a", "b"),
        ("\n <THINK>\na\n</Think>\n\n b ", "a", "b "),
        ("<think></think>b", "", "b"),
        ("<think>never closed {1}", "never closed {1}", ""),
        ("<think>a</think>b</think>c", "a", "b</think>c"),
        ("before <think>a</think>", None, "before <think>a</think>"),
        ("<thinking>a</thinking>b", None, "<thinking>a</thinking>b"),
    ],
)
def test_only_a_leading_block_is_split_off(text: str, reasoning: str | None, rest: str) -> None:
    assert split_think(text) == (reasoning, rest)


@given(st.text(), st.text())
def test_text_after_the_block_comes_through(thought: str, text: str) -> None:
    if "</think>" in thought.lower():
        return
    assert split_think(f"<think>{thought}</think>{text}") == (thought.strip(), text.lstrip())


@given(st.text())
def test_text_without_a_block_is_untouched(text: str) -> None:
    if not text.lstrip().lower().startswith("<think>"):
        assert split_think(text) == (None, text)
