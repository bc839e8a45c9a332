"""Select: which version of each row the student learns from, and which rows. Pure rules over scores.

The rule `selective` is that of Selective Reflection-Tuning (arXiv 2402.10110, section 3) as its released code has it,
with each clause an option. `top-ifd` is that of Cherry LLM (arXiv 2308.12032); scored by a small model it is
Superfiltering (arXiv 2402.00530). The others are the baselines that an honest selection is compared with: `random`,
`longest` (arXiv 2402.04833), `perplexity` of the response given its instruction, `ifd` and `rifd` by themselves,
`coherence` of instruction and response, and `diverse` (facility location over embeddings).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import get_args

from pydantic import ValidationError

from reflectune.errors import SettingsError
from reflectune.facility import cover
from reflectune.recipe import SelectSettings
from reflectune.records import Scored, VersionName, VersionScores

__all__ = ["Candidate", "Dropped", "Kept", "Selection", "select"]

_OLD_FIRST: tuple[VersionName, ...] = ("original", "A", "Q", "QA")
"""In the order in which a tie is decided: the text that is already there goes first."""
_LATEST_FIRST: tuple[VersionName, ...] = ("QA", "A", "Q", "original")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row as the rules see it.

    Attributes:
        scored: Its scores.
        coherence: The cosine of instruction and response, by version; for the rule of that name.
        embedding: A place for each version in a space of sentences, by version; for the rule `diverse`.
    """

    scored: Scored
    coherence: Mapping[VersionName, float] = field(default_factory=dict)
    embedding: Mapping[VersionName, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """A row that is kept.

    Attributes:
        id: The row.
        version: Which version of it.
        reason: Why this one: a short name that can be counted.
        detail: The figures that decided.
        by_hand: Whether it is kept as a person wrote it, who looked at that version; no rule says so.
    """

    id: str
    version: VersionName
    reason: str
    detail: str = ""
    by_hand: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that is not kept.

    Attributes:
        id: The row.
        version: The version that came furthest; `None` where none could be judged.
        reason: Why: a short name that can be counted.
        detail: The figures that decided.
    """

    id: str
    version: VersionName | None
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was kept and what was not, each in the order of the rows, with the reason for each."""

    kept: tuple[Kept, ...]
    dropped: tuple[Dropped, ...]

    @property
    def reasons(self) -> dict[tuple[bool, str], int]:
        """How many rows were kept (`True`) or dropped for which reason, most first."""
        counted = Counter([(True, row.reason) for row in self.kept] + [(False, row.reason) for row in self.dropped])
        return dict(sorted(counted.items(), key=lambda entry: (not entry[0][0], -entry[1], entry[0][1])))


def select(
    rows: Iterable[Scored | Candidate],
    rule: SelectSettings | str = "selective",
    of: int | None = None,
    beside: int = 0,
) -> Selection:
    """Choose by a rule.

    Args:
        rows: Scored rows; as candidates where the rule needs more than scores.
        rule: The rule with its options, or its name.
        of: How many rows there are in all, of which `take` may be a share; by default those that are given.
        beside: How many rows are kept already, and count among those to take.

    Raises:
        SettingsError: There is no such rule, or its options do not fit it.
    """
    settings = rule if isinstance(rule, SelectSettings) else _named(rule)
    check(settings)
    candidates = [row if isinstance(row, Candidate) else Candidate(row) for row in rows]
    judged = [_judge(candidate, settings) for candidate in candidates]
    through = sum(isinstance(verdict, Kept) for verdict in judged)
    count = max(_how_many(settings, len(judged) if of is None else of, through + beside) - beside, 0)
    taken = _take(candidates, judged, settings, count)
    return Selection(
        kept=tuple(row for row in taken if isinstance(row, Kept)),
        dropped=tuple(row for row in taken if isinstance(row, Dropped)),
    )


def check(settings: SelectSettings) -> None:
    """Refuse options that do not fit their rule.

    Raises:
        SettingsError: They do not.
    """
    rule = settings.rule
    if rule == "selective" and settings.versions != "all":
        raise SettingsError(
            "The rule selective compares all versions of a row.", mend="Leave out --versions, or take another rule."
        )
    if rule != "selective" and settings.keep_original:
        raise SettingsError(
            f"The rule {rule} knows no reflection that lost.",
            mend="Leave out --keep-original, or take the rule selective.",
        )
    if rule != "selective" and settings.take is None:
        raise SettingsError(
            f"The rule {rule} needs to know how many rows to keep.", mend="Add --take 500, or --take 5%."
        )
    if settings.take is not None and settings.take.endswith("%") and not 0 < float(settings.take[:-1]) <= 100:  # noqa: PLR2004
        raise SettingsError(f"{settings.take} is no share of the rows.", mend="Write --take 5%, up to 100%.")


Verdict = Kept | Dropped


def _named(rule: str) -> SelectSettings:
    try:
        return SelectSettings.model_validate({"rule": rule})
    except ValidationError:
        rules = get_args(SelectSettings.model_fields["rule"].annotation)
        raise SettingsError(f"There is no rule {rule}.", mend=f"The rules are: {', '.join(rules)}.") from None


def _judge(candidate: Candidate, settings: SelectSettings) -> Verdict:
    if settings.rule == "selective":
        return selective(candidate.scored, settings)
    return best_version(candidate, settings)


def selective(row: Scored, settings: SelectSettings) -> Verdict:
    """The rule of Selective Reflection-Tuning.

    The new instruction is taken if its IFD is higher; then the new response, if its r-IFD is lower than that of the
    pair that it would replace. Ties keep the old text. What is kept must have an IFD and an r-IFD below 1, and a row
    whose response was not replaced is dropped. All of this unless the settings say otherwise: with `keep_original` the
    row stays as it was before the step that failed, and as the original where that is what is below 1.
    """
    if lack := _lacking(row, ("original", "ifd_ppl"), ("Q", "ifd_ppl")):
        return _old_or(lack, row, ("original",), settings)
    new, old = _figure(row, "Q", "ifd_ppl"), _figure(row, "original", "ifd_ppl")
    pair: tuple[VersionName, VersionName] = ("Q", "QA") if new > old else ("original", "A")
    before, after = pair
    steps = f"IFD of Q {new:.3f} {'>' if new > old else '<='} {old:.3f} of the original"
    if lack := _lacking(row, (before, "rifd_ppl"), (after, "rifd_ppl")):
        return _old_or(lack, row, (before, "original"), settings)
    was, becomes = _figure(row, before, "rifd_ppl"), _figure(row, after, "rifd_ppl")
    better = becomes < was
    steps += f"; r-IFD of {after} {becomes:.3f} {'<' if better else '>='} {was:.3f} of {before}"
    version = after if better else before
    if not better and not settings.keep_original:
        return Dropped(row.id, version, "response-not-better", steps)
    allowed: tuple[VersionName, ...] = (version, "original") if settings.keep_original else (version,)
    for name in allowed:
        if _above_one(row, name, settings) is None:
            return Kept(row.id, name, _NAMED[name], steps)
    return Dropped(row.id, version, _above_one(row, version, settings) or "", f"{steps}; {_told(row, version)}")


_NAMED: dict[VersionName, str] = {
    "QA": "new-instruction-and-response",
    "A": "new-response",
    "Q": "new-instruction",
    "original": "original",
}


def best_version(candidate: Candidate, settings: SelectSettings) -> Verdict:
    """The version of a row that a rule likes best, among those that compete; ties keep the old text."""
    row = candidate.scored
    figure = _FIGURES[settings.rule]
    named: list[tuple[float, VersionName]] = []
    for name in _competing(row, settings):
        value = figure(candidate, name, settings)
        if value is not None:
            named.append((value, name))
    if not named:
        return _unjudged(row, settings)
    if settings.rule == "top-ifd" and settings.ifd_below_one:
        below = [entry for entry in named if entry[0] < 1]
        if not below:
            value, name = min(named)
            return Dropped(row.id, name, "ifd-not-below-one", f"IFD {value:.3f}")
        named = below
    value, name = max(named, key=lambda entry: (entry[0], -_OLD_FIRST.index(entry[1])))
    return Kept(row.id, name, settings.rule, f"{_SHOWN[settings.rule]} {abs(value):.3f}")


def _competing(row: Scored, settings: SelectSettings) -> list[VersionName]:
    if settings.versions == "all":
        return [name for name in _OLD_FIRST if name in row.versions]
    if settings.versions == "latest":
        return [name for name in _LATEST_FIRST if name in row.versions][:1]
    return [settings.versions] if settings.versions in row.versions else []


Figure = Callable[[Candidate, VersionName, SelectSettings], float | None]


def _of_scores(
    read: Callable[[VersionScores], float | None], row: Candidate, name: VersionName, _: object
) -> float | None:
    scores = row.scored.versions.get(name)  # a row that stays as it was may have no scores of that
    return None if scores is None else read(scores)


def _by_chance(row: Candidate, name: VersionName, settings: SelectSettings) -> float:
    """A number between 0 and 1 that follows from the seed, the row and the version alone."""
    return _drawn(f"{settings.seed}\n{name}\n{row.scored.id}")


def _drawn(name: str) -> float:
    mark = hashlib.blake2b(name.encode(), digest_size=8)
    return int.from_bytes(mark.digest(), "big") / 2**64


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


# The higher the better.
_FIGURES: dict[str, Figure] = {
    "top-ifd": partial(_of_scores, lambda scores: scores.ifd_ppl),
    "ifd": partial(_of_scores, lambda scores: scores.ifd_ppl),
    "rifd": partial(_of_scores, lambda scores: _negative(scores.rifd_ppl)),
    "longest": partial(_of_scores, lambda scores: scores.response_tokens),
    "perplexity": partial(_of_scores, lambda scores: scores.response_loss_conditioned),
    "random": _by_chance,
    "coherence": lambda row, name, _: row.coherence.get(name),
    "diverse": _by_chance,
}
_SHOWN = {
    "top-ifd": "IFD",
    "ifd": "IFD",
    "rifd": "r-IFD",
    "longest": "tokens of the response:",
    "perplexity": "loss of the response",
    "random": "drawn",
    "coherence": "coherence",
    "diverse": "drawn",
}


def _take(
    candidates: Sequence[Candidate], judged: Sequence[Verdict], settings: SelectSettings, count: int
) -> list[Verdict]:
    """Keep so many of the rows that were let through, the best first."""
    through = [place for place, verdict in enumerate(judged) if isinstance(verdict, Kept)]
    if count >= len(through):
        return list(judged)
    if settings.rule == "diverse":
        chosen = _spread(candidates, judged, through, count)
    else:
        ranked = sorted(through, key=lambda place: (-_rank(candidates[place], judged[place], settings), place))
        chosen = set(ranked[:count])
    return [
        _surpassed(verdict, candidates[place].scored, settings, count)
        if isinstance(verdict, Kept) and place not in chosen
        else verdict
        for place, verdict in enumerate(judged)
    ]


def _surpassed(kept: Kept, row: Scored, settings: SelectSettings, count: int) -> Dropped:
    told = _told(row, kept.version)
    ranked = f"; {told}" if settings.rule == "selective" and told not in kept.detail else ""
    return Dropped(kept.id, kept.version, "not-among-the-best", f"{kept.detail}{ranked}; {count:,} are kept")


def _how_many(settings: SelectSettings, rows: int, through: int) -> int:
    """A share is one of all rows, as in print: 5% of Alpaca are 2,601 rows however many a rule lets through."""
    if settings.take is None:
        return through
    if settings.take.endswith("%"):
        return ceil(round(rows * float(settings.take[:-1]) / 100, 6))
    return int(settings.take)


def _rank(candidate: Candidate, verdict: Verdict, settings: SelectSettings) -> float:
    """By what rows are ranked: the rule's own figure; rows that `selective` let through by IFD, as in print."""
    if settings.rule == "random":  # of the row alone: the best draw of several versions would go before that of one
        return _drawn(f"{settings.seed}\n{verdict.id}")
    rule = "top-ifd" if settings.rule == "selective" else settings.rule
    value = _FIGURES[rule](candidate, verdict.version, settings) if verdict.version else None
    return float("-inf") if value is None else value


def _spread(candidates: Sequence[Candidate], judged: Sequence[Verdict], through: Sequence[int], count: int) -> set[int]:
    """The rows that cover all those let through best."""
    placed = [(place, candidates[place].embedding.get(judged[place].version or "original")) for place in through]
    known = [(place, vector) for place, vector in placed if vector is not None]
    if not known:
        raise SettingsError("The rule diverse needs embeddings.", mend="Give candidates with an embedding.")
    return {known[number][0] for number in cover([vector for _, vector in known], count)}


def _figure(row: Scored, version: VersionName, name: str) -> float:
    value: float = getattr(row.versions[version], name)
    return value


def _lacking(row: Scored, *needed: tuple[VersionName, str]) -> Dropped | None:
    """Why a rule cannot go on: a version was not made, or has no such score."""
    for version, name in needed:
        scores = row.versions.get(version)
        if scores is not None and getattr(scores, name) is not None:
            continue
        half = "response" if name == "ifd_ppl" else "instruction"
        for lack in row.unscored:
            if lack.version == version and lack.half == half:
                return Dropped(row.id, version, "not-scored", f"{version}: {lack.detail}")
        if scores is None:
            return Dropped(row.id, None, "version-missing", f"There is no version {version} of it.")
        return Dropped(row.id, version, "not-scored", f"{version} has no {name}: score both halves.")
    return None


def _old_or(lack: Dropped, row: Scored, old: tuple[VersionName, ...], settings: SelectSettings) -> Verdict:
    """A row that cannot be judged is dropped, or stays as it was before that, where this is below 1."""
    there = [name for name in old if name in row.versions] if settings.keep_original else []
    for name in there:
        if _above_one(row, name, settings) is None:
            return Kept(row.id, name, _NAMED[name], f"{lack.detail} {_told(row, name)}")
    for name in there[-1:]:
        scores = row.versions[name]
        if (reason := _above_one(row, name, settings)) and None not in {scores.ifd_ppl, scores.rifd_ppl}:
            return Dropped(row.id, name, reason, f"{lack.detail} {_told(row, name)}")
    return lack


def _above_one(row: Scored, version: VersionName, settings: SelectSettings) -> str | None:
    scores = row.versions[version]
    if settings.ifd_below_one and not (scores.ifd_ppl is not None and scores.ifd_ppl < 1):
        return "ifd-not-below-one"
    if settings.rifd_below_one and not (scores.rifd_ppl is not None and scores.rifd_ppl < 1):
        return "rifd-not-below-one"
    return None


def _told(row: Scored, version: VersionName) -> str:
    """The two ratios of a version, for a person."""
    scores = row.versions[version]
    ratios = (("IFD", scores.ifd_ppl), ("r-IFD", scores.rifd_ppl))
    return ", ".join(f"{name} {'unknown' if value is None else f'{value:.3f}'}" for name, value in ratios) + (
        f" of {'the original' if version == 'original' else version}"
    )


def _unjudged(row: Scored, settings: SelectSettings) -> Dropped:
    """Why none of a row's versions can be judged by a rule."""
    lacks = [lack for lack in row.unscored if settings.versions in {"all", "latest", lack.version}]
    if lacks:
        return Dropped(row.id, None, "not-scored", "; ".join(f"{lack.version}: {lack.detail}" for lack in lacks))
    if not row.versions:
        return Dropped(row.id, None, "not-scored", "None of its versions has a score.")
    if not _competing(row, settings):
        return Dropped(row.id, None, "version-missing", f"There is no version {settings.versions} of it.")
    if settings.rule == "rifd":
        return Dropped(row.id, None, "not-scored", "It was scored without r-IFD: score both halves.")
    return Dropped(row.id, None, "not-scored", f"It has nothing that the rule {settings.rule} could compare.")
