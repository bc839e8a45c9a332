"""Select the rows of a scored run, and write what was kept and what was not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import typer
from rich.table import Table
from rich.text import Text

from reflectune.cli.finish import note_stage
from reflectune.cli.job import recipe_of
from reflectune.cli.screen import err, say
from reflectune.embedding import Embedder
from reflectune.errors import RunError, SettingsError
from reflectune.formats import Mapping as ColumnMapping
from reflectune.formats import check_target, write_rows
from reflectune.recipe import SelectSettings, in_order
from reflectune.records import Example, Scored, Version, VersionName, VersionScores
from reflectune.recycling import STAGE
from reflectune.runs import HUMAN, RunDir, Selected, StoredRow
from reflectune.runs.export import IN_FILE, PROVENANCE, Export, provenance, with_own
from reflectune.scoring import Versions
from reflectune.selection import Candidate, Dropped, Kept, Selection, check, select

_UNSCORED_RULES = {"random", "coherence", "diverse"}
_EMBEDDED_RULES = {"coherence", "diverse"}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is to be selected.

    Attributes:
        run: The run's folder.
        settings: The rule, and where the data go.
        show: How many rows of each reason are shown.
    """

    run: Path
    settings: SelectSettings
    show: int = 0


def carry_out(chosen: Chosen, *, dry_run: bool, as_json: bool, quiet: bool) -> None:
    """Select, write, and show what it came to.

    Raises:
        MissingExtraError: A rule needs embeddings, and there is nothing that makes them.
        RunError: The run's folder cannot be used, or was not scored.
        SettingsError: The rule or the output cannot be used.
    """
    check(chosen.settings)
    if chosen.settings.output is not None:
        _check_output(chosen.run, chosen.settings.output)
    with RunDir(chosen.run, create=False, look=dry_run) as run:
        selection = _selected(run, chosen, quiet=quiet)
        summary = _summary(chosen, selection)
        if not dry_run:
            _write(run, chosen, selection, summary)
    if not quiet:
        _show(chosen, selection, written=not dry_run)
    if as_json:
        typer.echo(orjson.dumps(summary).decode())


def _check_output(run: Path, output: Path) -> None:
    """Refuse an output that is the input or a file of the run."""
    check_target(output)
    recipe, target = recipe_of(run), output.resolve()
    if run.resolve() in target.parents or (recipe is not None and target == Path(recipe.data).resolve()):
        raise SettingsError(f"{output} would overwrite what is there.", mend="Name another file with --output.")


def _selected(run: RunDir, chosen: Chosen, *, quiet: bool) -> Selection:
    """Every row of the run, kept or dropped."""
    scores = {scored.id: scored for scored in run.scores()}
    rows = list(run.rows(STAGE))
    needs_scores = chosen.settings.rule not in _UNSCORED_RULES
    if needs_scores and not scores:
        raise RunError(f"{chosen.run} has no scores.", mend=f"Make them first: reflectune score {chosen.run}")
    if left := sum(row.example is not None and row.id not in scores for row in rows) if needs_scores else 0:
        say(f"{left:,} rows have no scores yet and are dropped: reflectune score {chosen.run}", quiet=quiet)
    beforehand = {row.id: reason for row in rows if (reason := _decided(row, scores, chosen, run.marks.dropped))}
    candidates = [
        _candidate(row, scores.get(row.id), whole=not needs_scores) for row in rows if row.id not in beforehand
    ]
    if chosen.settings.rule in _EMBEDDED_RULES:
        candidates = _embedded(candidates, {row.id: row for row in rows}, chosen)
    by_hand = sum(isinstance(verdict, Kept) for verdict in beforehand.values())
    selection = select(candidates, chosen.settings, of=len(rows), beside=by_hand)
    found: dict[str, Kept | Dropped] = dict(beforehand)
    found |= {row.id: row for row in selection.kept}
    found |= {row.id: row for row in selection.dropped}
    every = [found[row.id] for row in rows]
    return Selection(
        tuple(row for row in every if isinstance(row, Kept)), tuple(row for row in every if isinstance(row, Dropped))
    )


