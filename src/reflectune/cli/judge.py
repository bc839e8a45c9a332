"""`reflectune judge`: whose answers are better?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reflectune.cli import flags


def command(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="A B",
            help="The answers of two models to the same questions (.json .jsonl .csv .tsv .parquet, also .gz);"
            " with --reviews any number of files of reviews.",
        ),
    ],
    judge: Annotated[
        list[str] | None,
        typer.Option(
            help="Who judges: local, local:FILE.gguf, a model folder, MODEL or MODEL@URL; twice for two judges."
            "  [default: local]",
            show_default=False,
        ),
    ] = None,
    reviews: Annotated[
        bool, typer.Option("--reviews", help="Ask nobody: the files hold published reviews of two answers.")
    ] = False,
    human: Annotated[
        bool, typer.Option("--human", help="Judge by hand, blind, on a page in the browser; nobody is asked.")
    ] = False,
    annotator: Annotated[
        str | None, typer.Option(help="With --human: who judges; the judge is called human:NAME then.", metavar="NAME")
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(help="With --human: the run of a judge on the same answers, to agree with; once or more."),
    ] = None,
    port: Annotated[
        int, typer.Option(help="With --human: the port of the page; 0 for any that is free.", min=0, max=65535)
    ] = 0,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="With --human: open a browser.")] = True,
    run: Annotated[
        Path | None, typer.Option(help="The run's folder; by default runs/ and the names of the models.")
    ] = None,
    name_a: Annotated[str | None, typer.Option(help="What A is called; else its column generator or its file.")] = None,
    name_b: Annotated[str | None, typer.Option(help="What B is called.")] = None,
    columns: Annotated[
        str | None, typer.Option("--map", help="Which columns hold what in both files: instruction=COLUMN,response=...")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Judge only the first N pairs.", min=1)] = None,
    ask: Annotated[
        Literal["structured", "dialogue"] | None,
        typer.Option(help="One JSON value, or one field per turn; by default what suits the judge."),
    ] = None,
    lang: Annotated[
        Literal["en", "zh"] | None, typer.Option(help="Language of the prompts; by default each question's own.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="A folder of prompt files that replace ours.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature.", min=0, max=2)] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling.", min=0.01, max=1)] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="The most tokens of a reply; by default the judge's own.", min=16)
    ] = None,
    retries: Annotated[
        int, typer.Option(help="How often to ask again after a reply that is not accepted.", min=0, max=2)
    ] = 2,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the sampling; with --human of the sides and the order.", min=0)
    ] = None,
    base_url: flags.BaseUrl = None,
    key_env: flags.KeyEnv = "OPENAI_API_KEY",
    max_concurrency: flags.MaxConcurrency = 32,
    rpm: flags.Rpm = None,
    tpm: flags.Tpm = None,
    budget: flags.Budget = None,
    prices: flags.Prices = None,
    timeout: flags.Timeout = 600.0,
    max_failed: Annotated[
        float, typer.Option(help="Exit with 3 if a larger share of the questions has no verdict.", min=0, max=1)
    ] = 0.05,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what there is and what would be asked; ask and write nothing.")
    ] = False,
    engine: flags.EngineName = "here",
    address: flags.RayAddress = None,
    workers: flags.Workers = None,
    json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Have a judge compare two models' answers, each pair in both orders.

    Prints wins, ties and losses, the winning score and the win rate, and beside them what they hide: how often the
    verdict depends on the order, and on the length. Verdicts go to verdicts.jsonl in the run's folder, questions
    without one to judge_failures.jsonl, the figures to evaluation.json. The same command resumes.

    [bold]Examples[/bold]

    reflectune judge recycled.jsonl original.jsonl                   with the embedded model, which is a weak judge

    reflectune judge recycled.jsonl original.jsonl --judge gpt-4o --budget 5

    reflectune judge a.json b.json --judge gpt-4o --judge qwen2.5-72b@http://127.0.0.1:8000/v1     and do they agree?

    reflectune judge a.json b.json --judge gpt-4o --dry-run          how many requests, and about what they cost

    reflectune judge a.json b.json --human --annotator ada           on a page in the browser, with the keys 1, 2 and 3

    reflectune judge --reviews vicuna_reviews_gpt4.json vicuna_reviews_gpt3.5.json
    """
    from reflectune.cli.clustering import cluster_of
    from reflectune.cli.judging import Asked, carry_out
    from reflectune.errors import SettingsError
    from reflectune.recipe import JudgeSettings, Recipe

    settings = JudgeSettings.made_of(
        {
            "ask": ask,
            "lang": lang,
            "prompts": prompts,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "retries": retries,
            "seed": seed,
            "name_a": name_a,
            "name_b": name_b,
        },
        source="The command",
    )
    judges = tuple(judge or ["local"])
    recipe = Recipe.made_of(
        {
            "data": files[0],
            "map": columns,
            "limit": limit,
            "oracle": judges[0],
            "base_url": base_url,
            "key_env": key_env,
            "max_concurrency": max_concurrency,
            "rpm": rpm,
            "tpm": tpm,
            "budget": budget,
            "prices": prices,
            "timeout": timeout,
            "max_failed": max_failed,
        },
        source="The command",
    )
    cluster = cluster_of(engine, address, workers)
    asked = Asked(recipe, settings, tuple(files), judges, run, reviews=reviews, quiet=quiet, cluster=cluster)
    if human:
        from reflectune.cli.by_hand import ByHand
        from reflectune.cli.by_hand import carry_out as carry_out_by_hand

        if judge or reviews:
            named = "--judge" if judge else "--reviews"
            raise SettingsError(f"--human and {named} do not go together.", mend="Compare them with --compare RUN.")
        hand = ByHand(asked, annotator, seed or 0, tuple(compare or ()), port, open_)
        carry_out_by_hand(hand, dry_run=dry_run, as_json=json)
        return
    if annotator or compare:
        raise SettingsError("--annotator and --compare are for judging by hand.", mend="Add --human.")
    carry_out(asked, dry_run=dry_run, as_json=json)
