"""`reflectune generate`: have a model answer the prompts of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reflectune.cli import flags


def command(
    model: Annotated[
        str,
        typer.Argument(help="local, local:FILE.gguf, a transformers folder or hf:ID, MODEL or MODEL@URL."),
    ],
    data: Annotated[
        str, typer.Argument(help="Prompts: a .json, .jsonl, .csv, .tsv or .parquet file (also .gz), or a hub id.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Write the answers to this file too (.jsonl .json .csv .parquet).")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run's folder; by default runs/, the data's name and the model's.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the model is called in the answers; by default its name or its folder's.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Take only the first N rows.", min=1)] = None,
    system: Annotated[str, typer.Option(help="A system prompt for every row.")] = "",
    reflect: Annotated[
        bool, typer.Option("--reflect", help="Ask for <thinking> and <output>; the answer is what stands in <output>.")
    ] = False,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature.", min=0, max=2)] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling.", min=0.01, max=1)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The most tokens of an answer.", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of what is drawn.", min=0)] = None,
    base_url: flags.BaseUrl = None,
    key_env: flags.KeyEnv = "OPENAI_API_KEY",
    max_concurrency: flags.MaxConcurrency = 32,
    rpm: flags.Rpm = None,
    tpm: flags.Tpm = None,
    budget: flags.Budget = None,
    prices: flags.Prices = None,
    timeout: flags.Timeout = 600.0,
    max_failed: Annotated[
        float, typer.Option(help="Exit with 3 if a larger share of rows failed.", min=0, max=1)
    ] = 0.05,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked; ask and write nothing.")] = False,
    engine: flags.EngineName = "here",
    address: flags.RayAddress = None,
    workers: flags.Workers = None,
    json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Have a model answer the prompts of a data set, for `judge` and `alpaca-eval`.

    Answers go to answers.jsonl in the run's folder: the rows as they were, with instruction, output and generator; what
    has no answer goes to answer_failures.jsonl with the reason. The same command resumes.

    [bold]Examples[/bold]

    reflectune generate local questions.jsonl --limit 40              with the embedded model

    reflectune generate runs/data/student questions.jsonl             with a student that was trained

    reflectune generate qwen2.5-7b@http://127.0.0.1:8000/v1 alpaca_eval.json --output model_outputs.json

    reflectune generate runs/data/student questions.jsonl --reflect   only what stands in <output> is the answer
    """
    from reflectune.cli.clustering import cluster_of
    from reflectune.cli.generating import Asked, carry_out
    from reflectune.recipe import GenerateSettings, Recipe

    settings = GenerateSettings.made_of(
        {
            "system": system,
            "reflect": reflect,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "seed": seed,
        },
        source="The command",
    )
    recipe = Recipe.made_of(
        {
            "data": data,
            "limit": limit,
            "oracle": model,
            "base_url": base_url,
            "key_env": key_env,
            "max_concurrency": max_concurrency,
            "rpm": rpm,
            "tpm": tpm,
            "budget": budget,
            "prices": prices,
            "timeout": timeout,
            "max_failed": max_failed,
            "output": output,
        },
        source="The command",
    )
    cluster = cluster_of(engine, address, workers)
    carry_out(Asked(recipe, settings, run, name, quiet=quiet, cluster=cluster), dry_run=dry_run, as_json=json)
