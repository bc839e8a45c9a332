"""`reflectune runs`: list, show, resume and retry runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from reflectune.runs import RunDir, StoredRow
    from reflectune.runs.export import Export

app = typer.Typer(help="List, show, resume and retry runs.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The run's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors.")]


@app.command("list")
def list_runs(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the runs.")] = Path("runs"),
    json: AsJson = False,
) -> None:
    """List the runs in a folder, with what each has come to."""
    import orjson

    from reflectune.cli.screen import err

    runs = [_totals(path.parent) for path in sorted(folder.glob("*/state.sqlite"))]
    if json:
        typer.echo(orjson.dumps(runs).decode())
        return
    if not runs:
        err.print(f"There is no run in {folder}.")
    for run in runs:
        typer.echo(
            f"{run['run']}  {run['rows']:,} rows: {run['done']:,} rewritten, {run['failed']:,} failed, "
            f"{run['pending']:,} pending  {run.get('oracle', '')}"
        )


@app.command("show")
def show(
    run: Folder,
    row: Annotated[str | None, typer.Option(help="Show this row whole: versions, critique, failure.")] = None,
    failed: Annotated[bool, typer.Option(help="Show the rows that failed.")] = False,
    json: AsJson = False,
) -> None:
    """Show what a run has come to, its failures, or one of its rows.

    [bold]Examples[/bold]

    reflectune runs show runs/data --failed

    reflectune runs show runs/data --row 17 --json
    """
    import orjson

    from reflectune.recycling import STAGE
    from reflectune.runs import RunDir

    with RunDir(run, look=True) as folder:
        mark = folder.remembered("fingerprint") or ""
        if row is not None:
            _show_row(_row_of(folder, mark, row), as_json=json)
        elif failed:
            for failure in folder.failures(STAGE, mark):
                line = f"{failure.id}  {failure.stage}  {failure.reason}  {failure.detail}"
                typer.echo(failure.model_dump_json() if json else line)
        else:
            typer.echo(orjson.dumps(_totals(run), option=orjson.OPT_INDENT_2).decode())


@app.command("resume")
def resume(run: Folder, json: AsJson = False, quiet: Quiet = False) -> None:
    """Go on with a run, as its recipe says."""
    _again(run, retry=False, as_json=json, quiet=quiet)


@app.command("retry")
def retry(run: Folder, json: AsJson = False, quiet: Quiet = False) -> None:
    """Try the rows of a run that failed again, as its recipe says."""
    _again(run, retry=True, as_json=json, quiet=quiet)


def export_of(run: RunDir, *, to: str | None, fill: bool) -> Export:
    """How the rows of a run are written.

    Raises:
        RunError: The run never came to reading its data.
    """
    from reflectune.errors import RunError
    from reflectune.formats import Mapping
    from reflectune.runs.export import Export

    mapping, mark = run.remembered("mapping"), run.remembered("fingerprint")
    if mapping is None or mark is None:
        raise RunError(f"The run {run.path} holds no data yet.", mend="Start it with `reflectune recycle`.")
    return Export(Mapping.model_validate_json(mapping), mark, to, fill)


def _again(run: Path, *, retry: bool, as_json: bool, quiet: bool) -> None:
    from reflectune.cli.recycle import carry_out
    from reflectune.cli.work import Job
    from reflectune.recipe import Recipe

    carry_out(Job(Recipe.load(run / "recipe.yaml"), run, quiet=quiet, retry=retry), as_json=as_json)


def _totals(run: Path) -> dict[str, Any]:
    """What a run has come to by now, also while another process works on it."""
    from dataclasses import asdict

    import orjson

    from reflectune.recycling import STAGE
    from reflectune.runs import RunDir

    with RunDir(run, look=True) as folder:
        counts = asdict(folder.counts(STAGE, folder.remembered("fingerprint") or ""))
        spent = folder.spent()
    path = run / "run.json"
    known: dict[str, Any] = orjson.loads(path.read_bytes()) if path.is_file() else {}
    return {"run": str(run), **known, **counts, **spent}


def _row_of(run: RunDir, mark: str, name: str) -> StoredRow:
    from reflectune.errors import RunError
    from reflectune.recycling import STAGE

    found = next((row for row in run.rows(STAGE, mark) if row.id == name), None)
    if found is None:
        raise RunError(f"The run {run.path} has no row {name}.", mend="The ids are in the data that it wrote.")
    return found


def _show_row(row: StoredRow, *, as_json: bool) -> None:
    from reflectune.formats import to_json

    if as_json or row.result is None:
        result = row.result.model_dump(mode="json") if row.result else None
        failure = row.failure.model_dump(mode="json") if row.failure else None
        shown = {"id": row.id, "raw": row.raw, "result": result, "failure": failure}
        typer.echo(to_json(shown))
        return
    for name, version in row.result.versions.items():
        typer.echo(f"── {name}\n{version.instruction}\n{version.input}\n→ {version.response}\n")
    for rewrite in row.result.rewrites:
        typer.echo(f"── critique before the new {rewrite.kind}")
        for remark in rewrite.remarks:
            typer.echo(f"{remark.score:>3}  {remark.subject}: {remark.criterion}: {remark.remark}")
        if rewrite.link:
            typer.echo(f"     {rewrite.link}")
    if row.failure:
        typer.echo(
            f"── failed at {row.failure.stage}: {row.failure.reason}: {row.failure.detail}\n{row.failure.raw or ''}"
        )
