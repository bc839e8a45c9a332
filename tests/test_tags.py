"""Tags around reasoning."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.tags import Parsed, Scanner, parse, reflect, split_think, write


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


TAGS = [f"<{slash}{name}>" for slash in ("", "/") for name in ("thinking", "reflection", "output", "Output", "b")]
PIECES = st.sampled_from([*TAGS, "text", " ", "\n", "\r\n", "```", "\n```py\n", "\n```\n", "~~~", "\u2028", "<", "`"])
TEXTS = st.lists(PIECES, max_size=25).map("".join)
PLAIN = st.text(st.characters(exclude_characters="<`~", exclude_categories=["Cs"]))


def test_a_whole_answer() -> None:
    text = "<thinking>\na\n<reflection> wrong: b </reflection>\nc\n</thinking>\n\n<output>\n d \n</output>"
    parsed = parse(text)
    assert parsed.thinking == "a\n<reflection> wrong: b </reflection>\nc"
    assert parsed.reflections == ("wrong: b",)
    assert parsed.output == "d"
    assert parsed.well_formed
    assert [block.inside for block in parsed.reflection_blocks] == [True]


@pytest.mark.parametrize(
    ("text", "thinking", "reflections", "output", "faults"),
    [
        ("", None, (), None, {"no-thinking", "no-output"}),
        ("just words <b>", None, (), None, {"no-thinking", "no-output"}),
        ("<output>a</output>", None, (), "a", {"no-thinking"}),
        ("<THINKING>a</Thinking><Output>b</OUTPUT>", "a", (), "b", set()),
        (
            "<thinking>a<output>b</output>",
            "a<output>b</output>",
            (),
            None,
            {"unclosed-thinking", "no-output", "misplaced", "stray"},
        ),
        ("<thinking>a", "a", (), None, {"unclosed-thinking", "no-output"}),
        ("<thinking>a</thinking><output>b", "a", (), "b", {"unclosed-output"}),
        ("<thinking>a</thinking>b", "a", (), None, {"no-output"}),
        ("<thinking>a</thinking><reflection>r</reflection><output>b</output>", "a", ("r",), "b", set()),
        (
            "<thinking>a<reflection>r</thinking><output>b</output>",
            "a<reflection>r",
            ("r",),
            "b",
            {"unclosed-reflection"},
        ),
        ("<thinking>a</thinking><reflection>r<output>b</output>", "a", ("r<output>b</output>",), None, None),
        ("<thinking>a</thinking><output>b</output><output>c</output>", "a", (), "b", {"second-output"}),
        ("<thinking>a</thinking><thinking>b</thinking><output>c</output>", "a", (), "c", {"second-thinking"}),
        ("<output>b</output><thinking>a</thinking>", "a", (), "b", {"order"}),
        ("<thinking>a</thinking><output>b</output><reflection>r</reflection>", "a", ("r",), "b", {"order"}),
        ("<thinking>a</thinking></reflection><output>b</output>", "a", (), "b", {"stray"}),
        ("<thinking>a</thinking><output>b<output>c</output>", "a", (), "b<output>c", {"misplaced"}),
        ("<thinking>a<thinking>b</thinking><output>c</output>", "a<thinking>b", (), "c", {"misplaced"}),
        ("<thinking>a</thinking><output>b<step>c</output>", "a", (), "b<step>c", set()),
        (
            "<thinking>a</thinking><output>b<reflection>r</reflection></thinking>c</output>",
            "a",
            (),
            "b<reflection>r</reflection></thinking>c",
            {"misplaced"},
        ),
        ("< thinking>a</ thinking>", None, (), None, {"no-thinking", "no-output"}),
    ],
)
def test_the_grammar(
    text: str, thinking: str | None, reflections: tuple[str, ...], output: str | None, faults: set[str] | None
) -> None:
    parsed = parse(text)
    assert (parsed.thinking, parsed.reflections, parsed.output) == (thinking, reflections, output)
    assert faults is None or set(parsed.faults) == faults
    assert parsed.well_formed is not bool(parsed.faults)


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("<output>\n```\n</output>\n```\na</output>", "```\n</output>\n```\na"),
        ("<output>~~~~\n</output>\n~~~\n</output>\n~~~~\na</output>", "~~~~\n</output>\n~~~\n</output>\n~~~~\na"),
        ("<output>\n    ```py\n</output>\n    ```</output>z", "```py\n</output>\n    ```"),
        ("<output>`</output>`", "`"),
        ("<output>see ```</output>", "see ```"),
        ("<output>\n```a```\n</output>", "```a```"),
        ("<output>\n```</output>", "```"),
        ("<output>\n```\ncode</output>", "```\ncode</output>"),
        ("```\n<output>a</output>\n```\n<output>b</output>", "b"),
        ("```\r\n<output>a</output>\r\n```\r\n<output>b</output>", "b"),
    ],
)
def test_no_tag_counts_in_a_code_block(text: str, output: str) -> None:
    assert parse(text).output == output


@given(TEXTS)
def test_blocks_say_where_they_stand(text: str) -> None:
    parsed = parse(text)
    for block in parsed.blocks:
        assert text[slice(*block.span)] == block.text == block.text.strip()
        whole = text[slice(*block.whole)]
        assert whole.lower().startswith(f"<{block.name}>")
        assert block.whole[0] < block.span[0] <= block.span[1] <= block.whole[1]
        assert whole.lower().endswith(f"</{block.name}>") or not block.closed
    assert list(parsed.blocks) == sorted(parsed.blocks, key=lambda block: block.whole)
    outer = [block for block in parsed.blocks if not block.inside]
    assert all(one.whole[1] <= other.whole[0] for one, other in itertools.pairwise(outer))


@given(TEXTS)
def test_a_well_formed_answer_has_each_part(text: str) -> None:
    parsed = parse(text)
    if parsed.well_formed:
        assert parsed.thinking is not None
        assert parsed.output is not None
        assert all(block.closed for block in parsed.blocks)
        assert [block.name for block in parsed.blocks if not block.inside][-1] == "output"


@given(TEXTS, st.data())
def test_a_growing_text_has_the_same_tags(text: str, data: st.DataObject) -> None:
    """Lines are read one by one, so what was found in the first ones holds whatever follows."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    cut = data.draw(st.integers(0, len(lines)))
    whole, part = Scanner(), Scanner()
    found = [tag for line in lines for tag in whole.tags(line)]
    first = [tag for line in lines[:cut] for tag in part.tags(line)]
    assert found[: len(first)] == first
    assert found == first + [tag for line in lines[cut:] for tag in part.tags(line)]


@given(PLAIN, PLAIN, PLAIN, PLAIN)
def test_what_is_written_is_read_back(before: str, correction: str, after: str, output: str) -> None:
    text = write(f"{before}\n{reflect(correction)}\n{after}", output)
    parsed = parse(text)
    assert parsed.well_formed
    assert parsed.thinking == f"{before}\n{reflect(correction)}\n{after}".strip()
    assert parsed.reflections == (correction.strip(),)
    assert parsed.output == output.strip()


@given(TEXTS, TEXTS)
def test_an_answer_that_could_not_be_read_back_is_not_written(thinking: str, output: str) -> None:
    try:
        parsed: Parsed = parse(write(thinking, output))
    except ValueError:
        return
    assert parsed.well_formed
    assert (parsed.thinking, parsed.output) == (thinking.strip(), output.strip())


@pytest.mark.parametrize(
    ("thinking", "output"),
    [("a</thinking>", "b"), ("a", "b</output>"), ("a\n```\n", "b"), ("<reflection>", "b"), ("a", "<output>b")],
)
def test_parts_with_tags_of_their_own_are_refused(thinking: str, output: str) -> None:
    with pytest.raises(ValueError, match="make no answer"):
        write(thinking, output)
