"""`reflectune runs`: list, show, decide about, write, resume, retry, merge and push runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from reflectune.recipe import Recipe
    from reflectune.runs import RunDir, StoredRow

app = typer.Typer(help="List, show, decide about, write, resume, retry, merge and push runs.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The run's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Budget = Annotated[float | None, typer.Option(help="Another limit of what the run may cost in all, in US dollars.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors.")]

_MANY_FAILED = 3
"""The exit code when more rows failed than --max-failed allows."""
_OTHERS = {
    "answers": "answers of a model to the questions of a test set",
    "verdicts": "verdicts of a judge on pairs of answers",
    "traces": "reflections written out, to train on",
    "evaluation": "an evaluation of a model",
}
"""What folders without rows hold."""


@app.command("list")
def list_runs(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the runs.")] = Path("runs"),
    json: AsJson = False,
) -> None:
    """List the runs in a folder, with what each has come to."""
    import sqlite3

    import orjson

    from reflectune.cli.screen import err
    from reflectune.errors import RunError

    runs = []
    found = (
        path for name in ("state.sqlite", "pipeline.json", "data/state.sqlite") for path in folder.glob(f"*/{name}")
    )
    for path in sorted(found, key=lambda path: path.parent):
        try:
            runs.append(_journey(path.parent) if path.name == "pipeline.json" else _totals(path.parent))
        except (RunError, sqlite3.Error) as error:
            err.print(f"{path.parent} cannot be read: {str(error).partition(chr(10))[0]}")
    if json:
        typer.echo(orjson.dumps(runs).decode())
        return
    if not runs:
        err.print(f"There is no run in {folder}.")
    for run in runs:
        typer.echo(f"{run['run']}  {_in_words(run)}")


def _journey(folder: Path) -> dict[str, Any]:
    """How far a journey has come; its data is a run of its own."""
    from reflectune.pipeline.state import PipelineState

    stages = PipelineState.load(folder, "").stages.values()
    states = {
        state: sum(stage.state == state for stage in stages) for state in ("done", "running", "stopped", "failed")
    }
    return {"run": str(folder), "kind": "journey", "stages": len(stages), **states}


def _in_words(run: dict[str, Any]) -> str:
    if run["kind"] == "journey":
        ended = "" if run["done"] == run["stages"] else f" of {run['stages']} that were begun"
        return f"a journey: {run['done']} stages done{ended}"
    if run["kind"] in _OTHERS:
        return _OTHERS[run["kind"]]
    return f"{run['rows']:,} rows: {run['done']:,} rewritten, {run['failed']:,} failed, {run['pending']:,} pending"


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

    from reflectune.cli.deciding import row_of
    from reflectune.cli.screen import err
    from reflectune.recycling import STAGE
    from reflectune.runs import RunDir

    with RunDir(run, look=True) as folder:
        if row is not None:
            _show_row(row_of(folder, row), as_json=json)
        elif failed:
            if not folder.counts(STAGE).failed:
                err.print("No row failed.")
            for failure in folder.failures(STAGE):
                line = f"{failure.id}  {failure.stage}  {failure.reason}  {failure.detail}"
                typer.echo(failure.model_dump_json() if json else line)
        else:
            typer.echo(orjson.dumps(_totals(run), option=orjson.OPT_INDENT_2).decode())


@app.command("decide")
def decide(
    run: Folder,
    row: Annotated[str, typer.Option(help="The row's id.")],
    accept: Annotated[bool, typer.Option("--accept", help="It is good as it is.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="It is left out of the data.")] = False,
    edit: Annotated[
        Path | None, typer.Option(help="A JSON file with the texts that stand for it: instruction, input, response.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the decision back.")] = False,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    quiet: Quiet = False,
) -> None:
    """Accept, edit or reject a row by hand, also while another process works on the run.

    What is exported and selected from then on follows it; a row that is made anew is to be looked at again.

    [bold]Examples[/bold]

    reflectune runs decide runs/data --row 17 --reject --note "answers another question"

    reflectune runs decide runs/data --row 18 --edit better.json
    """
    from reflectune.cli.deciding import carry_out

    wanted = [name for name, given in (("accept", accept), ("reject", reject), ("undo", undo)) if given]
    if len(wanted) + (edit is not None) != 1:
        raise typer.BadParameter("Name one of --accept, --reject, --edit and --undo.")
    carry_out(run, row, edit or wanted[0], note=note, quiet=quiet)  # type: ignore[arg-type]


@app.command("write")
def write(run: Folder, quiet: Quiet = False) -> None:
    """Write a run's data files anew, as its rows and what was decided about them now stand; ask nobody.

    Where the run was selected from, that is done again too, as its recipe says.

    [bold]Example[/bold]

    reflectune runs write runs/data
    """
    from reflectune.cli.screen import say
    from reflectune.runs import RunDir

    with RunDir(run, create=False) as folder:
        _write_anew(folder)
    say(f"data      {run / 'recycled.jsonl'}", quiet=quiet)
    recipe = _recipe(run)
    if recipe.select is not None and (run / "selected.jsonl").is_file():
        _go_on("select", recipe, run, as_json=False, quiet=quiet)


@app.command("resume")
def resume(run: Folder, budget: Budget = None, json: AsJson = False, quiet: Quiet = False) -> None:
    """Go on with a run, as its recipe says: recycle, then score and select where that was done or begun.

    With --json it prints one object for each stage.

    [bold]Examples[/bold]

    reflectune runs resume runs/data

    reflectune runs resume runs/data --budget 20     after the budget was spent
    """
    recipe = _recipe(run, budget=budget)
    many_failed = False
    for stage in recipe.stages:
        try:
            _go_on(stage, recipe, run, as_json=json, quiet=quiet)
        except typer.Exit as end:
            if end.exit_code != _MANY_FAILED:
                raise
            many_failed = True  # the rows that did not fail go on to the next stage
    if many_failed:
        raise typer.Exit(_MANY_FAILED)


def _go_on(stage: str, recipe: Recipe, run: Path, *, as_json: bool, quiet: bool) -> None:
    """Go on with one stage of a run."""
    if stage == "recycle":
        from reflectune.cli.job import Job
        from reflectune.cli.recycle import carry_out

        carry_out(Job(recipe, run, quiet), as_json=as_json)
    elif stage == "score":
        from reflectune.cli import scoring

        scoring.carry_out(scoring.Asked(str(run), quiet=quiet), dry_run=False, as_json=as_json)
    elif recipe.select is not None:
        from reflectune.cli import selecting

        selecting.carry_out(selecting.Chosen(run, recipe.select), dry_run=False, as_json=as_json, quiet=quiet)


@app.command("retry")
def retry(
    run: Folder,
    reason: Annotated[list[str] | None, typer.Option(help="Only rows that failed for this reason.")] = None,
    oracle: Annotated[str | None, typer.Option(help="Another oracle; rows that are done stay as they are.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Where that oracle is served.")] = None,
    key_env: Annotated[str | None, typer.Option(help="The variable that holds its key.")] = None,
    budget: Budget = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Try the rows of a run that failed again, as its recipe says, or with another oracle.

    [bold]Examples[/bold]

    reflectune runs retry runs/data

    reflectune runs retry runs/data --reason copy --reason invalid --oracle gpt-4o
    """
    from reflectune.cli.job import Job
    from reflectune.cli.recycle import carry_out

    recipe = _recipe(run, budget=budget, oracle=oracle, base_url=base_url, key_env=key_env)
    carry_out(Job(recipe, run, quiet, retry=True, reasons=tuple(reason or ())), as_json=json)


