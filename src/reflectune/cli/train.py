"""`reflectune train`: fine-tune the student on recycled data, or on traces that reflect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def command(
    data: Annotated[str, typer.Argument(help="A run's folder (its selected rows, else its recycled ones), or data.")],
    student: Annotated[
        str | None, typer.Option(help="The model that learns: a folder, a hub id, FILE.gguf or local.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="reflection-tuning-7b, reflection-tuning-13b, selective-7b, reflection-70b, smoke, or a YAML file."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The folder to write; by default student/ in the run's folder.")
    ] = None,
    method: Annotated[
        Literal["full", "lora", "qlora"] | None,
        typer.Option(help="All weights, adapters, or adapters over four-bit weights (GPU)."),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="chat, llama-3.1, vicuna, alpaca, wizardlm or a file; by default the student's chat template."
        ),
    ] = None,
    reflection: Annotated[
        bool | None, typer.Option("--reflection/--no-reflection", help="The data are traces that reflect.")
    ] = None,
    loss: Annotated[
        Literal["whole", "after-reflection", "mistake-masked"] | None,
        typer.Option(help="Which tokens of an answer carry loss; for traces by default all but their mistakes."),
    ] = None,
    tags: Annotated[
        Literal["text", "tokens"] | None, typer.Option(help="Whether the tags of traces become tokens of their own.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="The most tokens of a row.")] = None,
    overlong: Annotated[
        Literal["cut", "drop"] | None, typer.Option(help="What is done with a longer row; traces are dropped.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="How often each row is seen.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="The most optimiser steps.")] = None,
    batch: Annotated[int | None, typer.Option(help="Rows of a step, over all devices.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest learning rate.")] = None,
    batch_tokens: Annotated[int | None, typer.Option(help="The most tokens that a device reads at once.")] = None,
    precision: Annotated[
        Literal["float32", "bfloat16"] | None, typer.Option(help="What products are computed in.")
    ] = None,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--gradient-checkpointing/--no-gradient-checkpointing",
            help="Compute activations again to save memory; by default where it is needed.",
        ),
    ] = None,
    held_out: Annotated[
        str | None, typer.Option(help="Rows to measure the loss on and not to learn from, as 64 or 2%.")
    ] = None,
    held_out_data: Annotated[Path | None, typer.Option(help="A file of such rows, instead.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the order, the held-out rows and new weights.")] = None,
    report_to: Annotated[
        list[str] | None, typer.Option(help="tensorboard, wandb, trackio, mlflow or swanlab; may be repeated.")
    ] = None,
    deepspeed: Annotated[Path | None, typer.Option(help="A DeepSpeed configuration.")] = None,
    merge: Annotated[bool | None, typer.Option("--merge/--no-merge", help="Write merged adapters too.")] = None,
    gguf: Annotated[
        Literal["bfloat16", "float16", "q8_0"] | None, typer.Option(help="Write a GGUF file too, of such numbers.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any other setting, as warmup=0.1.")] = None,
    limit: Annotated[int | None, typer.Option(help="Take only the first N rows.", min=1)] = None,
    map_: Annotated[str | None, typer.Option("--map", help="Columns, as instruction=question,response=answer.")] = None,
    preview: Annotated[
        int | None, typer.Option(help="Show N rows token by token, which carry loss, and stop.", min=1)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be read, and what memory it takes.")
    ] = False,
    devices: Annotated[int | None, typer.Option(help="With --dry-run: plan for so many GPUs.", min=1)] = None,
    device_memory: Annotated[float | None, typer.Option(help="With --dry-run: GiB of each; else 80.", min=1)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew where a run has been.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Begin anew where a student of other settings or data is; else go on.")
    ] = False,
    json: Annotated[bool, typer.Option(help="End by printing one JSON object on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors.")] = False,
) -> None:
    """Fine-tune a student, with loss on the assistant's tokens only, and write a folder that transformers loads.

    A step is so many rows over all devices, whether or not rows are packed. The template is saved with the student.
    The same command goes on from the last checkpoint, and runs on many devices under torchrun or accelerate launch.

    [bold]Examples[/bold]

    reflectune train runs/data --student meta-llama/Llama-2-7b-hf --recipe selective-7b

    reflectune train data.json --recipe smoke                          on a CPU, with the embedded model

    reflectune train data.json --student Qwen/Qwen3-4B --method lora --merge

    reflectune train traces.jsonl --recipe reflection-70b --dry-run --devices 32 --device-memory 80

    reflectune train data.json --preview 3 | less -R

    torchrun --nproc-per-node 8 -m reflectune train runs/data --recipe reflection-tuning-7b
    """
    from reflectune.cli.train_asked import Asked
    from reflectune.cli.training import carry_out

    given = {
        "student": student,
        "method": method,
        "template": template,
        "reflection": reflection,
        "loss": loss,
        "tags": tags,
        "max_length": max_length,
        "overlong": overlong,
        "epochs": epochs,
        "max_steps": max_steps,
        "batch": batch,
        "learning_rate": learning_rate,
        "batch_tokens": batch_tokens,
        "precision": precision,
        "gradient_checkpointing": gradient_checkpointing,
        "held_out": held_out,
        "held_out_data": held_out_data,
        "seed": seed,
        "report_to": tuple(report_to) if report_to else None,
        "deepspeed": deepspeed,
        "merge": merge,
        "gguf": gguf,
    }
    asked = Asked(
        data=data,
        recipe=recipe,
        given={name: value for name, value in given.items() if value is not None},
        assignments=tuple(set_ or ()),
        output=output,
        limit=limit,
        map=map_,
        elsewhere=(devices or 1, device_memory or 80.0) if devices or device_memory else None,
        fresh=fresh,
        replace=replace,
        quiet=quiet,
    )
    carry_out(asked, preview=preview, dry_run=dry_run, as_json=json)
