"""A reply that is still being written, as parts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectune.tags import Parsed, Part, Scanner, Stream, Tag, Think, parse, split_think

NAMES = ("thinking", "reflection", "output", "Output", "THINKING", "think", "b")
TAGS = [f"<{slash}{name}>" for slash in ("", "/") for name in NAMES]
WHOLE = [f"<{slash}{name}>" for slash in ("", "/") for name in ("thinking", "reflection", "output")]
BROKEN = ["<", "</", "<out", "put>", "<th", "ink>", "ing>", "/reflection>", ">", "<<", "< output>", "<th\u0131nking>"]
FENCES = ["```", "~~~", "````", "``", "~", "\n```py\n", "\n```\n", "\n  ~~~~\n", "```\r\n", "`"]
WORDS = ["text", "a b", " ", "  ", "\n", "\n\n", "\r\n", "\t", "\u2028", "\x85", "\u3000", "杯子", "é", "😀", "\u212a"]
PIECES = st.one_of(
    st.sampled_from([*TAGS, *BROKEN, *FENCES, *WORDS]),
    st.sampled_from(TAGS),
    st.text(max_size=3, alphabet=st.characters()),
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)


@st.composite
def split_texts(draw: st.DrawFn) -> list[str]:
    """A text in pieces: every split is possible, single characters and empty pieces among them."""
    text = draw(TEXTS)
    cuts = draw(st.one_of(st.just(range(len(text))), st.lists(st.integers(0, len(text)), max_size=40)))
    places = [0, *sorted(cuts), len(text)]
    return [text[begin:end] for begin, end in itertools.pairwise(places)]


def read(chunks: Iterable[str], *, think: bool = False) -> tuple[list[Part], Parsed]:
    stream = Stream(think=think)
    parts = [part for chunk in chunks for part in stream.feed(chunk)]
    return [*parts, *stream.end()], stream.parsed


def joined(parts: list[Part]) -> list[tuple[str, str, str]]:
    """Kind, text and raw of each part as a whole."""
    runs: list[tuple[str, str, str]] = []
    for part in parts:
        if part.begins or not runs:
            assert part.begins, "the first part begins"
            runs.append((part.kind, part.text, part.raw))
        else:
            kind, text, raw = runs[-1]
            assert part.kind == kind
            runs[-1] = (kind, text + part.text, raw + part.raw)
    return runs


@settings(max_examples=600)
@given(split_texts(), st.booleans())
def test_whatever_the_pieces_are_the_parts_are_the_same(chunks: list[str], think: bool) -> None:
    text = "".join(chunks)
    whole, parsed = read([text], think=think)
    pieces, parsed_of_pieces = read(chunks, think=think)
    assert joined(pieces) == joined(whole)
    assert parsed_of_pieces == parsed
    assert "".join(part.raw for part in pieces) == text


@settings(max_examples=300)
@given(split_texts())
def test_the_parts_are_what_the_whole_reply_says(chunks: list[str]) -> None:
    text = "".join(chunks)
    parts, parsed = read(chunks)
    runs = joined(parts)
    assert parsed == parse(text)
    assert "".join(said for kind, said, _ in runs if kind == "output") == (parsed.output or "")
    assert tuple(said for kind, said, _ in runs if kind == "reflection") == parsed.reflections
    assert all(said == said.strip() for _, said, _ in runs)
    if parsed.thinking_block and not any(block.inside for block in parsed.blocks):
        assert next(said for kind, said, _ in runs if kind == "thinking") == parsed.thinking


@settings(max_examples=300)
@given(split_texts())
def test_a_think_block_is_split_off_by_one_rule(chunks: list[str]) -> None:
    text = "".join(chunks)
    thought, rest = split_think(text)
    think = Think()
    parts = [part for chunk in chunks for part in think.feed(chunk)] + think.end()
    assert "".join(part.raw for part in parts) == text
    assert "".join(part.text for part in parts if part.kind == "text") == rest
    assert "".join(part.text for part in parts if part.kind == "thinking") == (thought or "")
    assert think.found is (thought is not None)
    runs = joined(read(chunks, think=True)[0])
    assert "".join(said for kind, said, _ in runs if kind == "output") == (parse(rest).output or "")
    if thought is not None:
        assert runs[0][:2] == ("thinking", thought)


@settings(max_examples=300)
@given(split_texts())
def test_the_scanner_takes_any_pieces(chunks: list[str]) -> None:
    text = "".join(chunks)
    scanner = Scanner()
    found: list[Tag] = [tag for chunk in chunks for tag in scanner.tags(chunk)]
    assert found == Scanner().tags(text)
    assert all(text[slice(*tag.span)].lower() == f"<{'/' * tag.closing}{tag.name}>" for tag in found)
    assert scanner.held < len("</reflection>")


@given(split_texts())
def test_no_more_is_held_back_than_may_change(chunks: list[str]) -> None:
    stream = Stream()
    read, said = "", ""
    for chunk in chunks:
        read += chunk
        said += "".join(part.raw for part in stream.feed(chunk))
        held = read.removeprefix(said)
        tag = held[held.rfind("<") :].lower() if "<" in held else ""
        white = held[: len(held) - len(tag)]
        assert not white.strip()
        assert any(whole.startswith(tag) and whole != tag for whole in WHOLE)


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("", []),
        ("  \n", [("text", "")]),
        ("plain", [("text", "plain")]),
        ("<thinking>\na\n</thinking>\n<output>b</output>\n", [("thinking", "a"), ("output", "b")]),
        (
            "<THINKING>a <Reflection>b</REFLECTION> c</thinking><output> d </OUTPUT>",
            [("thinking", "a"), ("reflection", "b"), ("thinking", "c"), ("output", "d")],
        ),
        ("<thinking><reflection>r</reflection>\n</thinking>", [("thinking", ""), ("reflection", "r")]),
        ("<reflection>a</reflection><reflection>b</reflection>", [("reflection", "a"), ("reflection", "b")]),
        ("<thinking>a<output>b", [("thinking", "a<output>b")]),
        ("<output>a</output> b <output>c</output>", [("output", "a"), ("text", "b"), ("text", "c")]),
        ("<output></output>x</output>", [("output", ""), ("text", "x</output>")]),
        ("<output>```\n</output>\n```\nb</output>", [("output", "```\n</output>\n```\nb")]),
        ("<output>\n~~~ py\n</output>\n~~~</output>c", [("output", "~~~ py\n</output>\n~~~"), ("text", "c")]),
        ("<output>a < b <i>c</i></output>", [("output", "a < b <i>c</i>")]),
        ("<th\u0130nking>a", [("text", "<th\u0130nking>a")]),
    ],
)
def test_parts(text: str, runs: list[tuple[str, str]]) -> None:
    for chunks in ([text], list(text)):
        assert [run[:2] for run in joined(read(chunks)[0])] == runs


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("\n<think>\na </think>\n\n<output>b</output>", [("thinking", "a"), ("output", "b")]),
        ("<think>a<output>b</output>", [("thinking", "a<output>b</output>")]),
        ("<think>a</think><thinking>b</thinking>c", [("thinking", "a"), ("thinking", "b"), ("text", "c")]),
        ("<think", [("text", "<think")]),
        ("<thinking>a</thinking>", [("thinking", "a")]),
        ("a<think>b</think>", [("text", "a<think>b</think>")]),
    ],
)
def test_models_that_think_first(text: str, runs: list[tuple[str, str]]) -> None:
    for chunks in ([text], list(text)):
        assert [run[:2] for run in joined(read(chunks, think=True)[0])] == runs


def test_text_comes_out_as_soon_as_it_can_be_no_tag() -> None:
    stream = Stream()
    said = [[(part.kind, part.text) for part in stream.feed(chunk)] for chunk in ("<output>", "a", " ", "b<", "i", ">")]
    assert said == [[("output", "")], [("output", "a")], [], [("output", " b")], [("output", "<i")], [("output", ">")]]


def test_what_the_first_line_of_a_code_block_says_is_not_held_back() -> None:
    stream = Stream()
    assert "".join(part.text for part in stream.feed("```python and more")) == "```python and more"


@pytest.mark.parametrize(
    "unit", ["<", "`", " ", "\n", "a b", "<output>", "</output>", "```\n", "<think>", "</", "\n``` x"]
)
def test_the_time_grows_with_the_length_alone(unit: str) -> None:
    """Counted, not timed: what the scanner looks at again is at most what it held back."""
    chunks = [unit] * 3000
    scanner = Scanner()
    again = 0
    for chunk in chunks:
        again += scanner.held
        scanner.tags(chunk)
    assert again <= 12 * len(chunks)
    assert joined(read(chunks)[0]) == joined(read(["".join(chunks)])[0])
