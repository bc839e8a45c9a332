"""`reflectune recycle`: from a data file to recycled data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reflectune.cli import flags

if TYPE_CHECKING:
    from reflectune.cli.job import Job, Outcome
    from reflectune.recipe import Recipe

Shape = Literal["alpaca", "sharegpt", "messages", "prompt-completion"]


def command(
    data: Annotated[str, typer.Argument(help="A .json, .jsonl, .csv, .tsv or .parquet file (also .gz), or a hub id.")],
    oracle: Annotated[
        str, typer.Option(help="The model that is asked: local, local:FILE.gguf, MODEL or MODEL@URL.")
    ] = "local",
    run: Annotated[Path | None, typer.Option(help="The run's folder; by default runs/ and the data's name.")] = None,
    limit: Annotated[int | None, typer.Option(help="Take only the first N rows.", min=1)] = None,
    shard: Annotated[
        str | None, typer.Option(help="Take one share of the rows, as 2/8; each share is a run of its own.")
    ] = None,
    reflect: Annotated[
        Literal["instruction", "response", "both"], typer.Option(help="Which reflections to make.")
    ] = "both",
    versions: Annotated[
        Literal["reflected", "all", "chosen"],
        typer.Option(
            help="Versions to make: as reflected, all four, or those that the student chooses (needs --student)."
        ),
    ] = "reflected",
    ask: Annotated[
        Literal["structured", "dialogue"] | None,
        typer.Option(help="One JSON value, or one field per turn; by default what suits."),
    ] = None,
    student: Annotated[
        str | None, typer.Option(help="Who chooses, with --versions chosen: a folder, a hub id, FILE.gguf or local.")
    ] = None,
    candidates: Annotated[int, typer.Option(help="Rewrites to ask for; the oracle chooses.", min=1, max=16)] = 1,
    score_after: Annotated[bool, typer.Option(help="Ask for scores of the result too, to compare.")] = False,
    lang: Annotated[
        Literal["en", "zh"] | None, typer.Option(help="Language of the prompts; by default each row's own.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="A folder of prompt files that replace ours.")] = None,
    map_: Annotated[str | None, typer.Option("--map", help="Columns, as instruction=question,response=answer.")] = None,
    to: Annotated[Shape | None, typer.Option(help="Write another shape than the input's own.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the data to this file too (.jsonl .json .csv .parquet).")
    ] = None,
    fill: Annotated[Literal["none", "original"], typer.Option(help="What stands for a row that failed.")] = "none",
    base_url: Annotated[str | None, typer.Option(help="Where the oracle is served; else OPENAI_BASE_URL.")] = None,
    key_env: Annotated[str, typer.Option(help="The variable that holds the key.")] = "OPENAI_API_KEY",
    max_concurrency: Annotated[int, typer.Option(help="The most requests in flight.", min=1)] = 32,
    rpm: Annotated[
        float | None, typer.Option(help="The most requests a minute; by default what the endpoint allows.")
    ] = None,
    tpm: Annotated[
        float | None, typer.Option(help="The most tokens a minute, sent and received; by default as above.")
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Ask through the provider's batches: half the price, up to a day.")
    ] = False,
    budget: Annotated[
        float | None, typer.Option(help="The most US dollars that the run may cost in all; exit with 4 at its end.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="A file of your own prices, with lines as MODEL: {input: 0.15, output: 0.60}.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds until a request is tried again.")] = 600.0,
    max_failed: Annotated[
        float, typer.Option(help="Exit with 3 if a larger share of rows failed.", min=0, max=1)
    ] = 0.05,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampling, where the oracle takes one.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting of the recipe, as recycle.temperature=0.7.")
    ] = None,
    provenance: Annotated[
        bool, typer.Option(help="Write where each row comes from into the column `reflectune`.")
    ] = True,
    license_: Annotated[
        str | None, typer.Option("--license", help="The licence of the data, for the data set card.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try the rows that failed again.")] = False,
    reason: Annotated[
        list[str] | None, typer.Option(help="With --retry-failed: only those that failed for this reason.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do everything again, as if the run were new.")] = False,
    sample: Annotated[
        int | None, typer.Option(help="Ask for N rows only, spread over the data, and project the rest.", min=1)
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be asked and what it would cost; ask nothing but the --sample."),
    ] = False,
    engine: flags.EngineName = "here",
    address: flags.RayAddress = None,
    workers: flags.Workers = None,
    json: Annotated[bool, typer.Option(help="End by printing one JSON object on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every step to standard error.")] = False,
) -> None:
    """Have an oracle criticise and rewrite each pair, and keep every critique and every failure.

    The same command on the same data resumes.

    [bold]Examples[/bold]

    reflectune recycle data.json                                  with the embedded model, no key needed

    reflectune recycle data.jsonl --oracle gpt-4o-mini            with OpenAI (OPENAI_API_KEY)

    reflectune recycle data.csv --oracle qwen2.5-72b@http://127.0.0.1:8000/v1    with a server of your own

    reflectune recycle data.parquet --map instruction=question,response=solution --limit 20

    reflectune recycle data.json --oracle gpt-4o-mini --dry-run   what it would ask and cost, without asking

    reflectune recycle data.json --oracle gpt-4o-mini --sample 20    ask for 20 rows, and project the rest from them

    reflectune recycle data.json --oracle gpt-4o-mini --batch --budget 5    overnight, at half the price

    reflectune recycle data.json --shard 2/8                      one of eight machines, in runs/data-2-of-8

    reflectune recycle data.json --oracle MODEL@URL --engine ray --address auto    on a Ray cluster
    """
    import logging

    from reflectune.cli.clustering import cluster_of
    from reflectune.cli.job import Job
    from reflectune.errors import SettingsError
    from reflectune.recipe import Recipe, overridden

    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, format="%(name)s: %(message)s")
    stage: dict[str, Any] = {
        "reflect": reflect,
        "versions": versions,
        "ask": ask,
        "candidates": candidates,
        "score_after": score_after,
        "lang": lang,
        "prompts": prompts,
        "seed": seed,
    }
    values: dict[str, Any] = {
        "data": data,
        "map": map_,
        "limit": limit,
        "shard": shard,
        "oracle": oracle,
        "base_url": base_url,
        "key_env": key_env,
        "max_concurrency": max_concurrency,
        "rpm": rpm,
        "tpm": tpm,
        "batch": batch,
        "budget": budget,
        "prices": prices,
        "timeout": timeout,
        "max_failed": max_failed,
        "fill": fill,
        "output": output,
        "to": to,
        "provenance": provenance,
        "license": license_,
        "recycle": stage,
        "chooser": None if student is None else {"student": student},
    }
    recipe = Recipe.made_of(overridden(values, set_ or ()), source="The command")
    folder = run or Path("runs") / name_of(data, shard)
    if student is not None and recipe.recycle.versions != "chosen":
        mend = "Add --versions chosen, or score the run afterwards with reflectune score."
        raise SettingsError("--student is for versions that a student chooses.", mend=mend)
    if reason and not retry_failed:
        raise SettingsError("--reason says which failed rows are tried again.", mend="Add --retry-failed.")
    if dry_run and sample is None:
        from reflectune.cli.estimate import show_estimate

        show_estimate(recipe, folder, as_json=json, quiet=quiet)
        return
    job = Job(
        recipe,
        folder,
        quiet,
        retry=retry_failed,
        reasons=tuple(reason or ()),
        fresh=fresh,
        sample=sample,
        cluster=cluster_of(engine, address, workers),
    )
    carry_out(job, as_json=json)


def name_of(data: str, shard: str | None = None) -> str:
    """The default name of a run: the data's, without folders and suffixes, and the shard's."""
    name = Path(data.replace(":", "-")).name.removesuffix(".gz")
    name = name.removesuffix(Path(name).suffix) or "data"
    return name if shard is None else f"{name}-{shard.replace('/', '-of-')}"


def carry_out(job: Job, *, as_json: bool) -> None:
    """Do a job, show what it came to, and end with the exit code that says so."""
    import orjson

    from reflectune.cli.screen import err
    from reflectune.cli.summary import show_outcome
    from reflectune.cli.work import work

    try:
        outcome = work(job)
    except KeyboardInterrupt:  # while no request is in flight: reading the data, or writing it
        err.print("Stopped. The same command goes on.", style="yellow")
        raise
    show_outcome(job, outcome)
    if as_json:
        typer.echo(orjson.dumps(outcome.summary(job.run)).decode())
    if code := _exit_code(job.recipe, outcome):
        raise typer.Exit(code)


def _exit_code(recipe: Recipe, outcome: Outcome) -> int:
    if outcome.stopped:
        return 4 if outcome.stopped == "budget" else 130
    return 3 if outcome.counts.failed > recipe.max_failed * outcome.counts.rows else 0