def _decided(
    row: StoredRow, scores: Mapping[str, Scored], chosen: Chosen, gates: tuple[str, ...]
) -> Kept | Dropped | None:
    """What becomes of a row before any rule looks at it; `None` where the rule is to say.

    The words of people stand above the rules: what they rejected is dropped, and what they wrote is kept.
    """
    if row.rejected:
        return Dropped(row.id, None, "rejected-by-hand", row.decision.note if row.decision else "")
    if row.standing is None or row.standing.name != HUMAN:
        return _out(row, scores, chosen, gates)
    if row.decision is None:
        raise ValueError(f"Nobody wrote row {row.id} by hand.")
    return _marked(row, gates) or Kept(row.id, row.decision.of, "edited-by-hand", row.decision.note, by_hand=True)


def _marked(row: StoredRow, gates: tuple[str, ...]) -> Dropped | None:
    if marked := sorted(set(gates) & set(row.gates)):
        return Dropped(row.id, None, f"gate-{marked[0]}", "Marked by a quality gate whose rows are left out.")
    return None


def _out(row: StoredRow, scores: Mapping[str, Scored], chosen: Chosen, gates: tuple[str, ...]) -> Dropped | None:
    """What becomes of a row before any rule looks at it; `None` where the rule is to say."""
    if row.example is None:
        failure = row.failure
        return Dropped(row.id, None, *((failure.reason, failure.detail) if failure else ("unreadable", "")))
    if marked := _marked(row, gates):
        return marked
    if row.id not in scores and chosen.settings.rule not in _UNSCORED_RULES:
        return Dropped(row.id, None, "not-scored", "It has no scores yet.")
    if chosen.settings.rule == "selective" and row.failure is not None and not chosen.settings.keep_original:
        return Dropped(row.id, None, "not-recycled", f"{row.failure.stage}: {row.failure.reason}")
    return None


def _candidate(row: StoredRow, scored: Scored | None, *, whole: bool) -> Candidate:
    """A row with the versions that it has now; with those that have no scores too, where `whole`."""
    there: dict[VersionName, VersionScores] = dict.fromkeys(_versions(row), VersionScores())
    known = {name: scores for name, scores in scored.versions.items() if name in there} if scored else {}
    if scored is None:
        return Candidate(Scored(id=row.id, versions=there))
    return Candidate(scored.model_copy(update={"versions": there | known if whole else known}))


def _versions(row: StoredRow) -> Mapping[VersionName, Version]:
    """The versions that there are of a row; none where it could not be read."""
    return Versions.of(row.example, row.result).versions if row.example else {}


def _embedded(candidates: list[Candidate], rows: Mapping[str, StoredRow], chosen: Chosen) -> list[Candidate]:
    """Candidates with their places in a space of sentences."""
    found = [
        (place, name, version)
        for place, candidate in enumerate(candidates)
        for name, version in _versions(rows[candidate.scored.id]).items()
        if version.instruction.strip() and version.response.strip()
    ]
    if not found:
        raise RunError(f"{chosen.run} holds no row with an instruction and a response.", mend="Check the data.")
    texts = list(dict.fromkeys(text for *_, version in found for text in (version.instruction, version.response)))
    vectors = dict(zip(texts, Embedder.open(chosen.settings.embedder).embed(texts), strict=True))
    coherence: list[dict[VersionName, float]] = [{} for _ in candidates]
    places: list[dict[VersionName, Any]] = [{} for _ in candidates]
    for place, name, version in found:
        places[place][name] = vectors[version.instruction]
        coherence[place][name] = float(vectors[version.instruction] @ vectors[version.response])
    return [Candidate(candidate.scored, coherence[place], places[place]) for place, candidate in enumerate(candidates)]


def _write(run: RunDir, chosen: Chosen, selection: Selection, summary: dict[str, Any]) -> None:
    stored = run.remembered("mapping")
    if stored is None:
        raise RunError(f"{run.path} holds no data.", mend="Recycle or score some first.")
    mapping = ColumnMapping.model_validate_json(stored)
    kept = {row.id: row for row in selection.kept}

    def lines() -> Iterator[dict[str, Any]]:
        scores = {scored.id: scored for scored in run.scores() if scored.id in kept}
        for row in run.rows(STAGE):
            if row.id in kept:
                yield _line(row, kept[row.id], scores.get(row.id), mapping, chosen)

    decided = run.decisions.mark()
    write_rows(run.path / "selected.jsonl", lines())
    run.remember(IN_FILE + "selected.jsonl", decided)
    verdicts: tuple[Kept | Dropped, ...] = (*selection.kept, *selection.dropped)
    run.keep_selection((row.id, _outcome(row)) for row in verdicts)
    write_rows(run.path / "dropped.jsonl", (_plain(row) for row in selection.dropped))
    if chosen.settings.output is not None:
        write_rows(chosen.settings.output, lines())
    recipe = recipe_of(run.path)
    if recipe is not None:
        stages = in_order(*recipe.stages, "select")
        recipe = recipe.model_copy(update={"select": chosen.settings, "stages": stages})
        note_stage(run, recipe, "select", summary)


