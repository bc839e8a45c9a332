"""What the annotations of one model come to: the raw win rate and, always beside it, the length-controlled one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reflectune.evaluate.alpaca_eval.annotations import Annotation, Annotations
from reflectune.evaluate.alpaca_eval.length_control import FEWEST, Anchors, LengthControlled, length_controlled
from reflectune.evaluate.alpaca_eval.win_rate import WinRate, win_rate
from reflectune.evaluate.scores import Score

__all__ = ["BENCHMARK", "Report", "report_of"]

BENCHMARK = "alpaca-eval"
_REFERENCES = {
    "alpaca_eval_gpt4": "text_davinci_003",
    "weighted_alpaca_eval_gpt4_turbo": "gpt4_1106_preview",
}
"""AlpacaEval's own annotators, of its first and its second leaderboard, each with its reference."""
_INSTRUCTIONS = 805
_ONE_SIDED = 0.8


@dataclass(frozen=True, slots=True)
class Report:
    """What the annotations of one model come to.

    Attributes:
        model: The model.
        reference: What it was compared with.
        judge: Who judged.
        win_rate: Of the model, as the preferences stand.
        length_controlled: At equal length; `None` where there are too few preferences to tell.
        mean_length: Of the model's answers, in characters.
        reference_length: Of the reference's.
        failures: Why instructions have no preference: how many, by reason.
        forms: How preferences were told: how many, by form; empty for annotations that are not ours.
        first: The mean preference for the answer shown first, in percent, 50 for a judge that heeds no order; `None`
            where that is not known.
    """

    model: str
    reference: str
    judge: str
    win_rate: WinRate
    length_controlled: LengthControlled | None
    mean_length: float
    reference_length: float
    failures: dict[str, int]
    forms: dict[str, int]
    first: float | None

    @property
    def failed(self) -> int:
        """How many instructions have no preference."""
        return sum(self.failures.values())

    @property
    def items(self) -> int:
        """How many instructions there are in all."""
        return self.win_rate.n_total + self.failed

    @property
    def official(self) -> bool:
        """Whether the raw win rate is AlpacaEval's own: its judge with its reference, all its instructions."""
        own = _REFERENCES.get(self.judge) == self.reference
        return own and self.items == _INSTRUCTIONS and not self.forms

    @property
    def notes(self) -> list[str]:
        """What must be known to read the figures."""
        level = self.length_controlled
        if level is None:
            return [self._too_few, *self._on_verdicts]
        why = [f"the length-controlled win rate is approximate: {level.why}"] if level.why else []
        return [*why, *filter(None, [level.warning]), *self._on_verdicts]

    @property
    def _too_few(self) -> str:
        return f"{self.win_rate.n_total} preferences are too few to control for length: it takes {FEWEST}"

    @property
    def _on_verdicts(self) -> list[str]:
        """What must be known of how the judge said what it prefers."""
        notes = []
        if self.forms:
            notes.append(f"verdicts: {', '.join(f'{count:,} {form}' for form, count in self.forms.items())}")
        if self.first is not None and max(self.first, 100 - self.first) >= 100 * _ONE_SIDED:
            share = max(self.first, 100 - self.first)
            side = "first" if share == self.first else "second"
            notes.append(f"the judge goes by the order: the answer shown {side} has {share:.0f}% of its preference")
        return notes

    def scores(self, replies: str) -> tuple[Score, ...]:
        """The figures as records; the length-controlled one is left out where there is none.

        Args:
            replies: The file of the annotations, relative to the run's folder.
        """
        raw, level = self.win_rate, self.length_controlled
        judged = [] if self.official else ["not AlpacaEval's own judge, reference and instructions"]
        lack = [] if level else [self._too_few]
        common: dict[str, Any] = {
            "model": self.model,
            "benchmark": BENCHMARK,
            "form": "alpaca-eval",
            "items": raw.n_total,
            "failed": self.failed,
            "judge": self.judge,
            "against": self.reference,
            "mean_length": self.mean_length,
            "replies": replies,
        }
        first = Score(
            metric="win-rate",
            value=raw.win_rate,
            low=raw.interval and raw.interval.low,
            high=raw.interval and raw.interval.high,
            standard_error=raw.standard_error,
            official=self.official,
            note="; ".join([*judged, *lack, *self._on_verdicts]),
            **common,
        )
        if level is None:
            return (first,)
        second = Score(
            metric="lc-win-rate",
            value=level.value,
            low=level.interval.low,
            high=level.interval.high,
            standard_error=level.standard_error,
            official=level.official,
            note="; ".join(
                filter(None, [level.why and f"approximate: {level.why}", level.warning, *self._on_verdicts])
            ),
            **common,
        )
        return (first, second)

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        level = self.length_controlled
        return {
            "model": self.model,
            "reference": self.reference,
            "judge": self.judge,
            "items": self.items,
            "failed": self.failed,
            "failures": self.failures,
            "official": self.official,
            **asdict(self.win_rate),
            "length_controlled": level.plain() if level else None,
            "mean_length": self.mean_length,
            "reference_length": self.reference_length,
            "forms": self.forms,
            "first_preference": self.first,
            "notes": self.notes,
        }


def report_of(annotations: Annotations, anchors: Anchors | None = None) -> Report:
    """What the annotations of one model come to.

    Args:
        annotations: Of one model against one reference by one judge.
        anchors: What AlpacaEval knows of its instructions and reference; by default nothing.

    Raises:
        InputError: There is no preference, or a difficulty is missing.
        MissingExtraError: numpy, scipy or scikit-learn is not installed.
    """
    rows = annotations.rows
    found = win_rate(annotations.preferences)
    reasons = Counter(failure.reason for failure in annotations.failures)
    decided = [row for row in rows if row.share is not None]
    return Report(
        model=annotations.model,
        reference=annotations.reference,
        judge=annotations.judge,
        win_rate=found,
        length_controlled=length_controlled(rows, anchors) if found.n_total >= FEWEST else None,
        mean_length=math.fsum(len(row.output_2) for row in rows) / len(rows),
        reference_length=math.fsum(len(row.output_1) for row in rows) / len(rows),
        failures=dict(sorted(reasons.items())),
        forms=dict(sorted(Counter(row.form for row in decided if row.form).items())),
        first=_first(decided),
    )


def _first(rows: Sequence[Annotation]) -> float | None:
    """The mean preference for the answer shown first, in percent."""
    known = [row.first for row in rows if row.first is not None]
    return 100 * math.fsum(known) / len(known) if known else None
