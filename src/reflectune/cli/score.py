"""`reflectune score`: how hard the student finds every version of every row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reflectune.cli import flags


def command(
    data: Annotated[str, typer.Argument(help="A run's folder, a data file, or a data set of the hub.")],
    student: Annotated[
        str | None,
        typer.Option(help="The model that will learn: a folder, a hub id, FILE.gguf, local, or MODEL@URL (vLLM)."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run's folder, for a data file; by default runs/ and the data's name.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(help="chat, alpaca, vicuna, wizardlm or a file; by default the student's own chat template."),
    ] = None,
    convention: Annotated[
        Literal["exact", "published"] | None,
        typer.Option(help="exact finds a target by its characters; published reproduces published scores."),
    ] = None,
    halves: Annotated[
        Literal["both", "response"] | None,
        typer.Option(help="Both halves (IFD and r-IFD), or the response's IFD only, in half the time."),
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="The most tokens of a text; longer ones are cut.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="The folder or hub id of a served student's tokenizer.")] = None,
    key_env: Annotated[
        str | None, typer.Option(help="The variable with a served student's key; by default REFLECTUNE_STUDENT_KEY.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="A folder of prompt files that replace ours, as en/rifd_request.txt.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, ...; by default a GPU if there is one.")
    ] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="What it computes with; by default float32 on a CPU, bfloat16 on a GPU."),
    ] = None,
    batch_tokens: Annotated[int | None, typer.Option(help="About how many tokens are computed at once.")] = None,
    limit: Annotated[int | None, typer.Option(help="Of a data file, take only the first N rows.", min=1)] = None,
    shard: Annotated[str | None, typer.Option(help="Of a data file, take one share of the rows, as 2/8.")] = None,
    map_: Annotated[str | None, typer.Option("--map", help="Columns, as instruction=question,response=answer.")] = None,
    max_failed: Annotated[
        float | None, typer.Option(help="Exit with 3 if a larger share of rows has no score.", min=0, max=1)
    ] = None,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="What no flag says is as by default, not as the run was scored before.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Score every row again.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what there is to score, without loading the student.")
    ] = False,
    engine: flags.EngineName = "here",
    address: flags.RayAddress = None,
    workers: flags.Workers = None,
    json: Annotated[bool, typer.Option(help="End by printing one JSON object on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors.")] = False,
) -> None:
    """Have the student score every version of every row: losses, IFD and r-IFD.

    The scores go to scores.jsonl in the run's folder, what could not be scored to unscored.jsonl with the reason. The
    same command resumes. A run that was scored before keeps its settings where no flag says otherwise.

    [bold]Examples[/bold]

    reflectune score runs/data                                    with the embedded model

    reflectune score runs/data --student meta-llama/Llama-2-7b-hf --template vicuna --convention published

    reflectune score data.json --student gpt2 --halves response   IFD of any data set, by a small scorer

    reflectune score runs/data --student qwen@http://127.0.0.1:8000/v1 --tokenizer Qwen/Qwen2.5-7B    with vLLM

    reflectune score data.json --shard 2/8                        one of eight machines; join them with runs merge
    """
    from reflectune.cli.clustering import cluster_of
    from reflectune.cli.scoring import Asked, carry_out

    given = {
        "student": student,
        "template": template,
        "convention": convention,
        "halves": halves,
        "max_length": max_length,
        "tokenizer": tokenizer,
        "key_env": key_env,
        "prompts": prompts,
        "device": device,
        "dtype": dtype,
        "batch_tokens": batch_tokens,
    }
    intake = {"limit": limit, "shard": shard, "map": map_, "max_failed": max_failed}
    asked = Asked(
        data=data,
        run=run,
        settings={name: value for name, value in given.items() if value is not None},
        intake={name: value for name, value in intake.items() if value is not None},
        defaults=defaults,
        fresh=fresh,
        quiet=quiet,
        cluster=cluster_of(engine, address, workers),
    )
    carry_out(asked, dry_run=dry_run, as_json=json)
