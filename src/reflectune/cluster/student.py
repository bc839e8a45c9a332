"""Students on the cluster: rows are scored, each worker with a student of its own."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reflectune.cluster.pupil import Pupil
from reflectune.cluster.told import Page, Trouble
from reflectune.cluster.worker import equip, landed
from reflectune.errors import ReflectuneError, RunError
from reflectune.optional import load_optional
from reflectune.records import Scored
from reflectune.scoring import Scorer, Versions

__all__ = ["Made", "ScoreWorker", "Scoring", "entry", "made_of"]

Made = tuple[str, dict[str, str | int]]
"""The fingerprint of scores, and what made them."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """Rows are scored; see `scoring.Scorer`.

    Attributes:
        student: The student, with its template and the like.
        fingerprint: What scores depend on besides the row, as the first worker found it.
    """

    student: Pupil
    fingerprint: str = ""

    @property
    def inside(self) -> bool:
        """Whether the student computes in the worker."""
        return self.student.inside

    @property
    def wants_gpu(self) -> bool:
        """Whether it takes a GPU."""
        return self.student.wants_gpu

    @property
    def told(self) -> bool:
        """Nothing: scores are in the run's database."""
        return False


def made_of(scoring: Scoring, secrets: Mapping[str, str]) -> Made | Trouble:
    """Load the student where workers will, and say what its scores depend on, or why it cannot be used.

    Args:
        scoring: How rows are scored.
        secrets: Variables that the student needs, such as the key of a served one.
    """
    equip(secrets)
    try:
        student = scoring.student.open()
        try:
            scorer = Scorer(student, scoring.student.settings)
            return scorer.fingerprint, scorer.maker
        finally:
            student.close()
    except ReflectuneError as error:
        return Trouble.of(error)


def entry(scored: Scored) -> tuple[str, bytes, str | None]:
    """The scores of a row as they are kept: its id, JSON, and the reason where nothing of it could be scored."""
    failed = None if scored.versions else scored.unscored[0].reason
    return scored.id, scored.model_dump_json(exclude_defaults=True).encode(), failed


class ScoreWorker:
    """Scores the rows of one page after the other; a page's scores are durable before it counts.

    Args:
        keeper: The keeper's handle.
        work: What to do.
    """

    def __init__(self, keeper: Any, work: Scoring) -> None:
        self._get = load_optional("ray", "--engine ray", "ray").get
        self._keeper = keeper
        self._work = work
        self._scorer: Scorer | None = None

    def __call__(self, block: Any) -> Any:
        """What became of the rows of some pages."""
        pages = [Page(place["first"], place["last"]) for place in block.to_pylist()]
        found = self._get([self._keeper.page.remote(page) for page in pages])
        rows = [pickle.loads(row) for some in found for row in some]  # noqa: S301 - packed by our own keeper
        done: list[Scored] = []
        try:
            scorer = self._scorer = self._scorer or self._open()
            done.extend(scorer.score(Versions.of(example, result) for example, result in rows))
        except Exception as error:  # noqa: BLE001 - told to the keeper, who ends the work
            self._call("fail", Trouble.of(error))
        entries = [entry(scored) for scored in done]
        self._call("scores", self._work.fingerprint, entries)
        self._call("land", [failed for *_, failed in entries])
        return landed(done, told=False)

    def _open(self) -> Scorer:
        secrets, _ = self._get(self._keeper.equipment.remote(""))
        equip(secrets)
        scorer = Scorer(self._work.student.open(), self._work.student.settings)
        if scorer.fingerprint != self._work.fingerprint:
            raise RunError(
                "The student of one worker would give other scores than that of another.",
                mend="Name --device and --dtype, so that all of them compute alike.",
            )
        return scorer

    def _call(self, name: str, *arguments: Any) -> None:
        [outcome] = self._get(self._keeper.carry.remote("", [(name, arguments)]))
        if isinstance(outcome, Trouble):
            raise outcome.error()
