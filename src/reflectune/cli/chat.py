"""`reflectune chat`: talk to a model that reflects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reflectune.cli import flags


def command(
    model: Annotated[
        str,
        typer.Argument(help="local, local:FILE.gguf, a transformers folder or hf:ID, MODEL or MODEL@URL."),
    ],
    question: Annotated[
        str | None, typer.Argument(help="Answer this alone and exit; - reads it from standard input.")
    ] = None,
    reflect: Annotated[
        Literal["prompt", "trained", "off"] | None,
        typer.Option(
            help="prompt: tell the model to reason in tags; trained: it learnt to; off: a plain model. "
            "By default prompt, and off with --rounds."
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Criticise each answer and have it revised so often.", min=0, max=8)] = 0,
    best_of: Annotated[int, typer.Option(help="Draw so many answers, and take the best by a vote.", min=1, max=32)] = 1,
    system: Annotated[str, typer.Option(help="A system prompt of your own; it goes after ours.")] = "",
    lang: Annotated[
        Literal["en", "zh"] | None, typer.Option(help="Language of our prompts; by default that of the question.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="A folder of your own prompt files.")] = None,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.", min=0, max=2)] = 0.7,
    top_p: Annotated[float, typer.Option(help="Nucleus sampling.", min=0.01, max=1)] = 0.95,
    max_tokens: Annotated[
        int | None, typer.Option(help="The most tokens of a reply, the reasoning included.", min=1)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of what is drawn.", min=0)] = None,
    show: Annotated[
        bool | None,
        typer.Option("--show/--hide", help="Show the thinking, or fold it; by default shown in a conversation alone."),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with a conversation that /save wrote as .json.")] = None,
    base_url: flags.BaseUrl = None,
    key_env: flags.KeyEnv = "OPENAI_API_KEY",
    timeout: Annotated[float, typer.Option(help="Seconds that a reply, or a pause in it, may take.", min=0.1)] = 600.0,
    json: flags.AsJson = False,
) -> None:
    """Talk to a model that reflects: thinking dimmed, reflections highlighted, the answer plain.

    The model reflects by itself (it is told to, or was trained to), or is made to: with --rounds its answer is
    criticised by the criteria that responses are recycled with, and revised. Old thinking is never sent again. Type
    /help for what else there is; Ctrl-C stops an answer.

    With a question, or one that is piped in, it answers once: the answer goes to standard output.

    [bold]Examples[/bold]

    reflectune chat local                                             with the embedded model

    reflectune chat runs/traces/student --reflect trained             with one that was trained on traces

    reflectune chat qwen2.5-7b@http://127.0.0.1:8000/v1 --rounds 2    criticised and revised twice

    reflectune chat gpt-4o-mini "What is 17 * 23?" --best-of 5        one answer, by a vote

    echo "Why do cats purr?" | reflectune chat local --json
    """
    from reflectune.cli.chatting import Asked, carry_out
    from reflectune.oracles.naming import Address
    from reflectune.recipe import ChatSettings

    settings = ChatSettings.made_of(
        {
            "reflect": reflect,
            "rounds": rounds,
            "best_of": best_of,
            "system": system,
            "lang": lang,
            "prompts": prompts,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "seed": seed,
        },
        source="The command",
    )
    address = Address(base_url=base_url, key_env=key_env, timeout=timeout)
    carry_out(Asked(model, settings, address, resume=resume, show=show), question, as_json=json)
