"""`reflectune gates`: mark what should not stay unseen in a run's rewrites, and drop it where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reflectune.cli.findings import Findings
    from reflectune.gates import Candidate, GateName, GateSettings, Mark
    from reflectune.runs import RunDir

_FILE = "gates.jsonl"
_NAMES = "duplicate, contamination, drift, length"


def command(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    against: Annotated[
        list[str] | None,
        typer.Option(help="An evaluation set that must not be in the data: a file, a folder of files, or OWNER/NAME."),
    ] = None,
    gate: Annotated[
        list[str] | None, typer.Option(help=f"Only this gate ({_NAMES}); the marks of the others stay.")
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="Leave the rows that this gate marks out of the data; `none` takes them all back."),
    ] = None,
    near: Annotated[
        float,
        typer.Option(help="The share of equal shingles that makes near duplicates; 1: only equal.", min=0.3, max=1),
    ] = 0.8,
    ngram_words: Annotated[
        int, typer.Option(help="Words in a row, shared with an evaluation set, that are contamination.", min=2)
    ] = 13,
    ngram_characters: Annotated[
        int, typer.Option(help="The same in characters, for scripts without spaces.", min=2)
    ] = 20,
    short_words: Annotated[
        int, typer.Option(help="A shorter evaluation text counts as a whole from this size on.", min=1)
    ] = 8,
    short_characters: Annotated[int, typer.Option(help="The same in characters.", min=1)] = 12,
    spread: Annotated[float, typer.Option(help="Spreads from the median that make an outlier in length.", min=1)] = 5.0,
    shortest_instruction: Annotated[int, typer.Option(help="Mark instructions with fewer words than this.", min=0)] = 2,
    shortest_response: Annotated[int, typer.Option(help="Mark responses with fewer words than this.", min=0)] = 1,
    show: Annotated[int, typer.Option(help="How many marked rows of each gate to show.", min=0)] = 2,
    json: Annotated[bool, typer.Option("--json", help="End by printing one JSON object on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors.")] = False,
) -> None:
    """Mark duplicates, contamination, drift of the language and outliers in length among a run's rewrites.

    Marks go to gates.jsonl in the run's folder and into the data's column `reflectune`; no row is dropped unless --drop
    says so.

    [bold]Examples[/bold]

    reflectune gates runs/data                                  count what there is, and show some

    reflectune gates runs/data --against gsm8k.jsonl --against mmlu/test    look for evaluation sets in the data

    reflectune gates runs/data --drop duplicate --drop drift    and leave those rows out

    reflectune gates runs/data --gate length --spread 4         one gate, stricter

    reflectune gates runs/data --drop none                      take every dropped row back
    """
    import orjson

    from reflectune.cli.findings import Findings, show_findings
    from reflectune.cli.runs import drop_marked
    from reflectune.cli.screen import say
    from reflectune.gates import GateSettings
    from reflectune.runs import RunDir

    settings = GateSettings(
        near=near,
        ngram_words=ngram_words,
        ngram_characters=ngram_characters,
        short_words=short_words,
        short_characters=short_characters,
        spread=spread,
        shortest_instruction=shortest_instruction,
        shortest_response=shortest_response,
    )
    wanted = _Wanted.checked(settings, gate, against, drop)
    with RunDir(run, create=False) as folder:
        findings = Findings(most=show)
        _mark(folder, wanted, findings, quiet=quiet)
        drop_marked(folder, folder.marks.dropped if wanted.drop is None else wanted.drop)
        findings.count(folder)
        if (
            "contamination" in folder.marks.dropped
            and "contamination" not in wanted.gates
            and not findings.marked["contamination"]
        ):
            say("Nothing was looked for: name evaluation sets with --against.", quiet=quiet)
        if not quiet:
            show_findings(folder, findings, looked_for=wanted.gates)
    if json:
        typer.echo(orjson.dumps(findings.summary()).decode())


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked for.

    Attributes:
        settings: When a row is marked.
        gates: The gates to use.
        against: The evaluation sets.
        drop: The gates whose rows are left out from now on; `None` where that is to stay as it was.
    """

    settings: GateSettings
    gates: tuple[GateName, ...]
    against: tuple[str, ...]
    drop: tuple[GateName, ...] | None

    @classmethod
    def checked(
        cls, settings: GateSettings, gates: list[str] | None, against: list[str] | None, drop: list[str] | None
    ) -> _Wanted:
        """Put it together.

        Raises:
            SettingsError: It does not fit together, or there is no such gate.
        """
        from reflectune.errors import SettingsError
        from reflectune.gates import GATES

        for name in [*(gates or ()), *(drop or ())]:
            if name not in {*GATES, "none"} or (name == "none" and (drop != ["none"] or gates == ["none"])):
                mend = f"The gates are {_NAMES}; --drop none stands alone."
                raise SettingsError(f"There is no gate {name!r} here.", mend=mend)
        used: tuple[GateName, ...] = tuple(name for name in GATES if name in (gates or GATES))
        if gates and not against and "contamination" in used:
            raise SettingsError("There is nothing to look for.", mend="Name evaluation sets with --against.")
        if against and "contamination" not in used:
            raise SettingsError("--against is for the gate contamination.", mend="Add --gate contamination.")
        if not against:
            used = tuple(name for name in used if name != "contamination")
        dropped = None if drop is None else tuple(name for name in GATES if name in drop)
        return cls(settings, used, tuple(against or ()), dropped)


def _mark(folder: RunDir, wanted: _Wanted, findings: Findings, *, quiet: bool) -> None:
    """Write the marks of these gates, and those that others left, to the run's folder and its database."""
    from reflectune.cli.findings import progress
    from reflectune.formats import write_rows
    from reflectune.gates import find_marks
    from reflectune.recycling import STAGE

    total = folder.counts(STAGE).done
    path = folder.path / _FILE
    with progress(quiet=quiet) as advance:
        advance("reading the evaluation sets" if wanted.against else "looking", 0, total)
        candidates = _candidates(folder, lambda done: advance("looking", done, total))
        marks = find_marks(candidates, wanted.settings, gates=wanted.gates, against=wanted.against)
        every = findings.passing(_with_earlier(folder, path, marks, wanted.gates))
        write_rows(path, (mark.model_dump() for mark in every))
    folder.marks.keep(_read(path))


def _candidates(folder: RunDir, advance: Callable[[int], None]) -> Iterator[Candidate]:
    from reflectune.gates import Candidate
    from reflectune.recycling import STAGE

    done = 0
    for row in folder.rows(STAGE):
        if row.result is not None and row.standing is not None:
            yield Candidate(row.id, row.result.versions["original"], row.standing.version)
            done += 1
            advance(done)


def _with_earlier(folder: RunDir, path: Path, marks: Iterator[Mark], gates: tuple[GateName, ...]) -> Iterator[Mark]:
    """The new marks, after those that still hold of gates which are not used this time."""
    yield from (mark for mark in _read(path) if mark.gate not in gates and folder.marks.holds(mark.id, mark.gate))
    yield from marks


def _read(path: Path) -> Iterator[Mark]:
    from reflectune.gates import Mark

    if path.is_file():
        with path.open(encoding="utf-8") as lines:
            yield from map(Mark.model_validate_json, lines)
