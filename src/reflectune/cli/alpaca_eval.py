"""`reflectune alpaca-eval`: how often a judge prefers a model's answers to a reference's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reflectune.cli import flags


def command(
    outputs: Annotated[
        str | None,
        typer.Argument(help="The model's answers, as AlpacaEval's model_outputs.json or as generate writes them."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The reference's answers to the same instructions, matched by their text.")
    ] = None,
    annotations: Annotated[
        list[Path] | None,
        typer.Option(help="Take the verdicts from this annotations.json, and ask nobody; once for each model."),
    ] = None,
    judge: Annotated[
        str, typer.Option(help="Who judges: local, local:FILE.gguf, a folder or hf:ID, MODEL or MODEL@URL.")
    ] = "local",
    run: Annotated[
        Path | None, typer.Option(help="The run's folder; by default runs/, the model's name and -alpaca-eval.")
    ] = None,
    form: Annotated[
        Literal["weighted", "plain"],
        typer.Option(help="A preference by the probabilities of the judge's two labels, or by the one it chooses."),
    ] = "weighted",
    both_orders: Annotated[
        bool, typer.Option("--both-orders", help="Judge each pair in both orders, and take the mean.")
    ] = False,
    difficulty: Annotated[
        Path | None, typer.Option(help="AlpacaEval's instruction_difficulty.csv, for its own length control.")
    ] = None,
    gamed: Annotated[Path | None, typer.Option(help="AlpacaEval's df_gamed.csv, for its own length control.")] = None,
    name: Annotated[
        str | None, typer.Option(help="What the model is called; by default what its column generator says.")
    ] = None,
    reference_name: Annotated[str | None, typer.Option(help="What the reference is called.")] = None,
    limit: Annotated[int | None, typer.Option(help="Take only the first N instructions.", min=1)] = None,
    lang: Annotated[
        Literal["en", "zh"] | None, typer.Option(help="Language of the prompts; by default each instruction's own.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="A folder of prompt files that replace ours.")] = None,
    top_logprobs: Annotated[
        int, typer.Option(help="How many of the likeliest first tokens the labels are looked for in.", min=2, max=20)
    ] = 20,
    max_tokens: Annotated[
        int | None,
        typer.Option(help="The most tokens of a verdict; by default 8, or for plain the judge's own.", min=1),
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
        float, typer.Option(help="Exit with 3 if a larger share of instructions has no verdict.", min=0, max=1)
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of the order in which answers are shown.", min=0)] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what there is and what would be asked; ask and write nothing.")
    ] = False,
    json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Compare a model's answers with a reference's: the win rate, and beside it the length-controlled one.

    The length-controlled win rate is official with AlpacaEval's own judge, reference and files, else approximate, and
    it is said why. annotations.json and leaderboard.csv in the run's folder are in AlpacaEval's formats; instructions
    without a verdict are in annotation_failures.jsonl. The same command resumes.

    [bold]Examples[/bold]

    reflectune alpaca-eval --annotations alpaca-7b/annotations.json    recompute what was judged before

    reflectune alpaca-eval model_outputs.json --reference reference_outputs.json --judge gpt-4o    judge anew

    reflectune alpaca-eval mine.jsonl --reference theirs.json --judge local --both-orders    by the embedded model
    """
    from reflectune.cli.annotating import Asked, carry_out
    from reflectune.recipe import AlpacaEvalSettings, Recipe

    settings = AlpacaEvalSettings.made_of(
        {
            "form": form,
            "both_orders": both_orders,
            "lang": lang,
            "prompts": prompts,
            "top_logprobs": top_logprobs,
            "max_tokens": max_tokens,
            "difficulty": difficulty,
            "gamed": gamed,
            "seed": seed,
        },
        source="The command",
    )
    recipe = Recipe.made_of(
        {
            "data": outputs or "",
            "limit": limit,
            "oracle": judge,
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
    asked = Asked(
        recipe,
        settings,
        reference=reference,
        annotations=tuple(annotations or ()),
        run=run,
        name=name,
        reference_name=reference_name,
        quiet=quiet,
    )
    carry_out(asked, dry_run=dry_run, as_json=json)