@app.command("merge")
def merge(
    runs: Annotated[list[Path], typer.Argument(help="The folders of the shards' runs.")],
    run: Annotated[Path, typer.Option(help="The folder of the run that they become; it must not be there yet.")],
    quiet: Quiet = False,
) -> None:
    """Make one run of the runs of several shards, and write its data.

    [bold]Example[/bold]

    reflectune runs merge runs/data-1 runs/data-2 --run runs/data
    """
    from reflectune.cli.merge import merge_runs

    merge_runs(runs, run, quiet=quiet)


@app.command("push")
def push(
    run: Folder,
    repository: Annotated[str, typer.Argument(help="The data set on the hub, as OWNER/NAME.")],
    public: Annotated[bool, typer.Option("--public", help="Make it public if it is new.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be uploaded, and upload nothing.")] = False,
) -> None:
    """Upload a run's data, failures, recipe, totals and card to the Hugging Face hub.

    The key is read from HF_TOKEN, or from where `hf auth login` left it.

    [bold]Example[/bold]

    reflectune runs push runs/data me/data-recycled
    """
    from reflectune.cli.push import push_run

    push_run(run, repository, private=not public, dry_run=dry_run)


def drop_marked(run: RunDir, gates: tuple[str, ...]) -> None:
    """Leave the rows that some quality gates mark out of a run's data, and write its files anew."""
    run.marks.drop(gates)
    _write_anew(run)


