"""The rows that a report shows: both versions, the critique between them, and why the row is there."""

from __future__ import annotations

from html import escape

from reflectune.criteria import mean_score
from reflectune.page.markup import section, soft, text
from reflectune.page.text import shown
from reflectune.records import Remark, Rewrite, Version
from reflectune.recycling import STAGE
from reflectune.report.choice import Choice, Group, Picked
from reflectune.runs import RunDir, StoredRow

__all__ = ["rows"]

_TITLES: dict[Group, str] = {"typical": "Typical rows", "best": "Best rows", "worst": "Worst rows"}
_DECIDED = {"accept": "A person accepted it.", "edit": "A person wrote what stands for it."}


def rows(folder: RunDir, choice: Choice) -> str:
    """The sections of the rows."""
    return "\n".join(_group(folder, choice, group) for group in _TITLES)


def _group(folder: RunDir, choice: Choice, group: Group) -> str:
    picked = choice.rows[group]
    if not picked:
        return section(group, _TITLES[group], soft(choice.rules[group] if group != "typical" else "There is none."))
    return section(group, _TITLES[group], soft(choice.rules[group]), *(_row(folder, one) for one in picked))


def _row(folder: RunDir, picked: Picked) -> str:
    row = next(folder.rows(STAGE, row=picked.id), None)
    if row is None or row.example is None or row.standing is None:  # another process did it anew meanwhile
        return ""
    decided = f" {_DECIDED[row.decision.verdict]}" if row.decision and row.decision.verdict in _DECIDED else ""
    marked = f" Marked: {', '.join(row.gates)}." if row.gates else ""
    return f"""\
<article class=card>
<h3>Row {shown(row.id)}</h3>
{soft(f"{picked.why}.{decided}{marked}")}
<div class=pair>
{_version("original", row.example.version)}
{_version(row.standing.name, row.standing.version)}
</div>
{_critiques(row)}
</article>"""


def _version(name: str, version: Version) -> str:
    given = f"<h5>Input</h5>{text(version.input)}" if version.input.strip() else ""
    return f"""\
<div>
<h4>{escape(name)}</h4>
<h5>Instruction</h5>{text(version.instruction)}
{given}
<h5>Response</h5>{text(version.response)}
</div>"""


def _critiques(row: StoredRow) -> str:
    if row.result is None:
        return ""
    parts = [_critique(rewrite) for rewrite in row.result.rewrites]
    if row.result.after:
        parts.append(_remarks(f"critique of {row.result.best_name}, after", row.result.after))
    return "\n".join(parts)


def _critique(rewrite: Rewrite) -> str:
    link = f"<p dir=auto>{shown(rewrite.link)}</p>" if rewrite.link else ""
    return _remarks(f"critique of {rewrite.of}, before the new {rewrite.kind}", rewrite.remarks, link)


def _remarks(title: str, remarks: tuple[Remark, ...], below: str = "") -> str:
    score = mean_score(remarks)
    lines = "\n".join(
        f"<tr><th scope=row>{escape(f'{remark.subject}: {remark.criterion}')}</th><td>{remark.score}</td>"
        f"<td class=remark dir=auto>{shown(remark.remark)}</td></tr>"
        for remark in remarks
    )
    told = f"{title}: {score:.1f} on average" if score is not None else title
    return f"<details><summary>{escape(told)}</summary><table class=remarks>\n{lines}\n</table>{below}</details>"
