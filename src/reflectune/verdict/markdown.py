"""The paragraph and the main table as Markdown, for a README or a model card."""

from __future__ import annotations

from reflectune.evaluate.leaderboard.markdown import plain
from reflectune.verdict.records import Verdict
from reflectune.verdict.sections import caveat_text
from reflectune.verdict.tables import OVERVIEW, Cell, overview_rows
from reflectune.verdict.wording import Words

__all__ = ["as_markdown"]


def as_markdown(found: Verdict, say: Words) -> str:
    """The paragraph, the table of all comparisons, and what to mistrust."""
    parts = [f"## {plain(say('title', name=found.name))}", plain(found.text[say.language])]
    if found.comparisons:
        heads = [say(f"table.{name}") for name in OVERVIEW]
        align = ["---"] + ["---:"] * (len(heads) - 2) + ["---"]
        cells = ([_cell(cell, say) for cell in row] for row in overview_rows(found.comparisons, say))
        rows = [heads, align, *cells]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    if found.caveats:
        told = (f"- {plain(caveat_text(caveat.name, caveat.values, say))}" for caveat in found.caveats)
        parts.append("\n".join([f"### {say('heading.mistrust')}", "", *told]))
    return "\n\n".join(parts) + "\n"


def _cell(cell: Cell, say: Words) -> str:
    return plain(cell if isinstance(cell, str) else say.rate(cell))
