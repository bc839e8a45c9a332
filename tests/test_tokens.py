"""From texts to tokens: which of them are scored, by either convention."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectune.errors import SettingsError
from reflectune.student.tokens import ExactReader, Pair, PublishedReader, Question, Target, Unscorable

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def spelling(
    merges: Sequence[tuple[str, str]] = (),
    *,
    bos: bool = True,
    eos: bool = True,
    begins: bool = False,
    ends: bool = False,
    drops: str = "",
    chat: str | None = None,
) -> Any:
    """A tokenizer that spells texts byte by byte.

    Args:
        merges: Pairs that it writes as one token.
        bos: Whether it has a BOS token.
        eos: Whether it has an EOS token.
        begins: Whether it begins a text with BOS when it adds special tokens.
        ends: Whether it ends one with EOS then.
        drops: A character that it does not read.
        chat: Its chat template.
    """
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    words = ["<s>", "</s>", *letters, *("".join(pair) for pair in merges)]
    model = tokenizers.models.BPE({word: number for number, word in enumerate(words)}, list(merges))
    built = tokenizers.Tokenizer(model)
    built.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=False
    )
    built.decoder = tokenizers.decoders.ByteLevel()
    if drops:
        built.normalizer = tokenizers.normalizers.Replace(drops, "")
    if begins or ends:
        single = " ".join(["<s>"] * begins + ["$A"] + ["</s>"] * ends)
        built.post_processor = tokenizers.processors.TemplateProcessing(
            single=single, pair=f"{single} $B", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    special = {"bos_token": "<s>"} if bos else {}
    special |= {"eos_token": "</s>"} if eos else {}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=built, chat_template=chat, clean_up_tokenization_spaces=False, **special
    )


def asked(prompt: str, target: str, anchor: str | None = None, *, special: bool = True) -> Question:
    return Question(prompt, target, target if anchor is None else anchor, special)


def spelt(tokenizer: Any, target: Target) -> tuple[list[str], list[str]]:
    """The tokens of a target that are read only, and those that are scored."""
    words = tokenizer.convert_ids_to_tokens(list(target.tokens))
    return words[: target.first], words[target.first :]


def exactly(tokenizer: Any, question: Question, most: int = 100) -> Pair | Unscorable:
    (found,) = ExactReader(tokenizer).read([question], most)
    return found


def as_published(tokenizer: Any, question: Question, most: int = 100) -> Pair | Unscorable:
    (found,) = PublishedReader(tokenizer).read([question], most)
    return found


def pair(found: Pair | Unscorable) -> Pair:
    assert isinstance(found, Pair), found
    return found


# exact


@pytest.mark.parametrize(
    ("question", "read", "scored"),
    [
        (asked("ab", "cd", special=False), "ab", "cd"),
        (asked("ab ", "cd", special=False), "abĠ", "cd"),
        (asked("ab", " cd", special=False), "ab", "Ġcd"),
        (asked("cd", "cdcd", special=False), "cd", "cdcd"),
        (asked("", "cd", special=False), "c", "d"),  # nothing predicts the first token of a text
    ],
)
def test_exact_scores_the_tokens_of_the_target(question: Question, read: str, scored: str) -> None:
    tokenizer = spelling(begins=True)
    found = pair(exactly(tokenizer, question))
    assert spelt(tokenizer, found.conditioned) == (list(read), list(scored))
    assert not found.truncated


def test_exact_scores_a_token_that_straddles_prompt_and_target() -> None:
    tokenizer = spelling([("b", "c")], begins=True)
    found = pair(exactly(tokenizer, asked("ab", "cd", special=False)))
    assert spelt(tokenizer, found.conditioned) == (["a"], ["bc", "d"])
    assert spelt(tokenizer, found.alone) == (["<s>"], ["c", "d"])


@pytest.mark.parametrize(
    ("has", "conditioned", "alone"),
    [
        ({"begins": True}, (["<s>", "a", "b"], ["c", "d"]), (["<s>"], ["c", "d"])),
        ({"begins": True, "ends": True}, (["<s>", "a", "b"], ["c", "d"]), (["<s>"], ["c", "d"])),
        ({}, (["a", "b", "c"], ["d"]), (["c"], ["d"])),  # it has a BOS token, and does not add it
        ({"bos": False, "eos": False}, (["a", "b", "c"], ["d"]), (["c"], ["d"])),
    ],
)
def test_exact_scores_the_same_characters_in_both_readings(
    has: dict[str, bool], conditioned: tuple[list[str], list[str]], alone: tuple[list[str], list[str]]
) -> None:
    tokenizer = spelling(**has)
    found = pair(exactly(tokenizer, asked("ab", "cd")))
    assert spelt(tokenizer, found.conditioned) == conditioned
    assert spelt(tokenizer, found.alone) == alone


def test_exact_leaves_out_the_characters_of_a_first_token_that_nothing_predicts() -> None:
    tokenizer = spelling([("c", "d"), ("b", "c")])
    found = pair(exactly(tokenizer, asked("ab", "cdef")))
    assert spelt(tokenizer, found.alone) == (["cd"], ["e", "f"])
    assert spelt(tokenizer, found.conditioned)[1] == ["e", "f"]


@pytest.mark.parametrize(("special", "read"), [(True, ["<s>", "a", "b"]), (False, ["a", "b"])])
def test_exact_adds_special_tokens_only_where_the_template_did_not(special: bool, read: list[str]) -> None:
    tokenizer = spelling(begins=True, ends=True)
    found = pair(exactly(tokenizer, asked("ab", "cd", special=special)))
    assert spelt(tokenizer, found.conditioned) == (read, ["c", "d"])  # an EOS at the end is no part of the target


@settings(deadline=None)
@given(TEXTS, TEXTS.filter(str.strip), st.booleans())
def test_exact_scores_the_target_whatever_it_holds(prompt: str, target: str, special: bool) -> None:
    found = pair(exactly(SPELLER, asked(prompt + ".", target, special=special), 1000))
    scored = [*found.conditioned.tokens[found.conditioned.first :]]
    assert SPELLER.decode(scored) == target
    assert found.alone.tokens == (SPELLER.bos_token_id, *scored)


SPELLER = spelling(begins=True)


@pytest.mark.parametrize(
    ("most", "scored", "cut"), [(7, "cdef", False), (6, "cdef", False), (5, "cde", True), (3, "c", True)]
)
def test_exact_cuts_both_readings_at_the_same_character(most: int, scored: str, cut: bool) -> None:
    tokenizer = spelling(begins=True)
    found = pair(exactly(tokenizer, asked("ab", "cdef", special=False), most))
    assert spelt(tokenizer, found.conditioned)[1] == list(scored)
    assert spelt(tokenizer, found.alone) == (["<s>"], list(scored))
    assert found.truncated is cut


def test_exact_reads_the_characters_that_were_left_anew() -> None:
    tokenizer = spelling([("b", "c"), ("d", "e")], begins=True)
    found = pair(exactly(tokenizer, asked("ab", "cdef", special=False), 3))
    assert spelt(tokenizer, found.conditioned) == (["a"], ["bc", "de"])
    assert spelt(tokenizer, found.alone) == (["<s>"], ["c", "de"])
    assert found.truncated


def test_neither_reading_is_longer_than_the_most() -> None:
    tokenizer = spelling([("b", "c")])
    for most in range(2, 12):
        found = pair(exactly(tokenizer, asked("b", "cdefghij"), most))
        assert max(len(found.conditioned.tokens), len(found.alone.tokens)) <= most


@pytest.mark.parametrize("read", [exactly, as_published])
@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (asked("ab", ""), "empty"),
        (asked("ab", " \n"), "empty"),
        (asked("abcdefgh", "c"), "too-long"),
        (asked("abcdefghijkl", "c"), "too-long"),
        (asked("abcdefghijkl", ""), "empty"),
    ],
)
def test_what_cannot_be_scored_says_why(read: Any, question: Question, reason: str) -> None:
    found = read(spelling(), question, 8)
    assert isinstance(found, Unscorable)
    assert found.reason == reason
    assert found.detail


def test_a_single_token_that_nothing_stands_before_is_not_scored() -> None:
    for found in (exactly(spelling(), asked("ab", "c")), as_published(spelling(), asked("ab", "c"))):
        assert isinstance(found, Unscorable)
        assert found.reason == "no-tokens"
    assert isinstance(exactly(spelling(begins=True), asked("ab", "c")), Pair)


def test_exact_reads_many_at_once_and_keeps_their_order() -> None:
    tokenizer = spelling(begins=True)
    questions = [
        asked("ab", "cd", special=False),
        asked("ab", ""),
        asked("a", "bcd"),
        asked("abcdefghijkl", "m"),
        asked("x", "yz", special=False),
    ]
    together = ExactReader(tokenizer).read(questions, 9)
    assert together == [exactly(tokenizer, question, 9) for question in questions]
    assert [type(found).__name__ for found in together] == ["Pair", "Unscorable", "Pair", "Unscorable", "Pair"]
    assert ExactReader(tokenizer).read([], 9) == []


def test_exact_needs_a_tokenizer_that_knows_characters() -> None:
    with pytest.raises(SettingsError, match="which characters") as refused:
        ExactReader(SimpleNamespace(is_fast=False))
    assert "--convention published" in refused.value.mend


# published


@pytest.mark.parametrize(
    ("question", "scored"),
    [
        (asked("ab", "cd"), "cd"),
        (asked("cd ab cd ", "cd"), "cd"),
        (asked("p ", "ab", "ab"), "ab"),
        (asked("p ", "ab+ab+z", "ab"), "ab+z"),  # the input says the instruction again
        (asked("p ", "aaa", "aa"), "aa"),
        (asked("p ", "ab+z", "z"), "z"),
    ],
)
def test_published_begins_at_the_last_occurrence_of_the_anchor(question: Question, scored: str) -> None:
    tokenizer = spelling()
    found = pair(as_published(tokenizer, question))
    assert "".join(spelt(tokenizer, found.conditioned)[1]) == scored


def test_published_counts_the_tokens_of_what_stands_before_as_encoded_by_itself() -> None:
    tokenizer = spelling([("b", "c"), ("x", "y")])
    assert spelt(tokenizer, pair(as_published(tokenizer, asked("ab", "cde"))).conditioned) == (["a", "bc"], ["d", "e"])
    # The text before the target is cut in the middle of a token, and so has a token more than the whole has there.
    alone = as_published(tokenizer, asked("ab", "c"))
    assert alone == Unscorable("no-tokens", "it is one token, which nothing predicts where the text stands alone")
    begun = as_published(spelling([("b", "c"), ("x", "y")], begins=True), asked("ab", "c"))
    assert begun == Unscorable("no-tokens", "after its prompt no token is its own")


@pytest.mark.parametrize(
    ("begins", "special", "read", "alone"),
    [
        (True, True, "<s>ab", (["<s>"], ["c", "d"])),
        (True, False, "ab", (["<s>"], ["c", "d"])),
        (False, True, "ab", (["c"], ["d"])),  # a BOS that the tokenizer does not add
    ],
)
def test_published_begins_with_bos_only_where_the_tokenizer_adds_it(
    begins: bool, special: bool, read: str, alone: tuple[list[str], list[str]]
) -> None:
    tokenizer = spelling(begins=begins)
    found = pair(as_published(tokenizer, asked("ab", "cd", special=special)))
    assert "".join(spelt(tokenizer, found.conditioned)[0]) == read
    assert spelt(tokenizer, found.alone) == alone


@pytest.mark.parametrize(
    ("begins", "most", "conditioned", "alone"),
    [
        (True, 9, "cdefgh", "cdefgh"),
        (True, 8, "cdefg", "cdefg"),
        (True, 5, "cd", "cd"),
        (False, 8, "cdefgh", "cdefgh"),
        (False, 7, "cdefg", "cdefgh"),  # without a BOS the reading alone is one token longer
        (False, 4, "cd", "cde"),
    ],
)
def test_published_cuts_the_reading_alone_at_what_the_prompt_leaves_plus_one(
    begins: bool, most: int, conditioned: str, alone: str
) -> None:
    tokenizer = spelling(begins=begins)
    found = pair(as_published(tokenizer, asked("ab", "cdefgh"), most))
    prompt = 2 + begins
    assert "".join(spelt(tokenizer, found.conditioned)[1]) == conditioned
    assert len(found.conditioned.tokens) <= most
    assert len(found.alone.tokens) <= most - prompt + 1
    assert "".join(tokenizer.convert_ids_to_tokens(list(found.alone.tokens))).removeprefix("<s>") == alone
    assert found.truncated or most > 7 + begins


def test_published_does_not_call_a_text_cut_that_leaves_room() -> None:
    assert not pair(as_published(spelling(begins=True), asked("ab", "cdefgh"), 10)).truncated


def test_published_leaves_out_what_begins_where_the_text_is_cut() -> None:
    found = as_published(spelling(), asked("p ", "abcdef+ab", "ab"), 9)
    assert found == Unscorable("too-long", "its prompt takes all of the 9 tokens")
