"""A run on one page, which needs nothing but itself and can be mailed.

facts.py         what the run was, what it took, what came of it
survey.py        one walk over its rows
choice.py        which rows are shown, by stated rules
before_after.py  statistics and distributions before and after; wording.py puts them into words
sections.py      the page, section by section; rows.py shows single rows
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflectune.errors import MissingExtraError, RunError
from reflectune.evaluate import Comparison, Statistics
from reflectune.files import write_whole
from reflectune.page import page
from reflectune.recycling import STAGE
from reflectune.report import sections
from reflectune.report.before_after import before_after, pictures
from reflectune.report.choice import Choice, choose
from reflectune.report.facts import Facts, facts_of
from reflectune.report.rows import rows
from reflectune.report.survey import Survey, survey
from reflectune.runs import RunDir

if TYPE_CHECKING:
    from reflectune.embedding import Embedder

__all__ = ["FILE", "Report", "write_report"]

FILE = "report.html"
_ROWS = 10
_LINKS = (
    *(("recipe", "How it was made"), ("statistics", "Before and after"), ("critiques", "Critique scores")),
    *(("student", "Student"), ("gates", "Quality gates"), ("failures", "Failures"), ("evaluations", "Evaluations")),
    *(("typical", "Typical rows"), ("best", "Best rows"), ("worst", "Worst rows")),
)


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was written.

    Attributes:
        page: The file.
        facts: What the run was.
        choice: The rows that it shows, and by what rules.
        compared: The statistics on it; `None` where there are none.
        missing: The commands that install what it lacks.
    """

    page: Path
    facts: Facts
    choice: Choice
    compared: Comparison | Statistics | None
    missing: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        counts = self.facts.counts
        return {
            "run": str(self.facts.run),
            "page": str(self.page),
            "bytes": self.page.stat().st_size,
            "rows": counts.rows,
            "rewritten": counts.done,
            "failed": counts.failed,
            "pending": counts.pending,
            "failures": counts.reasons,
            "cost": self.facts.cost,
            "shown": {group: [picked.id for picked in some] for group, some in self.choice.rows.items()},
            "rules": self.choice.rules,
            "evaluations": len(self.facts.evaluations),
            "statistics": self.compared.plain() if self.compared else None,
            "missing": list(self.missing),
        }


def write_report(
    run: Path,
    path: Path | None = None,
    *,
    each: int = _ROWS,
    embedder: Embedder | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Write a report of a run, finished or not. Without the extras `stats` and `plots` it says what is not in it.

    Args:
        run: The run's folder.
        path: The page; by default `report.html` in that folder.
        each: The most rows of each kind that it shows: typical, best and worst ones.
        embedder: For coherence and the distance between instructions; left out without it.
        progress: Is told what is being done, how far it is, and of how many.

    Raises:
        RunError: There is no run, or it holds no data, or the page cannot be written.
    """
    tell = progress or (lambda *_: None)
    path = path or run / FILE
    with RunDir(run, look=True) as folder:
        facts = facts_of(folder)
        tell("rows", 0, facts.counts.rows)
        found = survey(folder, STAGE)
        choice = choose(found.known, each)
        found.known.clear()
        shown = rows(folder, choice)
    missing: list[str] = []
    compared: Comparison | Statistics | None = None
    try:
        compared = before_after(run, embedder=embedder, progress=progress)
    except MissingExtraError as lacking:
        missing.append(lacking.mend)
    tell("pictures", 0, facts.counts.rows)
    drawn = pictures(compared) if compared else None
    told = f"The extra stats computes the figures here: {missing[0]}" if missing else ""
    if drawn and drawn.missing:
        missing.append(drawn.missing)
    body = _body(facts, found, [sections.statistics(compared, drawn, told), sections.selection(facts, found, compared)])
    _write(path, page(f"{facts.name}: report", f"{body}\n{shown}"))
    return Report(path, facts, choice, compared, tuple(missing))


def _body(facts: Facts, found: Survey, figures: list[str]) -> str:
    statistics, student = figures
    parts = [
        sections.recipe(facts),
        statistics,
        sections.critiques(found.critiques),
        student,
        sections.gates(facts),
        sections.failures(facts),
        sections.evaluations(facts),
    ]
    links = "\n".join(
        f'<a href="#{name}">{title}</a>'
        for name, title in _LINKS
        if name in {"typical", "best", "worst"} or any(f'<section id="{name}">' in part for part in parts)
    )
    return "\n".join([sections.head(facts, found), f'<nav aria-label="Sections">{links}</nav>', *filter(None, parts)])


def _write(path: Path, content: str) -> None:
    try:
        write_whole(path, content.encode(errors="replace"))
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}.", mend="Name another place with --output.") from error
