"""A transformers model in this process as something to ask: it writes many replies at once.

A batch ends with its longest reply. Where many replies are wanted, a server that lets new ones in between (vLLM,
SGLang) is several times as fast; this needs none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Self

from reflectune.errors import OracleError, RequestRefused, SettingsError
from reflectune.generation.writing import Aloud, Enough
from reflectune.oracles import Piece
from reflectune.oracles.allowance import Allowance
from reflectune.oracles.capabilities import Capabilities
from reflectune.oracles.replies import json_text, summed
from reflectune.oracles.stopping import stopped
from reflectune.records import Reply, Request, Sampling
from reflectune.student.runtime import torch_and_transformers
from reflectune.student.weights import find_student

__all__ = ["HuggingFaceModel"]

_AT_ONCE = {"cpu": 8, "cuda": 256}
_TOGETHER_SECONDS = 0.02
"""How long the first request of a batch waits for others."""
_BY_PROMPT = Capabilities(schema_mode="prompt")


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: Request
    tokens: list[int]
    reply: asyncio.Future[Reply]
    say: Callable[[str], None] | None = None


class HuggingFaceModel:
    """A causal LM with a chat template, asked for replies.

    Args:
        name: What it is called; part of every request's key.
        model: The loaded model.
        tokenizer: Its tokenizer.
        at_once: How many replies are written together.

    Attributes:
        concurrency: How many replies are written together.
        sampling: Greedy, at most 2,048 new tokens.
        dialogue: False: a schema is asked for in the prompt, and checked.
    """

    text_limit: int | None = None
    dialogue = False
    allowance: Allowance | None = None

    def __init__(self, name: str, model: Any, tokenizer: Any, at_once: int) -> None:
        self.name = name
        self.concurrency: int | None = at_once
        self.sampling = Sampling()
        self._torch, _ = torch_and_transformers()
        self._model = model
        self._tokenizer = tokenizer
        self._longest: int | None = getattr(model.config, "max_position_embeddings", None)
        self._waiting: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, name: str, device: str | None = None, dtype: str | None = None) -> Self:
        """Load a model.

        Args:
            name: A folder, which may hold an adapter, or `hf:ID`.
            device: Where it runs; by default the first GPU, where there is one.
            dtype: What it computes with; by default bfloat16 on a GPU, float32 on the CPU.

        Raises:
            MissingExtraError: torch or transformers is not installed.
            OracleError: It cannot be loaded, or has no chat template.
        """
        torch, transformers = torch_and_transformers()
        found = find_student(name)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
        try:
            load = transformers.AutoModelForCausalLM.from_pretrained
            model = load(found.folder, dtype=getattr(torch, dtype)).to(device).eval()
            tokenizer = transformers.AutoTokenizer.from_pretrained(found.folder, padding_side="left")
        except Exception as error:  # whatever a model's own code raises
            raise OracleError(
                f"The model {found.name} cannot be loaded: {str(error).strip().partition(chr(10))[0]}",
                mend="Name a folder of a causal language model, or hf: and its id on the hub.",
            ) from error
        if not tokenizer.chat_template:
            raise SettingsError(
                f"{found.name} has no chat template, so that nobody knows how it is asked.",
                mend="Name a model that was tuned on instructions, or write its template into chat_template.jinja.",
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        mark = ":".join(part for part in ("hf", found.name, found.revision, dtype) if part)
        return cls(mark, model, tokenizer, _AT_ONCE.get(device.partition(":")[0], 8))

    async def complete(self, request: Request) -> Reply:
        """Answer one request.

        Raises:
            RequestRefused: It does not fit the model's context or its chat template.
            OracleError: The model does not fit into memory.
        """
        waiting = _Waiting(request, self._tokens(request), asyncio.get_running_loop().create_future())
        self._queue(waiting)
        return await waiting.reply

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Reply]:
        """Answer one request piece by piece; last comes the whole reply. Closing it ends the writing.

        Such a reply is written alone. One to a schema comes in one piece: it may stand in a code fence.

        Raises:
            RequestRefused, OracleError: As `complete` does.
        """
        if request.schema is not None:
            reply = await self.complete(request)
            yield Piece(text=reply.text)
            yield reply
            return
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[str | None]()

        def say(text: str) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, text)

        waiting = _Waiting(request, self._tokens(request), loop.create_future(), say)
        waiting.reply.add_done_callback(lambda _: pieces.put_nowait(None))
        self._queue(waiting)
        try:
            while (text := await pieces.get()) is not None:
                yield Piece(text=text)
            yield await waiting.reply
        finally:
            waiting.reply.cancel()

    async def aclose(self) -> None:
        """Wait for the replies in hand, then free the model's memory."""
        if self._working is not None:
            await self._working
        self._model = None

    def _queue(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())

    async def _work(self) -> None:
        """Write replies until nobody waits."""
        await asyncio.sleep(_TOGETHER_SECONDS)
        while batch := self._together():
            self._waiting = [one for one in self._waiting if one not in batch]
            try:
                replies = await asyncio.to_thread(self._write, batch)
            except Exception as error:  # noqa: BLE001 - each of those who wait is told
                told = self._told(error, len(batch))
                for one in batch:
                    if not one.reply.done():
                        one.reply.set_exception(told)
            else:
                for one, reply in zip(batch, replies, strict=True):
                    if not one.reply.done():
                        one.reply.set_result(reply)

    def _together(self) -> list[_Waiting]:
        """Who is written for together: whoever waits longest, and those drawn alike whose prompts are about as long.

        A batch is as wide as its longest prompt, and nobody's reply may be cut short by that. Who asks no more is
        forgotten.
        """
        self._waiting = [one for one in self._waiting if not one.reply.done()]
        if not self._waiting:
            return []
        first = self._waiting[0]
        if first.say is not None:
            return [first]
        alike = [one for one in self._waiting[1:] if one.say is None and _drawn_alike(one.request, first.request)]
        batch = [first]
        for one in sorted(alike, key=lambda one: abs(len(one.tokens) - len(first.tokens))):
            if len(batch) == self.concurrency:
                break
            width = max(len(other.tokens) for other in (*batch, one))
            if all(self._room(width, other) >= self._room(len(other.tokens), other) for other in (*batch, one)):
                batch.append(one)
        return batch

    def _tokens(self, request: Request) -> list[int]:
        shown = request.messages
        if request.schema is not None:
            shown = _BY_PROMPT.payload(self.name, request)["messages"]
        messages = [{"role": message.role, "content": message.content} for message in shown]
        try:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except Exception as error:  # whatever a template raises: no system prompt, two turns of one role
            raise RequestRefused(f"{self.name}'s chat template: {error}", reason="template") from error
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        if self._longest is not None and len(tokens) >= self._longest:
            raise RequestRefused(
                f"The request has {len(tokens):,} tokens, and {self.name} reads {self._longest:,}.",
                reason="context-overflow",
                mend="Shorten or leave out the row.",
            )
        return tokens

    def _write(self, batch: list[_Waiting]) -> list[Reply]:
        torch, first = self._torch, batch[0].request
        padded = self._tokenizer.pad({"input_ids": [one.tokens for one in batch]}, return_tensors="pt")
        padded = padded.to(self._model.device)
        width = padded["input_ids"].shape[1]
        enough = Enough(
            torch,
            self._tokenizer,
            width,
            [one.request.stop for one in batch],
            lambda: all(one.reply.done() for one in batch),
        )
        aloud = Aloud(self._tokenizer, batch[0].say, first.stop) if batch[0].say is not None else None
        torch.manual_seed((first.sampling.seed or 0) + first.sample)
        with torch.inference_mode():
            written = self._model.generate(
                **padded,
                **_how(first.sampling, max(self._room(width, one) for one in batch)),
                pad_token_id=self._tokenizer.pad_token_id,
                return_dict_in_generate=True,
                output_logits=first.top_logprobs > 0,
                stopping_criteria=[enough],
                **({} if aloud is None else {"streamer": aloud}),
            )
        likely = written.logits[0].float().log_softmax(-1) if first.top_logprobs else None
        ends = self._model.generation_config.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends or ())
        ends.add(self._tokenizer.eos_token_id)
        replies = []
        for place, (one, tokens) in enumerate(zip(batch, written.sequences[:, width:].tolist(), strict=True)):
            length = next((number + 1 for number, token in enumerate(tokens) if token in ends), None)
            length = min((end for end in (length, enough.lengths.get(place)) if end), default=None)
            text = self._tokenizer.decode(tokens[:length], skip_special_tokens=True)
            cut = stopped(text, one.request.stop)
            text = text if cut is None else cut
            text = text if aloud is None else aloud.text
            replies.append(
                Reply(
                    text=json_text(text) if first.schema is not None else text,
                    finish_reason="stop" if length else "length",
                    prompt_tokens=len(one.tokens),
                    completion_tokens=length or len(tokens),
                    top_logprobs=None if likely is None else self._likeliest(likely[place], first.top_logprobs),
                )
            )
        return replies

    def _room(self, width: int, one: _Waiting) -> int:
        """How long a reply may get after a prompt that is so wide."""
        most = one.request.sampling.max_tokens
        return most if self._longest is None else min(most, self._longest - width)

    def _likeliest(self, likely: Any, count: int) -> dict[str, float]:
        values, tokens = likely.topk(count)
        return summed(zip((self._tokenizer.decode([token]) for token in tokens.tolist()), values.tolist(), strict=True))

    def _told(self, error: Exception, count: int) -> Exception:
        if isinstance(error, self._torch.OutOfMemoryError):
            return OracleError(
                f"{self.name} cannot write {count} replies at once in this memory.",
                mend=f"Ask less at once: --max-concurrency {max(1, count // 2)}.",
            )
        return error


def _drawn_alike(one: Request, other: Request) -> bool:
    ways = ((asked.sampling, asked.sample, asked.schema, asked.top_logprobs) for asked in (one, other))
    return next(ways) == next(ways)


def _how(sampling: Sampling, room: int) -> dict[str, Any]:
    """How transformers is to draw tokens."""
    heat = sampling.temperature or 0.0
    drawn = {"do_sample": True, "temperature": heat, "top_p": sampling.top_p or 1.0} if heat else {"do_sample": False}
    penalty = {"repetition_penalty": sampling.repetition_penalty} if sampling.repetition_penalty else {}
    return {"max_new_tokens": room, "top_k": 0 if heat else None, **drawn, **penalty}
