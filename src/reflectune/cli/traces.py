"""`reflectune traces`: data that teaches a model to reflect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reflectune.cli import flags


def command(
    data: Annotated[
        str, typer.Argument(help="Questions: a .json, .jsonl, .csv, .tsv or .parquet file (also .gz), or a hub id.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Write the traces to this file too (.jsonl .json .csv .parquet).")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run's folder; by default runs/, the data's name and -traces.")
    ] = None,
    form: Annotated[
        Literal["auto", "gsm8k", "math", "choice", "open"],
        typer.Option("--from", help="How the rows hold question and answer; auto tells it from their columns."),
    ] = "auto",
    mistakes: Annotated[
        Literal["planted", "own", "oracle"],
        typer.Option(help="By rule into worked solutions, a model's own wrong samples, or in an oracle's drafts."),
    ] = "planted",
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Plant only this kind: arithmetic, dropped-condition, wrong-unit, misread-question."),
    ] = None,
    oracle: Annotated[
        str, typer.Option(help="The model that is asked: local, local:FILE.gguf, MODEL or MODEL@URL.")
    ] = "local",
    samples: Annotated[int, typer.Option(help="With own: samples of each question.", min=1, max=64)] = 4,
    clean: Annotated[
        float,
        typer.Option(help="The share of traces without a mistake; with own and oracle, at the most.", min=0, max=1),
    ] = 0.3,
    against: Annotated[
        list[str] | None,
        typer.Option(help="An evaluation set that must not be in the data: a file, a folder of files, or OWNER/NAME."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Take only the first N rows.", min=1)] = None,
    system: Annotated[bool, typer.Option(help="Begin with a system prompt that asks for the tags.")] = True,
    lang: Annotated[
        Literal["en", "zh"] | None, typer.Option(help="Language of the prompts; by default each question's own.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="A folder of prompt files that replace ours.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature; 0.7 for own samples.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Nucleus sampling; 0.95 for own samples.", min=0.01, max=1)
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="The most tokens of a reply; by default the model's own.", min=16)
    ] = None,
    retries: Annotated[
        int, typer.Option(help="How often to ask again after a reply that is not accepted.", min=0, max=2)
    ] = 2,
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
    seed: Annotated[int, typer.Option(help="Seed of what is drawn.", min=0)] = 0,
    show: Annotated[int, typer.Option(help="How many traces to show.", min=0)] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what there is and what would be asked; ask and write nothing.")
    ] = False,
    json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Make traces that think, notice a mistake, correct it, and answer.

    Traces go to traces.jsonl in the run's folder, what could not be used to trace_failures.jsonl with the reason.
    Planted mistakes need no model. Where one is asked, the same command resumes.

    [bold]Examples[/bold]

    reflectune traces gsm8k.jsonl --show 3                        mistakes by rule, in worked solutions

    reflectune traces openai/gsm8k --against gsm8k_test.jsonl     and nothing that a test set holds

    reflectune traces math.jsonl --mistakes own --oracle qwen2.5-7b@http://127.0.0.1:8000/v1    a model's own mistakes

    reflectune traces alpaca.json --mistakes oracle --oracle gpt-4o --limit 200    drafts that an oracle corrects
    """
    from reflectune.cli.recycle import name_of
    from reflectune.cli.tracing import Asked, carry_out
    from reflectune.recipe import Recipe, TraceSettings

    settings = TraceSettings.made_of(
        {
            "form": form,
            "mistakes": mistakes,
            "samples": samples,
            "clean": clean,
            "system": system,
            "against": tuple(against or ()),
            "lang": lang,
            "prompts": prompts,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "retries": retries,
            "seed": seed,
        }
        | ({"kinds": tuple(kind)} if kind else {}),
        source="The command",
    )
    recipe = Recipe.made_of(
        {
            "data": data,
            "limit": limit,
            "oracle": oracle,
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
    folder = run or Path("runs") / f"{name_of(data)}-traces"
    carry_out(Asked(recipe, settings, folder, show=show, quiet=quiet), dry_run=dry_run, as_json=json)
