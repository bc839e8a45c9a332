"""`reflectune serve`: a server that speaks as OpenAI's does, and whose model reflects."""

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
    name: Annotated[str | None, typer.Option(help="What clients call the model; by default its own name.")] = None,
    reflect: Annotated[
        Literal["prompt", "trained", "off"] | None,
        typer.Option(
            help="prompt: tell the model to reason in tags; trained: it learnt to; off: a plain model. "
            "By default prompt, and off with --rounds."
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Criticise each answer and have it revised so often.", min=0, max=8)] = 0,
    best_of: Annotated[int, typer.Option(help="Draw so many answers, and take the best by a vote.", min=1, max=32)] = 1,
    without_output: Annotated[
        Literal["empty", "whole"],
        typer.Option(help="What the answer is of a reply that lacks its <output>: nothing, or all of it."),
    ] = "empty",
    system: Annotated[str, typer.Option(help="A system prompt for every conversation, after ours.")] = "",
    lang: Annotated[
        Literal["en", "zh"] | None, typer.Option(help="Language of our prompts; by default that of the question.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="A folder of your own prompt files.")] = None,
    temperature: Annotated[
        float, typer.Option(help="Sampling temperature where a request is silent.", min=0, max=2)
    ] = 0.7,
    top_p: Annotated[float, typer.Option(help="Nucleus sampling where a request is silent.", min=0.01, max=1)] = 0.95,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            help="The most tokens of a reply, reasoning included, where a request is silent; by default 2,048, "
            "and 512 for local.",
            min=1,
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of what is drawn where a request is silent.", min=0)] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 for any that is free.", min=0, max=65535)] = 8000,
    api_key_env: Annotated[
        str | None,
        typer.Option(help="The variable that holds the key which clients have to send; needed off this machine."),
    ] = None,
    max_concurrency: Annotated[
        int | None,
        typer.Option(help="The most requests that are worked on at once; by default as the model likes, or 64.", min=1),
    ] = None,
    queue: Annotated[int, typer.Option(help="The most requests that wait; more get 429.", min=0)] = 256,
    queue_timeout: Annotated[
        float, typer.Option(help="Seconds that a request may wait for its turn; then it gets 503.", min=0.01)
    ] = 30.0,
    timeout: Annotated[
        float, typer.Option(help="Seconds that an answer may take; then it gets 504.", min=0.01)
    ] = 600.0,
    read_timeout: Annotated[
        float, typer.Option(help="Seconds in which a request has to arrive; then it gets 408.", min=0.01)
    ] = 30.0,
    max_body: Annotated[
        float, typer.Option(help="The largest request, in MB; a larger one gets 413.", min=0.001)
    ] = 8.0,
    grace: Annotated[
        float, typer.Option(help="Seconds that answers in flight may take once the server is told to end.", min=0)
    ] = 30.0,
    base_url: flags.BaseUrl = None,
    key_env: flags.KeyEnv = "OPENAI_API_KEY",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every request.")] = False,
    quiet: flags.Quiet = False,
) -> None:
    """Serve a model that reflects, to any client that speaks to OpenAI.

    It stands in front of an endpoint, or runs the model itself. The answer alone is in `content`; the thinking that led
    to it is in `reasoning_content`. Its address goes to standard output once it listens. Ctrl-C or SIGTERM lets the
    answers in flight come to their end; a second one does not.

    [bold]Examples[/bold]

    reflectune serve local                                         the embedded model, on port 8000

    reflectune serve qwen2.5-7b@http://127.0.0.1:9000/v1           in front of an endpoint

    reflectune serve runs/data/student --reflect trained           a student that learnt to reflect

    reflectune serve gpt-4o-mini --rounds 1 --name careful         each answer criticised and revised once

    reflectune serve local --host 0.0.0.0 --api-key-env SERVE_KEY  for other machines, with a key
    """
    from reflectune.cli.serving import Served, carry_out

    settings = {
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
    }
    limits = {
        "queue": queue,
        "queue_timeout": queue_timeout,
        "timeout": timeout,
        "read_timeout": read_timeout,
        "max_body": max_body,
        "grace": grace,
        "without_output": without_output,
    }
    carry_out(
        Served(
            model=model,
            settings=settings,
            limits=limits,
            name=name,
            host=host,
            port=port,
            api_key_env=api_key_env,
            max_concurrency=max_concurrency,
            base_url=base_url,
            key_env=key_env,
            verbose=verbose,
            quiet=quiet,
        )
    )
