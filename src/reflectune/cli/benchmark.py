"""`reflectune benchmark`: what a model can do, on the benchmarks that everybody uses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reflectune.cli import flags


def command(
    model: Annotated[
        str, typer.Argument(help="The model: a transformers folder, hf:ID, local, local:FILE.gguf, MODEL or MODEL@URL.")
    ],
    tasks: Annotated[
        str,
        typer.Option(
            help="Benchmarks, with commas between them: gsm8k, math, ifeval, humaneval, mmlu, gpqa, arc_challenge; "
            "with --form logprob: arc_challenge, hellaswag, mmlu, truthfulqa."
        ),
    ],
    form: Annotated[
        Literal["generative", "logprob"],
        typer.Option(help="Whether the model writes its answers, or says how likely the given ones are."),
    ] = "generative",
    arms: Annotated[
        str,
        typer.Option(
            help="How it is asked, with commas: plain, prompt-only (told to reflect), reflective (taught to)."
        ),
    ] = "plain",
    tuned: Annotated[
        str | None, typer.Option(help="A second model, which was taught to reflect: adds the arm reflective.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A folder with the benchmarks' files; by default they come from the hub.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run's folder; by default runs/, the model's name and the tasks.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Ask only the first N questions of each task; with --form logprob N of each subject of mmlu.", min=1
        ),
    ] = None,
    shots: Annotated[
        int | None, typer.Option(help="Worked examples before each question; by default as published.", min=0, max=64)
    ] = None,
    without_output: Annotated[
        Literal["empty", "whole"], typer.Option(help="What is scored of a reply that lacks its <output>.")
    ] = "empty",
    run_code: Annotated[
        bool, typer.Option("--run-code", help="Allow humaneval to run code that the model wrote, in a sandbox.")
    ] = False,
    temperature: Annotated[float, typer.Option(help="Sampling temperature; greedy by default.", min=0, max=2)] = 0.0,
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling.", min=0.01, max=1)] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="The most tokens of a reply; by default the model's own.", min=1)
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="With --form logprob and an endpoint: the tokenizer of its model.")
    ] = None,
    lang: Annotated[
        Literal["en", "zh"], typer.Option(help="Language of the instructions around the questions.")
    ] = "en",
    prompts: Annotated[Path | None, typer.Option(help="A folder of prompt files that replace ours.")] = None,
    base_url: flags.BaseUrl = None,
    key_env: flags.KeyEnv = "OPENAI_API_KEY",
    max_concurrency: flags.MaxConcurrency = 32,
    rpm: flags.Rpm = None,
    tpm: flags.Tpm = None,
    budget: flags.Budget = None,
    prices: flags.Prices = None,
    timeout: flags.Timeout = 600.0,
    max_failed: Annotated[
        float, typer.Option(help="Exit with 3 if a larger share of questions has no reply.", min=0, max=1)
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of what is drawn.", min=0)] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked; ask and write nothing.")] = False,
    json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Put a model to benchmarks, as it comes, told to reflect, and beside one that was taught to.

    Figures go to evaluation.json in the run's folder, every reply with its marks to items.jsonl, and lm-eval's task
    files to tasks/. The same command resumes. A question without a reply is in no figure, and is counted beside it.

    [bold]Examples[/bold]

    reflectune benchmark gpt-4o-mini --tasks gsm8k,ifeval --limit 100        the first hundred questions of each

    reflectune benchmark local --tasks gsm8k --data data --arms plain,prompt-only      offline, asked in two ways

    reflectune benchmark hf:ORG/BASE --tuned model --tasks gsm8k,math --arms plain,prompt-only     what tuning did

    reflectune benchmark model --form logprob --tasks arc_challenge,hellaswag,mmlu,truthfulqa     by likelihoods

    reflectune benchmark model --tasks humaneval --run-code                  runs what it writes, in a sandbox
    """
    from reflectune.cli.benchmarking import Asked, carry_out, name_of_run
    from reflectune.recipe import BenchmarkSettings, Recipe

    settings = BenchmarkSettings.made_of(
        {
            "tasks": _listed(tasks),
            "form": form,
            "arms": _listed(arms),
            "tuned": tuned,
            "data": data,
            "limit": limit,
            "shots": shots,
            "without_output": without_output,
            "run_code": run_code,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "seed": seed,
            "lang": lang,
            "prompts": prompts,
            "tokenizer": tokenizer,
        },
        source="The command",
    )
    recipe = Recipe.made_of(
        {
            "data": str(data or "benchmarks"),
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
        },
        source="The command",
    )
    folder = run or Path("runs") / name_of_run(model, settings)
    carry_out(Asked(recipe, settings, folder, quiet=quiet), dry_run=dry_run, as_json=json)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