def _line(row: StoredRow, kept: Kept, scored: Scored | None, mapping: ColumnMapping, chosen: Chosen) -> dict[str, Any]:
    if row.example is None:
        raise ValueError(f"Row {row.id} holds no pair.")
    version = _text(row, row.example, kept)
    line = Export(mapping, chosen.settings.to).shaped(row.raw, row.example, version)
    if not chosen.settings.provenance:
        return line
    own = provenance(row) | {"version": HUMAN if kept.by_hand else kept.version, "selected": kept.reason}
    if not kept.by_hand and scored and kept.version in scored.versions:
        own |= scored.versions[kept.version].model_dump()
    return with_own(line, {PROVENANCE: own})


def _text(row: StoredRow, example: Example, kept: Kept) -> Version:
    if kept.by_hand and row.standing is not None:
        return row.standing.version
    return Versions.of(example, row.result).versions[kept.version]


def _outcome(row: Kept | Dropped) -> Selected:
    by_hand = isinstance(row, Kept) and row.by_hand
    version = HUMAN if by_hand else row.version
    return Selected(kept=isinstance(row, Kept), version=version, reason=row.reason, detail=row.detail)


def _plain(row: Dropped) -> dict[str, Any]:
    return {"id": row.id, "version": row.version, "reason": row.reason, "detail": row.detail}


def _summary(chosen: Chosen, selection: Selection) -> dict[str, Any]:
    return {
        "run": str(chosen.run),
        **chosen.settings.model_dump(mode="json"),
        "rows": len(selection.kept) + len(selection.dropped),
        "kept": len(selection.kept),
        "dropped": len(selection.dropped),
        "kept_by_reason": {reason: count for (kept, reason), count in selection.reasons.items() if kept},
        "dropped_by_reason": {reason: count for (kept, reason), count in selection.reasons.items() if not kept},
    }


def _show(chosen: Chosen, selection: Selection, *, written: bool) -> None:
    err.print(_table(chosen, selection))
    for kept, reason in selection.reasons if chosen.show else ():
        _show_some(kept, reason, selection, chosen.show)
    if chosen.settings.rule == "selective" and not chosen.settings.keep_original:
        err.print(
            "As in the released code, rows whose response was not replaced are dropped; --keep-original keeps them."
        )
    if (False, "version-missing") in selection.reasons:
        err.print(
            "Rows lack versions that the rule compares: recycle with --versions all, or take a rule such as top-ifd.",
            style="yellow",
        )
    if not selection.kept:
        err.print("No row is kept: --show 3 shows why.", style="yellow")
    if written:
        for target in filter(None, (chosen.run / "selected.jsonl", chosen.settings.output)):
            err.print(f"data      {target}")
        err.print(f"dropped   {chosen.run / 'dropped.jsonl'}")


def _table(chosen: Chosen, selection: Selection) -> Table:
    """How many rows were kept and dropped, by reason."""
    rows = len(selection.kept) + len(selection.dropped)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{chosen.settings.rule}: {rows:,} rows")
    for name in ("rows", "share"):
        table.add_column(name, justify="right")
    for which, count in ((True, len(selection.kept)), (False, len(selection.dropped))):
        table.add_row(*_cells("kept" if which else "dropped", count, rows), style="bold")
        for (kept, reason), of_these in selection.reasons.items():
            if kept is which:
                table.add_row(*_cells(f"  {reason}", of_these, rows))
    return table


def _cells(name: str, count: int, rows: int) -> tuple[str, str, str]:
    return name, f"{count:,}", f"{count / rows:.1%}" if rows else "-"


def _show_some(kept: bool, name: str, selection: Selection, most: int) -> None:
    rows: tuple[Kept | Dropped, ...] = selection.kept if kept else selection.dropped
    err.print(Text(f"── {'kept' if kept else 'dropped'}: {name}", style="bold"))
    for row in [row for row in rows if row.reason == name][:most]:
        err.print(f"{row.id}  {row.version or '-'}  {row.detail}")
