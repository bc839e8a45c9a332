"""Students on the cluster: rows are scored, each worker with a student of its own."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

from reflectune.cluster.told import Page, Trouble
from reflectune.cluster.work import Model
from reflectune.cluster.worker import landed
from reflectune.errors import ReflectuneError, RunError
from reflectune.optional import load_optional
from reflectune.oracles.naming import Address
from reflectune.recipe import ScoreSettings
from reflectune.records import Scored
from reflectune.scoring import Scorer, Versions
from reflectune.student import open_student

__all__ = ["Made", "ScoreWorker", "Scoring", "entry", "made_of"]

Made = tuple[str, dict[str, str | int]]
"""The fingerprint of scores, and what made them."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """Rows are scored; see `scoring.Scorer`.

    Attributes:
        settings: The student, its template and the like.
        address: Where the endpoint of a served student is.
        fingerprint: What scores depend on besides the row, as the first worker found it.
    """

    settings: ScoreSettings
    address: Address
    fingerprint: str = ""

    @property
    def model(self) -> Model:
        """The student, as far as a place for it is concerned."""
        name = self.settings.student
        return Model(name, self.address, any_kind=True, slots=None if "@" in name else 1)

    @property
    def told(self) -> bool:
        """Nothing: scores are in the run's database."""
        return False


def made_of(scoring: Scoring) -> Made | Trouble:
    """Load the student where workers will, and say what its scores depend on, or why it cannot be used."""
    try:
        student = open_student(scoring.settings, scoring.address)
        try:
            scorer = Scorer(student, scoring.settings)
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
        scorer = Scorer(open_student(self._work.settings, self._work.address), self._work.settings)
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
