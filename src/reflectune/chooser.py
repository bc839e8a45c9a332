"""The student as the chooser of what is recycled: it says for each row whether the new instruction is better for it.

Source: Selective Reflection-Tuning (arXiv 2402.10110): the response is reflected upon for the instruction that the
student has chosen, so that only one of the versions A and QA is asked for.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from reflectune.oracles.engine import Rejected
from reflectune.recipe import ScoreSettings
from reflectune.records import Example, Scored, Version
from reflectune.scoring import Scorer, Versions
from reflectune.student import Student

Choice = bool | Rejected


@dataclass(frozen=True, slots=True)
class _Asked:
    versions: Versions
    choice: asyncio.Future[Choice]


class StudentChooser:
    """Takes the new instruction where its IFD is higher. Rows that wait at the same time are scored together.

    Args:
        student: The student.
        settings: Its template and convention.

    Raises:
        SettingsError: A template cannot be used.
    """

    def __init__(self, student: Student, settings: ScoreSettings | None = None) -> None:
        settings = settings or ScoreSettings()
        self._scorer = Scorer(student, settings.model_copy(update={"halves": "response"}))
        self._asked: list[_Asked] = []
        self._working: asyncio.Task[None] | None = None

    @property
    def fingerprint(self) -> str:
        """What its choices depend on."""
        return self._scorer.fingerprint

    @property
    def dtype(self) -> str:
        """The numbers that its student computes with; empty where that is not known."""
        return str(self._scorer.maker["dtype"])

    async def takes_new(self, example: Example, old: Version, new: Version) -> Choice:
        """Whether the student learns more from the new instruction, or why that cannot be said."""
        choice: asyncio.Future[Choice] = asyncio.get_running_loop().create_future()
        self._asked.append(_Asked(Versions(example, {"original": old, "Q": new}), choice))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await choice

    async def _work(self) -> None:
        await asyncio.sleep(0)  # for others that land at the same moment
        while self._asked:
            asked, self._asked = self._asked, []
            try:
                scored = await asyncio.to_thread(self._scored, [one.versions for one in asked])
            except Exception as problem:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                _answer(asked, problem)
            else:
                _answer(asked, scored)

    def _scored(self, rows: list[Versions]) -> list[Scored]:
        return list(self._scorer.score(rows))


def _answer(asked: list[_Asked], answer: list[Scored] | Exception) -> None:
    for place, one in enumerate(asked):
        if one.choice.done():  # whoever waited was cancelled
            continue
        if isinstance(answer, Exception):
            one.choice.set_exception(answer)
        else:
            one.choice.set_result(_choice(answer[place]))


def _choice(scored: Scored) -> Choice:
    if scored.unscored:
        lack = scored.unscored[0]
        return Rejected(lack.reason, f"{lack.version}: {lack.detail}")
    new, old = (scored.versions[name].ifd_ppl for name in ("Q", "original"))
    return new is not None and old is not None and new > old
