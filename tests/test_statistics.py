"""Statistics of data: figures of rows, their means and intervals, and what changed."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectune.errors import MissingExtraError
from reflectune.evaluate import METRICS, Metric, Statistics, compare, stats
from reflectune.evaluate.diversity import distinct_bigrams, exact_duplicates, mean_distance
from reflectune.evaluate.figures import perplexity, words
from reflectune.evaluate.intervals import paired_difference, summarised, unpaired_difference
from reflectune.formats import open_source
from reflectune.records import Example, Version, VersionScores
from test_embedding import letters
from test_gates import RIVER, TEA

FIGURES = st.floats(-1e6, 1e6, allow_nan=False)


def rows(*pairs: tuple[str, str]) -> list[Example]:
    return [Example(str(number), instruction, response) for number, (instruction, response) in enumerate(pairs)]


def mean(found: Statistics, metric: Metric) -> float:
    return found.metrics[metric].mean


def real(folder: Path, name: str, count: int | None = None) -> list[Example]:
    return [row.example for row in open_source(folder / "instruct" / name).rows() if row.example][:count]


# figures of a row


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        (" \n", 0),
        ("Why do cats purr?", 4),
        ("3 - 2 = 1", 5),
        ("déjà vu — encore", 4),
        ("用热水泡茶。", 5),
        ("用 Python 写代码。", 5),
        ("请用Python写代码", 6),
        ("これはペンです", 7),
    ],
)
def test_how_many_words_a_text_has(text: str, count: int) -> None:
    assert words(text) == count


@given(
    st.text(
        st.characters(max_codepoint=0x2E7F, exclude_categories=["Cs"]).filter(lambda c: not 0xE00 < ord(c) < 0x1800)
    )
)
def test_words_of_spaced_scripts_are_what_stands_between_white_space(text: str) -> None:
    assert words(text) == len(text.split())


def test_lengths_include_the_input_and_coherence_does_not() -> None:
    found = stats([Example("a", "aaa", "aaa", input="bb bb bb")], embedder=letters(), tokenizer=len)
    assert mean(found, "instruction_words") == 4
    assert mean(found, "instruction_tokens") == len("aaa\n\nbb bb bb")
    assert mean(found, "response_tokens") == 3
    assert mean(found, "coherence") == pytest.approx(1)


def test_an_empty_response_has_a_length_of_nothing_and_no_coherence() -> None:
    found = stats(rows(("ab", ""), ("ab", "ab")), embedder=letters(), tokenizer=len)
    assert found.figures.columns["response_words"] == (0, 1)
    assert found.figures.columns["coherence"][0] is None
    assert found.metrics["coherence"].count == 1
    assert found.languages["response"] == {"unknown": 1}


def test_scores_become_perplexities_and_what_is_unknown_stays_so() -> None:
    scores = {
        "0": VersionScores(instruction_loss_alone=2.0, response_loss_alone=1.0, ifd_ppl=0.7, rifd_ppl=0.4),
        "1": VersionScores(instruction_loss_alone=1e4, response_loss_alone=0.0),
    }
    found = stats(rows(("a", "b"), ("c", "d"), ("e", "f")), scores=scores)
    assert found.figures.columns["instruction_ppl"] == (pytest.approx(math.e**2), None, None)
    assert found.figures.columns["response_ppl_alone"] == (pytest.approx(math.e), 1.0, None)
    assert found.figures.columns["ifd_ppl"] == (0.7, None, None)
    assert "response_ppl_conditioned" not in found.metrics
    assert found.metrics["ifd_ppl"].count == 1


@pytest.mark.parametrize(
    ("loss", "expected"), [(None, None), (0.0, 1.0), (1e9, None), (math.nan, None), (math.inf, None)]
)
def test_a_perplexity_is_finite_or_unknown(loss: float | None, expected: float | None) -> None:
    assert perplexity(loss) == expected


def test_without_anything_only_words_are_told() -> None:
    found = stats(rows((RIVER, TEA)))
    assert set(found.metrics) == {"instruction_words", "response_words"}
    assert (found.distance, found.embedder) == (None, None)
    plain = found.plain()["metrics"]
    assert set(plain) == set(METRICS)
    assert plain["coherence"] is None


def test_no_rows_are_no_error() -> None:
    found = stats([], embedder=letters(), tokenizer=len, scores={})
    assert (found.rows, found.metrics, found.exact_duplicates, found.near_duplicates) == (0, {}, None, None)
    assert compare(found, found).differences == {}


def test_versions_are_as_good_as_examples() -> None:
    examples = rows((RIVER, TEA), ("a b c", "d"))
    pairs = [(example.id, example.version) for example in examples]
    assert stats(examples) == stats(pairs)


# the whole data set


def test_duplicates_are_told_by_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    near = RIVER.replace("plain words", "simple words")
    data = rows((RIVER, TEA), (f" {RIVER.upper()}", "x"), (near, "y"), (TEA, TEA))
    found = stats(data)
    assert (found.exact_duplicates, found.near_duplicates) == (0.25, 0.5)
    monkeypatch.setitem(sys.modules, "rensa", None)
    assert (stats(data).exact_duplicates, stats(data).near_duplicates) == (0.25, None)


def test_another_input_is_no_duplicate() -> None:
    data = [Example(str(number), "Sum this up.", "ok", input=text) for number, text in enumerate([RIVER, TEA, TEA])]
    assert stats(data).exact_duplicates == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("texts", "share"),
    [
        ([], None),
        (["one", ""], None),
        (["a b c"], 1.0),
        (["a b a b a"], 0.5),
        (["The tea.", "the TEA"], 0.5),
        (["好好好"], 0.5),
    ],
)
def test_the_share_of_different_bigrams(texts: list[str], share: float | None) -> None:
    assert distinct_bigrams(texts) == share


@given(st.lists(st.text("abcdefghij", min_size=1, max_size=9), min_size=2, max_size=20))
def test_the_mean_distance_is_that_of_all_pairs(texts: list[str]) -> None:
    vectors = letters().embed(texts).astype(np.float64)
    pairs = [1 - vectors[i] @ vectors[j] for i in range(len(texts)) for j in range(i)]
    with_a_blank = np.vstack([vectors, np.full((1, vectors.shape[1]), np.nan)]).astype(np.float32)
    assert mean_distance(with_a_blank) == pytest.approx(sum(pairs) / len(pairs), abs=1e-5)


def test_one_instruction_has_no_distance() -> None:
    assert mean_distance(letters().embed(["a"])) is None


def test_languages_are_counted_for_each_half() -> None:
    found = stats(rows((RIVER, "请详细说明怎样用八十度的热水泡一壶绿茶。"), (TEA, "42")))
    assert found.languages == {"instruction": {"en": 2}, "response": {"zh": 1, "unknown": 1}}


def test_exact_duplicates_of_nothing_are_unknown() -> None:
    assert exact_duplicates([]) is None


# means, intervals and differences


@settings(deadline=None, max_examples=60)
@given(st.lists(FIGURES, min_size=2, max_size=60), st.randoms())
def test_an_interval_holds_the_mean_and_the_order_of_rows_changes_nothing(figures: list[float], chance: object) -> None:
    found = summarised(figures)
    assert found is not None
    if len(set(figures)) == 1:
        assert found.interval is None  # nothing is known of those that were not seen
        return
    assert found.interval is not None
    slack = 1e-9 * (1 + abs(found.mean))
    assert found.interval.low - slack <= found.mean <= found.interval.high + slack
    assert found.mean == pytest.approx(math.fsum(figures) / len(figures), abs=1e-6)
    shuffled = list(figures)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert summarised(shuffled) == found


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(FIGURES, FIGURES), min_size=2, max_size=60))
def test_a_paired_difference_is_the_difference_of_the_means(pairs: list[tuple[float, float]]) -> None:
    before, after = [one for one, _ in pairs], [other for _, other in pairs]
    paired, unpaired = paired_difference(before, after), unpaired_difference(before, after)
    assert paired is not None
    assert unpaired is not None
    assert (paired.pairs, unpaired.pairs) == (len(pairs), 0)
    assert paired.mean == pytest.approx(unpaired.mean, abs=1e-6)
    for difference in (paired, unpaired):
        if difference.interval is None:  # all rows differ alike, or the rows of both sides are alike
            assert len({new - old for old, new in pairs}) == 1 or len(set(before)) == len(set(after)) == 1
            continue
        assert difference.interval.low - 1e-6 <= difference.mean <= difference.interval.high + 1e-6


def test_an_interval_is_about_what_theory_says() -> None:
    figures = np.random.default_rng(1).normal(10, 3, 2_000).tolist()
    found = summarised(figures)
    assert found is not None
    assert found.interval is not None
    assert found.interval.high - found.interval.low == pytest.approx(2 * 1.96 * 3 / math.sqrt(2_000), rel=0.1)


def test_few_rows_have_no_interval() -> None:
    one = summarised([4.0])
    assert one is not None
    assert (one.count, one.mean, one.median, one.deviation, one.interval) == (1, 4.0, 4.0, None, None)
    assert summarised([]) is None
    assert paired_difference([], []) is None
    assert unpaired_difference([1.0], []) is None
    single = paired_difference([1.0], [3.0])
    assert single is not None
    assert (single.mean, single.interval) == (2.0, None)


def test_missing_scipy_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'reflectune\[stats\]'"):
        summarised([1.0, 2.0])


# two data sets


def test_rows_are_joined_by_their_ids() -> None:
    before = stats([Example("a", "x", "one"), Example("b", "x", "one two"), Example("gone", "x", "one " * 50)])
    after = stats([Example("b", "x", "one two three"), Example("new", "x", "one " * 90), Example("a", "x", "one two")])
    compared = compare(before, after)
    difference = compared.differences["response_words"]
    assert (compared.pairs, difference.pairs, difference.mean) == (2, 2, 1.0)
    means = compare(before, after, paired=False)
    assert means.pairs == means.differences["response_words"].pairs == 0
    assert means.differences["response_words"].mean == pytest.approx(95 / 3 - 53 / 3)


def test_rows_of_other_ids_are_compared_by_their_means() -> None:
    compared = compare(stats([Example("a", "x", "one")]), stats([Example("b", "x", "one two")]))
    assert (compared.pairs, compared.differences["response_words"].mean) == (0, 1.0)
    assert compare(compared.before, compared.after, paired=True).differences == {}


def test_a_few_rows_that_happen_to_be_in_both_are_not_what_is_compared() -> None:
    before = stats([Example(f"old{number}", "x", "one") for number in range(9)] + [Example("same", "x", "one")])
    after = stats([Example(f"new{number}", "x", "one two") for number in range(9)] + [Example("same", "x", "one")])
    assert compare(before, after).differences["response_words"].mean == pytest.approx(0.9)
    assert compare(before, after, paired=True).differences["response_words"].mean == 0
    assert (compare(before, after).pairs, compare(before, after, paired=True).pairs) == (0, 1)


def test_an_id_that_is_there_twice_is_joined_with_nothing() -> None:
    twice = stats([Example("a", "x", "one"), Example("a", "x", "one two"), Example("b", "x", "one")])
    once = stats([Example("a", "x", "one " * 9), Example("b", "x", "one two")])
    for compared in (compare(twice, once, paired=True), compare(once, twice, paired=True)):
        assert compared.pairs == 1
    assert compare(twice, once, paired=True).differences["response_words"].mean == 1.0


def test_only_rows_that_have_both_figures_are_paired() -> None:
    data = rows(("a", "b"), ("c", "d"), ("e", "f"))
    before = stats(data, scores={"0": VersionScores(ifd_ppl=0.5), "1": VersionScores(ifd_ppl=0.6)})
    after = stats(data, scores={"1": VersionScores(ifd_ppl=0.9), "2": VersionScores(ifd_ppl=0.1)})
    compared = compare(before, after)
    assert compared.pairs == 3
    assert compared.differences["ifd_ppl"].pairs == 1
    assert compared.differences["ifd_ppl"].mean == pytest.approx(0.3)
    assert "coherence" not in compared.differences
    assert compared.plain()["differences"]["coherence"] is None


@settings(deadline=None, max_examples=25)
@given(st.permutations([(str(number), "x " * number, "y " * (number**2 % 7)) for number in range(8)]))
def test_the_order_of_rows_changes_no_comparison(order: list[tuple[str, str, str]]) -> None:
    before = stats([(name, Version(instruction=asked, response="z")) for name, asked, _ in sorted(order)])
    after = [(name, Version(instruction=asked, response=answer)) for name, asked, answer in order]
    assert compare(before, stats(after)).differences == compare(before, stats(sorted(after))).differences


# real data


def test_real_rows_have_the_known_numbers_of_words(data: Path) -> None:
    found = stats(real(data, "alpaca_random_first3000.json"))
    assert mean(found, "instruction_words") == pytest.approx(13.8, abs=0.1)
    assert mean(found, "response_words") == pytest.approx(43.8, abs=0.1)
    assert found.languages["instruction"]["en"] > 0.85 * found.rows


def test_chinese_rows_are_counted_in_characters(data: Path) -> None:
    found = stats(real(data, "alpaca_zh_demo.json", 200))
    assert found.languages["instruction"]["zh"] > 190
    assert mean(found, "response_words") > 100


@pytest.mark.model
def test_real_rows_have_the_known_numbers_of_tokens(data: Path) -> None:
    from reflectune.cli.stats import _tokenizer

    found = stats(real(data, "alpaca_random_first3000.json"), tokenizer=_tokenizer(None, quiet=False))
    assert mean(found, "instruction_tokens") == pytest.approx(18.0, abs=0.5)
    assert mean(found, "response_tokens") == pytest.approx(57.0, abs=0.5)
