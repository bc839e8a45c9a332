"""A student behind a server that returns the log-probabilities of prompts: vLLM's `prompt_logprobs`.

The texts are sent as tokens, so that the server scores exactly those that this process reads.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import orjson

from reflectune.errors import OracleBusy, OracleError, RequestRefused
from reflectune.oracles.endpoint import ApiSettings
from reflectune.oracles.faults import error_of, meaning_of, read_complaint, retry_after
from reflectune.oracles.pacing import MOST_TRIES, Pace, delay_before
from reflectune.oracles.wire import Wire
from reflectune.records import Reply
from reflectune.student.tokens import Target, Unscorable

_SUCCESS = range(200, 300)


class ServerStudent:
    """A model behind an OpenAI-compatible `/completions` that takes tokens and `prompt_logprobs`.

    Args:
        settings: The model, its address and its key.
        tokenizer: The model's tokenizer, of transformers.

    Attributes:
        name: The model and where it is.
        revision: Not known: servers do not tell.
        dtype: Not known either.
        longest: Not known before it refuses a text.
        batch_tokens: About how many tokens are worth asking for together.
    """

    revision = ""
    dtype = ""
    longest: int | None = None

    def __init__(self, settings: ApiSettings, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.name = f"{settings.model}@{settings.base_url}"
        self.batch_tokens = 256 * (settings.connections or 32)
        self._settings = settings
        self._wire = Wire(settings)
        self._pace = Pace(settings.connections or 32)
        self._runner = asyncio.Runner()
        self._words: dict[int, str] = {}

    def losses(self, targets: Sequence[Target]) -> list[float | Unscorable]:
        """The mean negative log-likelihood of each target's scored tokens, in nats, or why there is none.

        Raises:
            OracleError: The server cannot be used at all, or returns no log-probabilities of prompts.
        """
        return self._runner.run(self._together(targets))

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._wire.aclose())
        self._runner.close()

    async def _together(self, targets: Sequence[Target]) -> list[float | Unscorable]:
        different = list(dict.fromkeys(targets))
        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(self._loss(target)) for target in different]
        except ExceptionGroup as problems:  # one of them says it; the others are most often the same
            raise problems.exceptions[0] from None
        known = dict(zip(different, (task.result() for task in asked), strict=True))
        return [known[target] for target in targets]

    async def _loss(self, target: Target) -> float | Unscorable:
        try:
            said = await self._patiently(target)
        except RequestRefused as refusal:
            return Unscorable(refusal.reason, refusal.what)
        scored = list(zip(target.tokens, said, strict=True))[target.first :]
        return -math.fsum(self._of_token(token, said) for token, said in scored) / len(scored)

    async def _patiently(self, target: Target) -> list[Any]:
        """Ask, and again while the server is too busy to answer."""
        tries = 0
        while True:
            try:
                async with self._pace.slot(str(hash(target))) as turn:
                    try:
                        found = await self._said(target)
                    except OracleBusy as busy:
                        self._pace.fault(turn, busy)
                        raise
                    except RequestRefused:  # the server works
                        self._pace.well(turn)
                        raise
                    self._pace.well(turn, Reply(text="", prompt_tokens=len(target.tokens), completion_tokens=1))
                    return found
            except OracleBusy as busy:
                tries += 1
                if tries == MOST_TRIES:
                    raise OracleError(busy.what, mend=busy.mend) from busy
                await self._pace.rest(delay_before(tries, busy))

    async def _said(self, target: Target) -> list[Any]:
        """What the server says of each token of a text."""
        url = self._settings.under("/completions")
        body = {"model": self._settings.model, "prompt": target.tokens, "max_tokens": 1, "prompt_logprobs": 1}
        packed = orjson.dumps(body | {"temperature": 0})
        headers = {"Content-Type": "application/json"}
        status, answered, raw = await self._wire.send("POST", url, data=packed, headers=headers)
        if status not in _SUCCESS:
            complaint = read_complaint(status, raw)
            if meaning_of(complaint) == "bad-request" and complaint.names("prompt_logprobs"):
                raise self._not_told(url)
            raise error_of(complaint, self._settings, retry_after(answered), url=url)
        try:
            said = orjson.loads(raw)["choices"][0]["prompt_logprobs"]
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
            said = None
        if not isinstance(said, list) or len(said) != len(target.tokens):
            raise self._not_told(url)
        self._check_words(target.tokens, said)
        return said

    def _not_told(self, url: str) -> OracleError:
        return OracleError(
            f"{url} does not return the log-probabilities of prompts.",
            mend="Use a server that takes `prompt_logprobs`, as vLLM does, or name the model's folder or hub id.",
        )

    def _check_words(self, tokens: Sequence[int], said: list[Any]) -> None:
        """See that the server reads the same words as this process, where it tells what it reads."""
        alike, told = 0, 0
        for token, entry in zip(tokens, said, strict=True):
            word = entry.get(str(token), {}) if isinstance(entry, dict) else {}
            theirs = word.get("decoded_token") if isinstance(word, dict) else None
            ours = self._word(token)
            if isinstance(theirs, str) and theirs.strip().isascii() and ours.isascii() and ours:
                told, alike = told + 1, alike + (theirs.strip() == ours)
        if told and alike < told / 2:
            raise OracleError(
                f"{self.name} reads other words than this process sent.",
                mend="Name the tokenizer that belongs to the served model with --tokenizer.",
            )

    def _word(self, token: int) -> str:
        if token not in self._words:
            self._words[token] = self.tokenizer.decode([token]).strip()
        return self._words[token]

    def _of_token(self, token: int, said: Any) -> float:
        try:
            return float(said[str(token)]["logprob"])
        except (KeyError, TypeError, ValueError):
            raise OracleError(
                f"{self.name} says nothing of the token {token}, which it was sent.",
                mend="Name the tokenizer that belongs to the served model with --tokenizer.",
            ) from None
