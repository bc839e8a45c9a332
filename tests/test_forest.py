"""Texts that begin alike share their beginning in a pack, and each comes out of it as it went in."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.student.forest import SHORTEST, Forest, Segment

Text = tuple[int, ...]
PIECES = st.lists(st.integers(0, 1), max_size=12).map(tuple)


@st.composite
def alike(draw: st.DrawFn) -> list[Text]:
    """Texts of which many go on where an earlier one was cut."""
    texts: list[Text] = []
    for _ in range(draw(st.integers(0, 9))):
        stem = draw(st.sampled_from([(), *texts]))
        texts.append(stem[: draw(st.integers(0, len(stem)))] + draw(PIECES))
    return draw(st.permutations(texts))


def common(one: Text, other: Text) -> int:
    """How many tokens two texts begin with alike."""
    length = 0
    while one[length : length + 1] and one[length : length + 1] == other[length : length + 1]:
        length += 1
    return length


def seen_from(forest: Forest, segment: Segment) -> list[int]:
    """The places that the last token of a segment sees."""
    return [place for begin, end in (*segment.before, (segment.begin, segment.end)) for place in range(begin, end)]


@given(alike())
def test_every_text_comes_out_as_it_went_in(texts: list[Text]) -> None:
    forest = Forest.of(texts)
    for number, text in enumerate(texts):
        places = forest.places(number)
        assert tuple(forest.tokens[place] for place in places) == text
        assert [forest.positions[place] for place in places] == list(range(len(text)))


@given(alike())
def test_segments_divide_the_pack(texts: list[Text]) -> None:
    forest = Forest.of(texts)
    ends = [0, *(segment.end for segment in forest.segments)]
    assert ends == [*(segment.begin for segment in forest.segments), len(forest.tokens)]
    assert all(segment.begin < segment.end for segment in forest.segments)
    assert len(forest.tokens) == len(forest.positions)


@given(alike())
def test_a_segment_sees_what_its_texts_begin_with_and_nothing_else(texts: list[Text]) -> None:
    forest = Forest.of(texts)
    begun = {text[:length] for text in texts for length in range(1, len(text) + 1)}
    for segment in forest.segments:
        seen = seen_from(forest, segment)
        assert tuple(forest.tokens[place] for place in seen) in begun
        assert [forest.positions[place] for place in seen] == list(range(len(seen)))
    last = {segment.end: segment for segment in forest.segments}
    for number, text in enumerate(texts):
        if text:
            assert seen_from(forest, last[forest.runs[number][-1][1]]) == forest.places(number)


@given(alike())
def test_of_what_two_texts_have_in_common_only_a_short_rest_is_stored_twice(texts: list[Text]) -> None:
    forest = Forest.of(texts)
    assert len(forest.tokens) <= sum(map(len, set(texts)))
    for one in range(len(texts)):
        for other in range(one):
            stored = len(set(forest.places(one)) & set(forest.places(other)))
            length = common(texts[one], texts[other])
            assert length - SHORTEST < stored <= length
            if texts[one] == texts[other]:
                assert forest.places(one) == forest.places(other)


@given(alike())
def test_the_order_of_the_texts_changes_nothing(texts: list[Text]) -> None:
    forest, turned = Forest.of(texts), Forest.of(texts[::-1])
    assert (forest.tokens, forest.segments) == (turned.tokens, turned.segments)
    assert forest.runs == turned.runs[::-1]


PROMPT = tuple(range(100, 100 + SHORTEST))


@pytest.mark.parametrize(
    ("texts", "stored"),
    [
        ([], 0),
        ([()], 0),
        ([(), (), (1,)], 1),
        ([(1, 2, 3)], 3),
        ([(1, 2, 3)] * 3, 3),
        ([(*PROMPT, 1), (*PROMPT, 2)], SHORTEST + 2),
        ([(*PROMPT[1:], 1), (*PROMPT[1:], 2)], 2 * SHORTEST),  # one token too few to share
        ([(*PROMPT, 1, 2), PROMPT], SHORTEST + 2),  # the one goes on where the other ends
        ([(*PROMPT, 1, *PROMPT, 2), (*PROMPT, 1, *PROMPT, 3), (*PROMPT, 4)], 2 * SHORTEST + 4),
        ([(*PROMPT, 1), (*PROMPT, 2), (7, 8), (*PROMPT, 2)], SHORTEST + 4),
    ],
)
def test_how_many_tokens_a_pack_holds(texts: list[Text], stored: int) -> None:
    forest = Forest.of(texts)
    assert len(forest.tokens) == stored
    assert len(forest.runs) == len(texts)


def test_a_shared_beginning_is_a_segment_that_its_texts_begin_with() -> None:
    forest = Forest.of([(*PROMPT, 1, 2), (*PROMPT, 3)])
    assert forest.segments == [
        Segment(0, 8, ()),
        Segment(8, 10, ((0, 8),)),
        Segment(10, 11, ((0, 8),)),
    ]
    assert forest.runs == [((0, 8), (8, 10)), ((0, 8), (10, 11))]


@given(alike())
def test_a_chain_is_one_text_from_its_first_token_to_its_last(texts: list[Text]) -> None:
    forest = Forest.of(texts)
    chains = forest.chains()
    assert [0, *(chain.end for chain in chains)] == [*(chain.begin for chain in chains), len(forest.tokens)]
    begun = {text[:length] for text in texts for length in range(1, len(text) + 1)}
    for chain in chains:
        assert tuple(forest.tokens[place] for place in seen_from(forest, chain)) in begun
    for one, other in itertools.pairwise(chains):
        assert not other.before or other.before[-1][1] != one.end, "two segments of one text were not joined"


def test_the_first_text_is_read_with_what_others_share_of_it() -> None:
    forest = Forest.of([(*PROMPT, 1, 2), (*PROMPT, 3)])
    assert forest.chains() == [Segment(0, 10, ()), Segment(10, 11, ((0, 8),))]
