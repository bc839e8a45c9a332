"""Which version of a row is kept, and which rows: every rule, by cases and against the rule as it is printed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectune.errors import SettingsError
from reflectune.recipe import SelectSettings
from reflectune.records import Reflection, Scored, Unscored, VersionName, VersionScores
from reflectune.selection import Candidate, Dropped, Kept, Selection, select

Halves = tuple[float | None, float | None]
NAMES: tuple[VersionName, ...] = ("original", "Q", "A", "QA")
BASELINES = ("top-ifd", "random", "longest", "perplexity", "ifd", "rifd", "coherence", "diverse")
EASY: Halves = (0.5, 0.5)


def chosen_by(**options: Any) -> SelectSettings:
    return SelectSettings.model_validate(options)


def row(name: str = "row", *, unscored: Sequence[Unscored] = (), **versions: Halves) -> Scored:
    """A row by its IFDs and r-IFDs."""
    scores = {version: VersionScores(ifd_ppl=ifd, rifd_ppl=rifd) for version, (ifd, rifd) in versions.items()}
    return Scored.model_validate({"id": name, "versions": scores, "unscored": tuple(unscored)})


def lack(version: VersionName, half: Reflection = "response", reason: str = "empty") -> Unscored:
    return Unscored(version=version, half=half, reason=reason, detail=f"the {half} cannot be scored: it is {reason}")


def one(scored: Scored, **options: Any) -> Kept | Dropped:
    """What becomes of one row."""
    found = select([scored], chosen_by(**options))
    (verdict,) = (*found.kept, *found.dropped)
    return verdict


def told(verdict: Kept | Dropped) -> tuple[str, VersionName | None, str]:
    return type(verdict).__name__, verdict.version, verdict.reason


def kept(found: Selection) -> list[str]:
    return [verdict.id for verdict in found.kept]


# the rule of Selective Reflection-Tuning: who wins

NEW = {"original": (0.5, 0.8), "Q": (0.6, 0.7)}
OLD = {"original": (0.6, 0.8), "Q": (0.5, 0.7)}


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({**NEW, "A": EASY, "QA": (0.9, 0.6)}, ("Kept", "QA", "new-instruction-and-response")),
        ({**NEW, "A": EASY, "QA": (0.9, 0.7)}, ("Dropped", "Q", "response-not-better")),  # a tie keeps the old
        ({**NEW, "A": EASY, "QA": (0.9, 0.75)}, ("Dropped", "Q", "response-not-better")),
        ({**NEW, "QA": (0.9, 0.6)}, ("Kept", "QA", "new-instruction-and-response")),  # A is not asked for
        ({**OLD, "A": (0.9, 0.7), "QA": EASY}, ("Kept", "A", "new-response")),
        ({**OLD, "A": (0.9, 0.8), "QA": EASY}, ("Dropped", "original", "response-not-better")),
        ({**OLD, "A": (0.9, 0.9), "QA": EASY}, ("Dropped", "original", "response-not-better")),
        ({**OLD, "A": (0.9, 0.7)}, ("Kept", "A", "new-response")),  # QA is not asked for
        (
            {"original": (0.5, 0.8), "Q": (0.5, 0.1), "A": (0.5, 0.7), "QA": (0.5, 0.0001)},
            ("Kept", "A", "new-response"),  # a tie of the IFDs keeps the old instruction
        ),
        # Only what is kept must be below 1: the steps that led there need not be.
        ({"original": (1.5, 0.8), "Q": (1.6, 1.9), "QA": (0.9, 0.9)}, ("Kept", "QA", "new-instruction-and-response")),
    ],
)
def test_the_new_instruction_wins_by_ifd_and_the_new_response_by_rifd(
    versions: dict[str, Halves], expected: tuple[str, str, str]
) -> None:
    assert told(one(row(**versions))) == expected


@pytest.mark.parametrize("base", [NEW, OLD])
@pytest.mark.parametrize(
    ("ifd", "rifd", "blamed"),
    [
        (0.999, 0.65, None),
        (1.0, 0.65, "ifd"),
        (1.001, 0.65, "ifd"),
        (None, 0.65, "ifd"),  # what is not known is not below 1
        (0.9, 0.699, None),
    ],
)
@pytest.mark.parametrize("demanded", [True, False])
def test_what_is_kept_has_an_ifd_below_one_unless_told_otherwise(
    base: dict[str, Halves], ifd: float | None, rifd: float, blamed: str | None, demanded: bool
) -> None:
    version = "QA" if base is NEW else "A"
    verdict = one(row(**base, **{version: (ifd, rifd)}), ifd_below_one=demanded)
    assert verdict.version == version
    dropped = blamed is not None and demanded
    assert told(verdict)[::2] == (("Dropped", "ifd-not-below-one") if dropped else ("Kept", verdict.reason))


@pytest.mark.parametrize(("rifd", "below"), [(0.999, True), (1.0, False), (1.001, False)])
@pytest.mark.parametrize("demanded", [True, False])
def test_what_is_kept_has_an_rifd_below_one_unless_told_otherwise(rifd: float, below: bool, demanded: bool) -> None:
    scored = row(original=(0.5, 2.0), Q=(0.6, 2.0), QA=(0.9, rifd))
    verdict = one(scored, rifd_below_one=demanded)
    expected = "new-instruction-and-response" if below or not demanded else "rifd-not-below-one"
    assert (verdict.version, verdict.reason) == ("QA", expected)


def test_the_ifd_is_blamed_before_the_rifd() -> None:
    scored = row(original=(0.5, 2.0), Q=(0.6, 2.0), QA=(1.0, 1.0))
    assert one(scored).reason == "ifd-not-below-one"
    assert one(scored, ifd_below_one=False).reason == "rifd-not-below-one"
    assert isinstance(one(scored, ifd_below_one=False, rifd_below_one=False), Kept)


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        # The response was not replaced: the row stays as it is after its first step.
        ({**NEW, "QA": (0.9, 0.7)}, ("Kept", "Q", "new-instruction")),
        ({**OLD, "A": (0.9, 0.8)}, ("Kept", "original", "original")),
        # It was, but what came of it is not below 1: the row stays as it was.
        ({**NEW, "QA": (1.0, 0.6)}, ("Kept", "original", "original")),
        ({**OLD, "A": (1.0, 0.6)}, ("Kept", "original", "original")),
        # After the first step it is not below 1 either.
        ({"original": (0.5, 0.8), "Q": (1.0, 0.7), "QA": (0.9, 0.7)}, ("Kept", "original", "original")),
        ({"original": (0.5, 0.8), "Q": (0.6, 1.0), "QA": (0.9, 1.0)}, ("Kept", "original", "original")),
        # Nor was it before.
        ({"original": (1.0, 0.8), "Q": (1.1, 0.7), "QA": (0.9, 0.7)}, ("Dropped", "Q", "ifd-not-below-one")),
        ({"original": (0.5, 1.0), "Q": (0.6, 1.0), "QA": (0.9, 1.0)}, ("Dropped", "Q", "rifd-not-below-one")),
        ({"original": (1.0, 0.8), "Q": (0.5, 0.7), "A": (0.9, 0.8)}, ("Dropped", "original", "ifd-not-below-one")),
        ({"original": (1.0, 0.8), "Q": (1.1, 0.7), "QA": (1.2, 0.6)}, ("Dropped", "QA", "ifd-not-below-one")),
        # A winner needs no mercy.
        ({**NEW, "QA": (0.9, 0.6)}, ("Kept", "QA", "new-instruction-and-response")),
        # What cannot be judged stays as it was before that, if this is below 1.
        ({"original": EASY}, ("Kept", "original", "original")),
        ({**NEW}, ("Kept", "Q", "new-instruction")),
        ({"original": (1.2, 0.5)}, ("Dropped", "original", "ifd-not-below-one")),
        ({"original": (0.5, 1.2)}, ("Dropped", "original", "rifd-not-below-one")),
        # What is unknown is not above 1.
        ({"original": (0.5, None)}, ("Dropped", None, "version-missing")),
        ({}, ("Dropped", None, "version-missing")),
    ],
)
def test_a_row_that_loses_stays_where_that_is_asked_for(
    versions: dict[str, Halves], expected: tuple[str, str, str]
) -> None:
    assert told(one(row(**versions), keep_original=True)) == expected


@pytest.mark.parametrize(
    ("scored", "expected", "detail"),
    [
        (row(original=EASY), ("Dropped", None, "version-missing"), "There is no version Q of it."),
        (row(Q=EASY, QA=EASY), ("Dropped", None, "version-missing"), "There is no version original of it."),
        (row(**NEW, A=EASY), ("Dropped", None, "version-missing"), "There is no version QA of it."),
        (row(**OLD, QA=EASY), ("Dropped", None, "version-missing"), "There is no version A of it."),
        (
            row(Q=EASY, unscored=[lack("original"), lack("original", "instruction")]),
            ("Dropped", "original", "not-scored"),
            "original: the response cannot be scored: it is empty",
        ),
        (
            row(original=(None, 0.5), Q=EASY, unscored=[lack("original")]),
            ("Dropped", "original", "not-scored"),
            "original: the response cannot be scored: it is empty",
        ),
        (
            row(original=EASY, Q=(None, 0.5), unscored=[lack("Q", reason="too-long")]),
            ("Dropped", "Q", "not-scored"),
            "Q: the response cannot be scored: it is too-long",
        ),
        (
            row(original=(0.5, 0.8), Q=(0.6, None), QA=EASY, unscored=[lack("Q", "instruction")]),
            ("Dropped", "Q", "not-scored"),
            "Q: the instruction cannot be scored: it is empty",
        ),
        (
            row(**NEW, QA=(0.6, None), unscored=[lack("A", "instruction"), lack("QA", "instruction", "non-finite")]),
            ("Dropped", "QA", "not-scored"),
            "QA: the instruction cannot be scored: it is non-finite",
        ),
        (
            row(original=(0.5, None), Q=(0.6, None), QA=(0.7, None)),
            ("Dropped", "Q", "not-scored"),
            "Q has no rifd_ppl: score both halves.",
        ),
    ],
)
def test_a_row_that_cannot_be_judged_says_what_it_lacks(
    scored: Scored, expected: tuple[str, str, str], detail: str
) -> None:
    verdict = one(scored)
    assert told(verdict) == expected
    assert verdict.detail == detail


def test_the_figures_that_decided_are_told() -> None:
    scored = row(original=(0.5, 0.8), Q=(0.625, 0.75), QA=(0.9, 0.7))
    assert one(scored).detail == "IFD of Q 0.625 > 0.500 of the original; r-IFD of QA 0.700 < 0.750 of Q"
    tied = row(original=(0.5, 0.8), Q=(0.5, 0.7), A=(0.9, 0.8))
    assert one(tied).detail == "IFD of Q 0.500 <= 0.500 of the original; r-IFD of A 0.800 >= 0.800 of original"


# the same against the rule as it is printed

FIGURES = st.none() | st.sampled_from([0.4, 0.8, 1.0, 1.2]) | st.floats(0.1, 2)
VERSIONS = st.dictionaries(st.sampled_from(NAMES), st.tuples(FIGURES, FIGURES))
OPTIONS = st.fixed_dictionaries(dict.fromkeys(("ifd_below_one", "rifd_below_one", "keep_original"), st.booleans()))


def by_the_book(versions: dict[VersionName, Halves], options: dict[str, bool]) -> VersionName | None:
    """The version that is kept, `None` for none: arXiv 2402.10110, section 3, with the clauses of its released code."""
    ifd = {name: halves[0] for name, halves in versions.items()}
    rifd = {name: halves[1] for name, halves in versions.items()}

    def below_one(name: VersionName) -> bool:
        well = not options["ifd_below_one"] or (ifd[name] is not None and ifd[name] < 1)
        return well and (not options["rifd_below_one"] or (rifd[name] is not None and rifd[name] < 1))

    def unchanged(*names: VersionName) -> VersionName | None:
        return next((name for name in names if options["keep_original"] and name in ifd and below_one(name)), None)

    if ifd.get("Q") is None or ifd.get("original") is None:
        return unchanged("original")
    first: VersionName = "Q" if ifd["Q"] > ifd["original"] else "original"
    second: VersionName = "QA" if ifd["Q"] > ifd["original"] else "A"
    if rifd.get(first) is None or rifd.get(second) is None:
        return unchanged(first, "original")
    if rifd[second] < rifd[first]:
        if below_one(second):
            return second
    elif options["keep_original"] and below_one(first):
        return first
    return "original" if options["keep_original"] and below_one("original") else None


@settings(max_examples=500)
@given(VERSIONS, OPTIONS)
def test_the_verdict_is_that_of_the_printed_rule(versions: dict[VersionName, Halves], options: dict[str, bool]) -> None:
    verdict = one(row(**versions), **options)
    expected = by_the_book(versions, options)
    assert (verdict.version if isinstance(verdict, Kept) else None) == expected


@given(VERSIONS)
def test_mercy_and_leave_only_ever_add_rows(versions: dict[VersionName, Halves]) -> None:
    scored = row(**versions)
    if isinstance(one(scored), Kept):
        strict = one(scored).version
        for option in ({"ifd_below_one": False}, {"rifd_below_one": False}, {"keep_original": True}):
            assert told(one(scored, **option))[:2] == ("Kept", strict)


# which version of a row the other rules like best


def candidate(name: str, **figures: dict[VersionName, float]) -> Candidate:
    """A row by the figures of its versions: `ifd_ppl`, `response_tokens`, `coherence`, ..."""
    coherence, embedding = figures.pop("coherence", {}), figures.pop("embedding", {})
    versions = (
        {version for of_versions in figures.values() for version in of_versions} or set(coherence) or {*embedding}
    )
    scores = {
        version: {figure: values[version] for figure, values in figures.items() if version in values}
        for version in versions
    }
    return Candidate(Scored.model_validate({"id": name, "versions": scores}), coherence, embedding)


@pytest.mark.parametrize(
    ("rule", "figure", "values", "expected"),
    [
        ("ifd", "ifd_ppl", {"original": 0.5, "Q": 0.6, "A": 1.7, "QA": 0.4}, "A"),
        ("top-ifd", "ifd_ppl", {"original": 0.5, "Q": 0.6, "A": 1.7, "QA": 0.4}, "Q"),
        ("rifd", "rifd_ppl", {"original": 0.5, "Q": 0.6, "A": 1.7, "QA": 0.4}, "QA"),
        ("longest", "response_tokens", {"original": 5, "Q": 90, "A": 17, "QA": 89}, "Q"),
        ("perplexity", "response_loss_conditioned", {"original": 5.0, "Q": 0.1, "A": 1.7, "QA": 4.9}, "original"),
        ("coherence", "coherence", {"original": -0.5, "Q": 0.1, "A": 0.7, "QA": 0.2}, "A"),
    ],
)
def test_each_rule_goes_by_its_own_figure(
    rule: str, figure: str, values: dict[VersionName, float], expected: VersionName
) -> None:
    found = select([candidate("a", **{figure: values})], chosen_by(rule=rule, take="1"))
    assert told(found.kept[0]) == ("Kept", expected, rule)
    assert f"{abs(values[expected]):.3f}" in found.kept[0].detail


@pytest.mark.parametrize("rule", ["ifd", "top-ifd", "rifd", "longest", "perplexity", "coherence"])
@pytest.mark.parametrize(
    ("tied", "expected"),
    [
        (NAMES, "original"),
        (NAMES[::-1], "original"),
        (("QA", "Q", "A"), "A"),
        (("QA", "Q"), "Q"),
    ],
)
def test_a_tie_keeps_the_text_that_is_already_there(rule: str, tied: Sequence[VersionName], expected: str) -> None:
    figures = ("ifd_ppl", "rifd_ppl", "response_loss_conditioned", "coherence")
    same = {figure: dict.fromkeys(tied, 0.5) for figure in figures} | {"response_tokens": dict.fromkeys(tied, 5)}
    assert select([candidate("a", **same)], chosen_by(rule=rule, take="1")).kept[0].version == expected


FOUR = {"original": (0.5, 0.5), "Q": (0.6, 0.5), "A": (0.7, 0.5), "QA": (0.4, 0.5)}


@pytest.mark.parametrize(
    ("made", "versions", "expected"),
    [
        (NAMES, "all", "A"),
        (NAMES, "latest", "QA"),
        (NAMES, "original", "original"),
        (NAMES, "Q", "Q"),
        (NAMES, "QA", "QA"),
        (("original", "Q", "A"), "latest", "A"),
        (("original", "Q"), "latest", "Q"),
        (("original",), "latest", "original"),
        (("original", "Q"), "A", None),
        ((), "latest", None),
        ((), "all", None),
    ],
)
def test_which_versions_compete(made: Sequence[VersionName], versions: str, expected: str | None) -> None:
    verdict = one(row(**{name: FOUR[name] for name in made}), rule="top-ifd", take="1", versions=versions)
    reason = "version-missing" if made else "not-scored"
    outcome = ("Dropped", None, reason) if expected is None else ("Kept", expected, "top-ifd")
    assert told(verdict) == outcome


def test_a_row_without_a_score_says_why() -> None:
    lacking = row(original=(None, 0.5), unscored=[lack("original")])
    verdict = one(lacking, rule="ifd", take="1")
    assert told(verdict) == ("Dropped", None, "not-scored")
    assert verdict.detail == "original: the response cannot be scored: it is empty"
    assert one(row(), rule="ifd", take="1").detail == "None of its versions has a score."
    assert "score both halves" in one(row(original=(0.5, None)), rule="rifd", take="1").detail
    for other in ([], [lack("original")]):
        found = one(row(original=EASY, unscored=other), rule="ifd", take="1", versions="Q")
        assert (found.reason, found.detail) == ("version-missing", "There is no version Q of it.")


def test_what_stays_or_goes_says_the_figures_that_decided() -> None:
    stays = one(row(original=(0.9, 0.5)), keep_original=True)
    assert stays.detail == "There is no version Q of it. IFD 0.900, r-IFD 0.500 of the original"
    goes = one(row(**{**NEW, "QA": (1.1, 0.6)}))
    assert goes.detail.endswith("; IFD 1.100, r-IFD 0.600 of QA")


@pytest.mark.parametrize(("ifd", "expected"), [(0.999, "Kept"), (1.0, "Dropped"), (1.5, "Dropped")])
def test_top_ifd_takes_only_what_is_below_one(ifd: float, expected: str) -> None:
    assert told(one(row(original=(ifd, None)), rule="top-ifd", take="1"))[0] == expected
    assert isinstance(one(row(original=(ifd, None)), rule="top-ifd", take="1", ifd_below_one=False), Kept)
    assert isinstance(one(row(original=(ifd, None)), rule="ifd", take="1"), Kept)


def test_top_ifd_names_the_version_that_came_nearest() -> None:
    verdict = one(row(original=(1.5, None), Q=(1.25, None)), rule="top-ifd", take="1")
    assert (verdict.version, verdict.reason, verdict.detail) == ("Q", "ifd-not-below-one", "IFD 1.250")


# how many rows


def rows_of(*ifds: float) -> list[Scored]:
    return [row(str(number), original=(ifd, 0.5)) for number, ifd in enumerate(ifds)]


@pytest.mark.parametrize(
    ("take", "expected"),
    [
        ("1", ["3"]),
        ("3", ["1", "3", "4"]),
        ("6", ["0", "1", "2", "3", "4", "5"]),
        ("500", ["0", "1", "2", "3", "4", "5"]),
        ("50%", ["1", "3", "4"]),
        ("51%", ["1", "2", "3", "4"]),  # a share is rounded up
        ("0.1%", ["3"]),
        ("100%", ["0", "1", "2", "3", "4", "5"]),
    ],
)
def test_the_best_are_taken_and_stay_in_order(take: str, expected: list[str]) -> None:
    found = select(rows_of(0.1, 0.6, 0.5, 0.9, 0.8, 0.2), chosen_by(rule="ifd", take=take))
    assert kept(found) == expected
    assert {verdict.reason for verdict in found.dropped} <= {"not-among-the-best"}


def test_a_tie_of_rows_keeps_the_earlier_one() -> None:
    assert kept(select(rows_of(0.5, 0.7, 0.5, 0.5), chosen_by(rule="ifd", take="3"))) == ["0", "1", "2"]


def test_a_share_is_one_of_all_rows_however_many_the_rule_lets_through() -> None:
    found = select(rows_of(*[1.5] * 6, 0.2, 0.3, 0.4, 0.5), chosen_by(rule="top-ifd", take="30%"))
    assert kept(found) == ["7", "8", "9"]
    assert found.reasons == {
        (True, "top-ifd"): 3,
        (False, "ifd-not-below-one"): 6,
        (False, "not-among-the-best"): 1,
    }


@given(st.integers(1, 60), st.integers(1, 1000))
def test_a_share_is_rounded_up_and_never_by_the_noise_of_floats(rows: int, tenths: int) -> None:
    found = select(rows_of(*[0.5] * rows), chosen_by(rule="ifd", take=f"{tenths / 10}%"))
    assert len(found.kept) == -(-rows * tenths // 1000)


@pytest.mark.parametrize("take", ["0%", "100.5%", "900%", "0.0%"])
def test_what_is_no_share_is_refused(take: str) -> None:
    with pytest.raises(SettingsError, match=f"{take} is no share of the rows") as refused:
        select(rows_of(0.5), chosen_by(rule="ifd", take=take))
    assert "--take 5%" in refused.value.mend


@pytest.mark.parametrize("rule", BASELINES)
def test_every_rule_but_the_selective_one_needs_a_number(rule: str) -> None:
    with pytest.raises(SettingsError, match=f"The rule {rule} needs to know how many rows") as refused:
        select(rows_of(0.5), rule)
    assert "--take" in refused.value.mend


def test_the_selective_rule_takes_all_that_it_lets_through_unless_told_otherwise() -> None:
    winner = {"original": (0.5, 0.8), "Q": (0.6, 0.7)}
    ifds = (0.7, 0.9, 0.2, 0.8)
    rows = [row(str(number), **winner, QA=(ifd, 0.6)) for number, ifd in enumerate(ifds)]
    assert kept(select(rows)) == ["0", "1", "2", "3"]
    found = select([*rows, row("loser", original=EASY)], chosen_by(take="2"))
    assert kept(found) == ["1", "3"]  # by the IFD of the version that is kept
    assert [verdict.reason for verdict in found.dropped] == [*["not-among-the-best"] * 2, "version-missing"]
    assert found.dropped[0].detail.endswith("; IFD 0.700, r-IFD 0.600 of QA; 2 are kept")


# chance


IDS = st.lists(st.uuids().map(str), min_size=1, max_size=30, unique=True)


@given(IDS, st.integers(0, 2**31 - 1), st.randoms())
def test_chance_follows_from_the_seed_and_not_from_the_order(ids: list[str], seed: int, chance: random.Random) -> None:
    rows = [row(name, original=EASY, Q=EASY) for name in ids]
    by_chance = chosen_by(rule="random", take=str(len(ids) // 2 + 1), seed=seed)
    found = select(rows, by_chance)
    chance.shuffle(rows)
    again = select(rows, by_chance)
    assert {(one.id, one.version) for one in found.kept} == {(one.id, one.version) for one in again.kept}


def test_another_seed_draws_other_rows() -> None:
    rows = [row(str(number), original=EASY) for number in range(200)]
    drawn = [set(kept(select(rows, chosen_by(rule="random", take="100", seed=seed)))) for seed in range(4)]
    for number, first in enumerate(drawn):
        for other in drawn[:number]:
            assert 25 < len(first & other) < 75


def test_chance_takes_no_heed_of_scores_and_likes_no_version() -> None:
    rows = [row(str(number), **dict.fromkeys(NAMES, (0.001 * number, None))) for number in range(400)]
    found = select(rows, chosen_by(rule="random", take="200"))
    low = sum(int(name) < 200 for name in kept(found))
    assert 70 < low < 130
    for name in NAMES:
        assert 25 < sum(verdict.version == name for verdict in found.kept) < 75


# covering a space of sentences


def test_diverse_rows_are_spread_over_the_clusters() -> None:
    angles = [0, 1, 2, 120, 121, 240]
    places = [(math.cos(math.radians(angle)), math.sin(math.radians(angle))) for angle in angles]
    rows = [candidate(str(number), embedding={"original": place}) for number, place in enumerate(places)]
    found = select(rows, chosen_by(rule="diverse", take="3"))
    assert {angles[int(name)] // 60 for name in kept(found)} == {0, 2, 4}
    assert {verdict.reason for verdict in found.dropped} == {"not-among-the-best"}


def test_a_row_without_a_place_is_not_spread() -> None:
    rows = [candidate(str(number), embedding={"original": (1.0, 0.0)}) for number in range(3)]
    rows[0] = Candidate(rows[0].scored)
    assert kept(select(rows, chosen_by(rule="diverse", take="1"))) == ["1"]


def test_without_any_place_nothing_can_be_spread() -> None:
    with pytest.raises(SettingsError, match="needs embeddings"):
        select(rows_of(0.5, 0.6), chosen_by(rule="diverse", take="1"))


# of every rule


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    """Rows of which most were scored, each in some versions, and each with a place of its own."""
    found = []
    for number in range(draw(st.integers(0, 12))):
        versions = draw(VERSIONS)
        scores = {
            name: VersionScores(ifd_ppl=ifd, rifd_ppl=rifd, response_tokens=draw(st.integers(1, 3)))
            for name, (ifd, rifd) in versions.items()
        }
        places = {name: draw(st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.6, 0.8)])) for name in NAMES}
        coherence = {name: draw(st.floats(-1, 1)) for name in versions}
        found.append(Candidate(Scored(id=str(number), versions=scores), coherence, places))
    return found


@given(candidates(), st.sampled_from([*BASELINES, "selective"]), st.integers(1, 14), OPTIONS)
def test_every_row_is_kept_or_dropped_once_and_in_order(
    rows: list[Candidate], rule: str, take: int, options: dict[str, bool]
) -> None:
    rows = [candidate for candidate in rows if rule != "selective" or "original" in candidate.scored.versions]
    options["keep_original"] &= rule == "selective"
    found = select(rows, chosen_by(rule=rule, take=str(take), **options))
    ids = [candidate.scored.id for candidate in rows]
    whole = [verdict.id for verdict in (*found.kept, *found.dropped)]
    assert sorted(whole, key=int) == ids
    assert kept(found) == sorted(kept(found), key=int)
    assert [verdict.id for verdict in found.dropped] == sorted((one.id for one in found.dropped), key=int)
    assert len(found.kept) <= take
    assert sum(found.reasons.values()) == len(rows)
    if any(verdict.reason == "not-among-the-best" for verdict in found.dropped):
        assert len(found.kept) == take


def test_reasons_are_counted_the_kept_first_and_the_most_frequent_first() -> None:
    rows = [
        row("a", original=EASY),
        row("b", **NEW, QA=(0.9, 0.6)),
        row("c", **OLD, A=(0.9, 0.7)),
        row("d", **NEW, QA=(0.9, 0.7)),
        row("e", original=EASY),
        row("f", **NEW, QA=(0.8, 0.6)),
    ]
    assert list(select(rows).reasons.items()) == [
        ((True, "new-instruction-and-response"), 2),
        ((True, "new-response"), 1),
        ((False, "version-missing"), 2),
        ((False, "response-not-better"), 1),
    ]


def test_no_rows_are_no_error() -> None:
    assert select([]) == Selection((), ())
    assert select([], chosen_by(rule="diverse", take="5%")).reasons == {}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rule": "selective", "versions": "QA"}, "compares all versions"),
        ({"rule": "top-ifd", "take": "5", "keep_original": True}, "no reflection that lost"),
        ({"rule": "random"}, "how many rows"),
        ({"rule": "ifd", "take": "0%"}, "no share"),
        ({"rule": "ifd", "take": "101%"}, "no share"),
    ],
)
def test_options_that_do_not_fit_their_rule_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told) as refused:
        select([], chosen_by(**options))
    assert refused.value.mend


def test_a_share_may_be_of_more_rows_than_are_judged() -> None:
    found = select(rows_of(0.1, 0.6, 0.5, 0.9), chosen_by(rule="ifd", take="20%"), of=10)
    assert kept(found) == ["1", "3"]


@pytest.mark.parametrize(("ifd", "kept_as"), [(0.9, "original"), (1.4, None)])
def test_a_row_that_was_not_recycled_stays_only_below_one(ifd: float, kept_as: str | None) -> None:
    found = select([row("1", original=(ifd, 0.5))], chosen_by(keep_original=True))
    assert [one.version for one in found.kept] == ([kept_as] if kept_as else [])
    assert [one.reason for one in found.dropped] == ([] if kept_as else ["ifd-not-below-one"])


def test_a_row_whose_better_response_has_no_score_stays_as_it_was_before_it() -> None:
    rows = [row("1", original=(0.5, 0.5), Q=(0.7, 0.5))]
    (one,) = select(rows, chosen_by(keep_original=True)).kept
    assert one.version == "Q"


def test_a_number_may_say_how_many_rows_are_kept() -> None:
    assert chosen_by(rule="ifd", take=500).take == "500"
