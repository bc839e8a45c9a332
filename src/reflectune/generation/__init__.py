"""Prompts in, replies out, for any model: a transformers folder, a GGUF file, an endpoint.

naming.py          from the name of a model to the model
prompts.py         the prompts of a test set, or of any other data set
hugging_face.py    a transformers model in this process, asked for many replies at once
writing.py         what goes on while it writes
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from reflectune.generation.naming import open_model
from reflectune.oracles.engine import Engine, Rejected, Unacceptable
from reflectune.records import Failure, Message, Record, Reply, Request, Sampling

__all__ = ["STAGE", "Generated", "Prompt", "generate", "open_model"]

STAGE = "generate"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is to reply to.

    Attributes:
        id: Which one, once among the prompts.
        messages: The conversation, oldest turn first; the last is the user's.
        sample: Which draw of the same prompt this is.
    """

    id: str
    messages: tuple[Message, ...]
    sample: int = 0


class Generated(Record):
    """A model's reply to a prompt.

    Attributes:
        id: Which prompt.
        text: The reply.
        reasoning: What a reasoning model thought before it, where it tells.
        finish_reason: `stop`, `length`, or whatever else the model says.
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens of the reply, reasoning included.
    """

    id: str
    text: str
    reasoning: str | None = None
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0


async def generate(
    prompts: Iterable[Prompt], engine: Engine, sampling: Sampling | None = None
) -> AsyncGenerator[Generated | Failure]:
    """Have a model reply to each prompt, and yield the replies as they land.

    Every prompt comes out once, with its reply or with the reason why there is none. What the engine's store already
    has is not asked again.

    Args:
        prompts: Taken one by one, so that there may be more than fit in memory.
        engine: Asks the model.
        sampling: How tokens are drawn; by default as the model likes it.

    Raises:
        OracleError: The model cannot be used at all.
    """
    drawn = sampling or engine.oracle.sampling

    async def reply_to(prompt: Prompt) -> Generated | Failure:
        answer = await engine.ask(Request(prompt.messages, drawn, sample=prompt.sample), _said)
        if isinstance(answer, Rejected):
            raw = answer.reply.text if answer.reply else None
            return Failure(id=prompt.id, stage=STAGE, reason=answer.reason, detail=answer.detail, raw=raw)
        reply = answer.value
        return Generated(
            id=prompt.id,
            text=reply.text,
            reasoning=reply.reasoning,
            finish_reason=reply.finish_reason,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
        )

    async with aclosing(engine.work(prompts, reply_to)) as replies:
        async for replied in replies:
            yield replied


def _said(reply: Reply) -> Reply:
    """The reply, whatever it says: to be judged is the model, so a poor reply is a reply.

    Raises:
        Unacceptable: The provider kept the reply back.
    """
    if reply.finish_reason == "content_filter" and not reply.text:
        raise Unacceptable("content-filter", "The provider kept the reply back.")
    return reply
