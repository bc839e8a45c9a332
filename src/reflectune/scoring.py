"""Score: the student says how hard it finds every version of every row.

Source: Selective Reflection-Tuning (arXiv 2402.10110) for IFD and r-IFD of four versions; Cherry LLM (arXiv 2308.12032)
and Superfiltering (arXiv 2402.00530) for IFD of a data set as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from reflectune.errors import SettingsError
from reflectune.ifd import ifd, loss_ratio
from reflectune.language import prompt_language
from reflectune.prompts import Prompts
from reflectune.recipe import ScoreSettings
from reflectune.records import (
    Example,
    Failure,
    Recycled,
    Reflection,
    Scored,
    Unscored,
    Version,
    VersionName,
    VersionScores,
    digest,
)
from reflectune.student import Student, open_student
from reflectune.student.templates import TurnsError, open_template
from reflectune.student.tokens import ExactReader, Pair, PublishedReader, Question, Target, Unscorable

__all__ = ["STAGE", "Scorer", "Scores", "Versions", "score"]

STAGE = "score"
_MANY_ABOVE_ONE = 0.2
_CHARACTERS_PER_TOKEN = 4
_READINGS = 4
_PACKS = 4
"""So many are filled at a time, lest the last of them stay half empty."""


@dataclass(frozen=True, slots=True)
class Versions:
    """A row with the versions of it that are to be scored.

    Attributes:
        example: The row.
        versions: Its versions, by name.
    """

    example: Example
    versions: Mapping[VersionName, Version]

    @classmethod
    def of(cls, example: Example, recycled: Recycled | None = None) -> Versions:
        """Every version that there is of a row: only the original where it was not recycled."""
        return cls(example, recycled.versions if recycled else {"original": example.version})


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of rows, and what made them.

    Attributes:
        scored: Every row, in order, with what could not be scored of it.
        maker: The student, its template and the convention, as `Scorer.maker` tells it.
    """

    scored: tuple[Scored, ...]
    maker: dict[str, str | int]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Everything that could not be scored, and why."""
        return tuple(failure for row in self.scored for failure in row.failures)

    @property
    def warning(self) -> str:
        """What a person should hear before trusting these scores; empty where there is nothing to say."""
        ratios = [scores.ifd_ppl for row in self.scored for scores in row.versions.values() if scores.ifd_ppl]
        return warning(sum(ratio > 1 for ratio in ratios), len(ratios), str(self.maker.get("template", "unknown")))


def score(
    rows: Iterable[Example | Versions], student: Student | str = "local", settings: ScoreSettings | None = None
) -> Scores:
    """Score rows with a student.

    Args:
        rows: Examples, or rows with several versions.
        student: A student, or the name of one.
        settings: The template, the convention and the like.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        OracleError: The student cannot be loaded or used.
        SettingsError: A template or a prompt cannot be used.
    """
    settings = settings or ScoreSettings()
    if not isinstance(student, str):
        scorer = Scorer(student, settings)
        return Scores(tuple(scorer.score(rows)), scorer.maker)
    opened = open_student(settings.model_copy(update={"student": student}))
    try:
        return score(rows, opened, settings)
    finally:
        opened.close()


class Scorer:
    """A student with a template and a convention.

    Args:
        student: The student.
        settings: The template, the convention and the like.

    Raises:
        SettingsError: A template or a prompt cannot be used.
    """

    def __init__(self, student: Student, settings: ScoreSettings) -> None:
        published = settings.convention == "published"
        self._student = student
        self._settings = settings
        self._prompts = Prompts(settings.prompts)
        self._template = open_template(settings.template, student.tokenizer, published=published)
        self._reader = PublishedReader(student.tokenizer) if published else ExactReader(student.tokenizer)
        self._most = min(settings.max_length, student.longest or settings.max_length)
        try:
            self._template.guessing("Say hello.")
        except TurnsError as refusal:
            raise SettingsError(
                f"The template {self._template.name} takes no question: {refusal}.",
                mend="Name another one with --template: alpaca, vicuna, wizardlm or a file.",
            ) from refusal

    @cached_property
    def maker(self) -> dict[str, str | int]:
        """What a score depends on besides the row."""
        request = self._prompts.hash("rifd_")[:8]
        return {
            "student": self._student.name,
            "revision": self._student.revision,
            "dtype": self._student.dtype,
            "tokenizer": self._settings.tokenizer or "",
            "template": self._template.name,
            "template_hash": f"{self._template.hash}-{request}",
            "convention": self._settings.convention,
            "max_length": self._most,
            "halves": self._settings.halves,
        }

    @property
    def fingerprint(self) -> str:
        """A hash of all that a score depends on besides the row."""
        return digest(self.maker) + ":"

    def score(self, rows: Iterable[Example | Versions]) -> Iterator[Scored]:
        """Score rows, and yield each as soon as it is. So many are taken at a time as fill a few packs."""
        window: list[Versions] = []
        size = 0
        for row in rows:
            versions = row if isinstance(row, Versions) else Versions.of(row)
            window.append(versions)
            size += _READINGS * sum(len(v.question) + len(v.response) for v in versions.versions.values())
            if size >= _PACKS * _CHARACTERS_PER_TOKEN * self._student.batch_tokens:
                yield from self._score(window)
                window, size = [], 0
        yield from self._score(window)

    def _score(self, rows: Sequence[Versions]) -> Iterator[Scored]:
        """Score some rows together."""
        asked = [self._question(row, name, half) for row in rows for name in row.versions for half in self._halves]
        readable = [question for question in asked if isinstance(question, Question)]
        read = iter(self._reader.read(readable, self._most) if readable else [])
        pairs = [next(read) if isinstance(question, Question) else question for question in asked]
        targets = {target for pair in pairs if isinstance(pair, Pair) for target in (pair.conditioned, pair.alone)}
        known = dict(zip(targets, self._student.losses(list(targets)), strict=True)) if targets else {}
        answers = iter(pairs)
        for row in rows:
            halves = {(name, half): next(answers) for name in row.versions for half in self._halves}
            yield _scored(row, halves, known)

    @property
    def _halves(self) -> tuple[Reflection, ...]:
        return ("response", "instruction") if self._settings.halves == "both" else ("response",)

    def _question(self, row: Versions, name: VersionName, half: Reflection) -> Question | Unscorable:
        version = row.versions[name]
        template = self._template
        if half == "response":
            try:
                prompt = template.asking(row.example, version)
            except TurnsError as refusal:
                return Unscorable("template", str(refusal))
            return Question(prompt, version.response, version.response, template.special)
        language = prompt_language(row.example.question)
        request = self._prompts.render(language, "rifd_request.txt", response=version.response)
        published = self._settings.convention == "published"
        text = version.instruction + version.input if published else version.question
        anchor = version.instruction if published else text
        return Question(template.guessing(request), text, anchor, template.special)


def warning(above_one: int, of: int, template: str) -> str:
    """What it means when many rows have an IFD above 1 by a template; empty where they are few."""
    if not of or above_one / of <= _MANY_ABOVE_ONE:
        return ""
    others = [name for name in ("chat", "alpaca", "vicuna") if name != template]
    return (
        f"{above_one / of:.0%} of the IFDs are above 1: the instruction makes the response less likely. Most often the "
        f"template is not the one that the student knows. It was {template}; try --template {' or '.join(others)}."
    )


def _scored(
    row: Versions,
    halves: Mapping[tuple[VersionName, Reflection], Pair | Unscorable],
    known: Mapping[Target, float | Unscorable],
) -> Scored:
    """Put the losses of a row together."""
    versions: dict[VersionName, VersionScores] = {}
    lacking: list[Unscored] = []
    for name in row.versions:
        fields: dict[str, float | int | bool] = {}
        for half in ("response", "instruction"):
            if (name, half) not in halves:
                continue
            outcome = _half(half, halves[name, half], known)
            if isinstance(outcome, Unscorable):
                detail = f"the {half} cannot be scored: {outcome.detail}"
                lacking.append(Unscored(version=name, half=half, reason=outcome.reason, detail=detail))
            else:
                fields |= outcome | {"truncated": bool(fields.get("truncated")) or bool(outcome["truncated"])}
        if fields:
            versions[name] = VersionScores.model_validate(fields)
    return Scored(id=row.example.id, versions=versions, unscored=tuple(lacking))


def _half(
    half: Reflection, pair: Pair | Unscorable, known: Mapping[Target, float | Unscorable]
) -> dict[str, float | int | bool] | Unscorable:
    """The figures of one half of a version, or why there are none."""
    if isinstance(pair, Unscorable):
        return pair
    conditioned, alone = known[pair.conditioned], known[pair.alone]
    if isinstance(conditioned, Unscorable):
        return conditioned
    if isinstance(alone, Unscorable):
        return alone
    short = "ifd" if half == "response" else "rifd"
    try:
        return {
            f"{half}_tokens": len(pair.conditioned.tokens) - pair.conditioned.first,
            f"{half}_loss_alone": alone,
            f"{half}_loss_conditioned": conditioned,
            f"{short}_ppl": ifd(conditioned, alone),
            f"{short}_loss": loss_ratio(conditioned, alone),
            "truncated": pair.truncated,
        }
    except ValueError as fault:
        return Unscorable("non-finite", str(fault))