def _write_anew(run: RunDir) -> None:
    from reflectune.cli.finish import save
    from reflectune.runs.export import export_of

    recipe = _recipe(run.path)
    save(run, recipe, export_of(run, to=recipe.to, fill=recipe.fill == "original", provenance=recipe.provenance))


def _recipe(run: Path, **changed: Any) -> Recipe:
    """The recipe of a run, with what is changed for this time on."""
    from reflectune.errors import RunError
    from reflectune.recipe import Recipe

    if not (run / "recipe.yaml").is_file():
        there = (run / "state.sqlite").is_file()
        raise RunError(
            f"{run} holds no data that was recycled or scored." if there else f"There is no run in {run}.",
            mend="Name the folder of `reflectune recycle` or `reflectune score`: `reflectune runs list` lists them.",
        )
    recipe = Recipe.load(run / "recipe.yaml")
    values = {name: value for name, value in changed.items() if value is not None}
    return Recipe.made_of(recipe.model_dump() | values, source="The command")


def _totals(run: Path) -> dict[str, Any]:
    """What a run has come to by now, also while another process works on it."""
    from dataclasses import asdict

    import orjson

    from reflectune.recycling import STAGE
    from reflectune.runs import RunDir
    from reflectune.runs.deciding import decided
    from reflectune.runs.kinds import kind_of

    with RunDir(run, look=True) as folder:
        counts = asdict(folder.counts(STAGE)) | {"decided": asdict(decided(folder))}
        spent = folder.spent()
    path = run / "run.json"
    known: dict[str, Any] = orjson.loads(path.read_bytes()) if path.is_file() else {}
    replies = {
        "requests": sum(part.requests for part in spent),
        "prompt_tokens": sum(part.prompt_tokens for part in spent),
        "completion_tokens": sum(part.completion_tokens for part in spent),
    }
    return {"run": str(run), "kind": kind_of(run, counts["rows"]), **known, **counts, **replies}


def _show_row(row: StoredRow, *, as_json: bool) -> None:
    from dataclasses import asdict

    from reflectune.formats import to_json

    if as_json or row.result is None:
        result = row.result.model_dump(mode="json") if row.result else None
        failure = row.failure.model_dump(mode="json") if row.failure else None
        maker = asdict(row.maker) if row.maker else None
        shown = {"id": row.id, "raw": row.raw, "result": result, "failure": failure, "maker": maker, "gates": row.gates}
        for name, said in (("decision", row.decision), ("stale", row.stale)):
            shown[name] = said.model_dump(mode="json") if said else None
        typer.echo(to_json(shown))
        return
    if row.maker:
        typer.echo(f"── by {row.maker.oracle}, prompts {row.maker.prompts}")
    if row.gates:
        typer.echo(f"── marked: {', '.join(row.gates)}")
    for name, version in row.result.versions.items():
        typer.echo(f"── {name}\n{version.instruction}\n{version.input}\n→ {version.response}\n")
    for rewrite in row.result.rewrites:
        typer.echo(f"── critique of {rewrite.of}, before the new {rewrite.kind}")
        for remark in rewrite.remarks:
            typer.echo(f"{remark.score:>3}  {remark.subject}: {remark.criterion}: {remark.remark}")
        if rewrite.link:
            typer.echo(f"     {rewrite.link}")
    if row.failure:
        typer.echo(
            f"── failed at {row.failure.stage}: {row.failure.reason}: {row.failure.detail}\n{row.failure.raw or ''}"
        )
    _show_decision(row)


def _show_decision(row: StoredRow) -> None:
    said = row.decision or row.stale
    if said is None:
        return
    holds = "" if row.decision else "; the row was made anew since, so that does not hold"
    typer.echo(f"── by hand: {said.verdict} of {said.of}{holds}")
    if said.note:
        typer.echo(said.note)
    if said.version:
        typer.echo(f"{said.version.instruction}\n{said.version.input}\n→ {said.version.response}\n")
