"""The words of the program.

What is written to disk or read from it is a frozen pydantic model that forbids unknown keys; what lives in memory
only is a frozen, slotted dataclass.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import orjson
from pydantic import BaseModel, ConfigDict, Field

Role = Literal["system", "user", "assistant", "tool"]
VersionName = Literal["original", "Q", "A", "QA"]
"""original; Q: new instruction and its answer; A: old instruction, better answer; QA: both."""
Reflection = Literal["instruction", "response"]


def digest(value: object) -> str:
    """A short, stable name for a JSON-like value: 32 hex digits of BLAKE2b."""
    packed = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(packed, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """An instruction-response pair with what surrounds it.

    Attributes:
        id: Stable across runs: the row's own, else a hash of its content.
        instruction: What is asked.
        response: The answer that the data set holds.
        input: The material that the instruction works on; empty where there is none.
        system: The system prompt of the row.
        history: Earlier turns of the conversation, oldest first; only the last exchange is recycled.
    """

    id: str
    instruction: str
    response: str
    input: str = ""
    system: str = ""
    history: tuple[Message, ...] = ()

    @property
    def question(self) -> str:
        """The instruction with its input, as one text."""
        return self.version.question

    @property
    def version(self) -> Version:
        """The pair as it stands in the data set: the version called original."""
        return Version(instruction=self.instruction, input=self.input, response=self.response)

    def content_hash(self) -> str:
        """A hash of everything but the id."""
        turns = [[turn.role, turn.content] for turn in self.history]
        return digest([self.instruction, self.response, self.input, self.system, turns])


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an oracle draws its tokens. `None` leaves the choice to the oracle."""

    temperature: float | None = 0.0
    top_p: float | None = 1.0
    max_tokens: int = 2048
    repetition_penalty: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Schema:
    """A JSON schema that a reply must satisfy.

    Attributes:
        name: The name that endpoints ask for.
        body: The schema.
        mark: A hash of both, made once: a schema is part of many requests' keys.
    """

    name: str
    body: dict[str, Any]
    mark: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mark", digest([self.name, self.body]))


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of an oracle.

    Attributes:
        messages: The conversation, oldest turn first.
        sampling: How tokens are drawn.
        schema: The JSON schema of the reply; `None` for free text.
        sample: Which of several draws of the same request this is.
        top_logprobs: Of how many of the likeliest first tokens the log-probabilities are wanted.
        stop: Texts before any of which the reply is to end.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    schema: Schema | None = None
    sample: int = 0
    top_logprobs: int = 0
    stop: tuple[str, ...] = ()

    def key(self, oracle: str) -> str:
        """The request's identity: equal keys are asked once.

        Args:
            oracle: The oracle's name, which holds its model and its address.
        """
        schema = self.schema and self.schema.mark
        wanted = [self.top_logprobs] if self.top_logprobs else []
        stop = [self.stop] if self.stop else []
        return digest([oracle, self.messages, self.sampling, schema, self.sample, *wanted, *stop])


class Record(BaseModel):
    """The base of everything that is written down."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Reply(Record):
    """What an oracle said.

    Attributes:
        text: The reply itself, without any reasoning.
        reasoning: What a reasoning model thought before it; never parsed as the reply.
        finish_reason: `stop`, `length`, `content_filter`, or whatever else the endpoint says.
        prompt_tokens: Tokens of the request, as the oracle counts them.
        completion_tokens: Tokens of the reply, reasoning included.
        cached_tokens: The part of `prompt_tokens` that came from the oracle's prefix cache.
        rejected: Why this reply was not accepted; `None` where it was.
        batch: Whether it came from a provider's batch, at half the price.
        top_logprobs: The log-probabilities of the likeliest first tokens, in nats; `None` where the request did not ask
            for them, or the oracle does not tell.
    """

    text: str
    reasoning: str | None = None
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    rejected: str | None = None
    batch: bool = False
    top_logprobs: dict[str, float] | None = None


class Failure(Record):
    """A record that did not come through, and why.

    Attributes:
        id: The row's id.
        stage: What was being done: `read`, `instruction`, `response`, ...
        reason: A short name that can be counted, such as `copy` or `context-overflow`.
        detail: One sentence for a person.
        raw: What the oracle replied last, or the row as it was read.
    """

    id: str
    stage: str
    reason: str
    detail: str = ""
    raw: str | None = None


class Remark(Record):
    """What the oracle says of one criterion.

    Attributes:
        subject: What is judged: the instruction or the response.
        criterion: The criterion's name, such as `helpfulness`.
        remark: A short critique.
        score: From 1 (poor) to 10 (excellent).
    """

    subject: Reflection
    criterion: str
    remark: str
    score: int = Field(ge=1, le=10)


class Ballot(Record):
    """The oracle's choice between several rewrites of the same text.

    Attributes:
        candidates: The rewrites, in the order in which they were shown.
        choice: The index of the one that was kept.
        reason: Why, in the oracle's words.
    """

    candidates: tuple[Version, ...]
    choice: int
    reason: str


class Version(Record):
    """One form of a row: an instruction and its response.

    Attributes:
        instruction: The instruction. A new one stands alone, with the input merged into it.
        response: The response.
        input: The input that the instruction works on, where it was kept apart.
    """

    instruction: str
    response: str
    input: str = ""

    @property
    def question(self) -> str:
        """The instruction with its input, as one text."""
        return f"{self.instruction}\n\n{self.input}" if self.input.strip() else self.instruction


class Rewrite(Record):
    """One reflection on a row: the critique, then what came of it.

    Attributes:
        kind: Which reflection this is.
        remarks: The critique, criterion by criterion.
        link: How the weak instruction led to the weak response; instruction reflection only.
        version: The instruction and response after it.
        attempts: How many replies it took; more than one where earlier ones were rejected.
        ballot: The choice between candidates, where more than one was asked for.
        of: The version that was criticised.
    """

    kind: Reflection
    remarks: tuple[Remark, ...]
    version: Version
    link: str = ""
    attempts: int = 1
    ballot: Ballot | None = None
    of: VersionName = "original"

    @property
    def makes(self) -> VersionName:
        """The name of the version after it."""
        if self.kind == "instruction":
            return "Q"
        return "QA" if self.of == "Q" else "A"


class Recycled(Record):
    """What became of one example.

    Attributes:
        id: The example's id.
        language: The language that its prompts were in: `en` or `zh`.
        versions: Every version that came through, the original among them.
        rewrites: The reflections that came through; of a rewritten row the last one made the best version.
        after: A critique of the best version, where one was asked for.
        failure: Why the row is not rewritten; `None` where it is.
    """

    id: str
    language: str
    versions: dict[VersionName, Version]
    rewrites: tuple[Rewrite, ...] = ()
    after: tuple[Remark, ...] = ()
    failure: Failure | None = None

    @property
    def rewritten(self) -> bool:
        """Whether every reflection that was asked for succeeded."""
        return self.failure is None

    @property
    def best_name(self) -> VersionName:
        """The name of the version that the reflections led to; of a failed row, of the one that came furthest.

        A rewritten row with Q and A but without QA is one whose student took the old instruction, and so A.
        """
        names: tuple[VersionName, ...] = (
            ("QA", "A", "Q", "original") if self.rewritten else ("QA", "Q", "A", "original")
        )
        return next(name for name in names if name in self.versions)

    @property
    def best(self) -> Version:
        """The version that the reflections led to."""
        return self.versions[self.best_name]


class VersionScores(Record):
    """What the student makes of one version of a row.

    A loss is the mean negative log-likelihood of a text's tokens, in nats; alone, or conditioned on the other half by
    the student's prompt template. What could not be scored is `None`, never 0. Source: Cherry LLM (arXiv 2308.12032)
    for IFD, Selective Reflection-Tuning (arXiv 2402.10110) for r-IFD.

    Attributes:
        instruction_tokens: Tokens of the instruction, its input included, that were scored.
        response_tokens: Tokens of the response that were scored.
        instruction_loss_alone: Of the instruction by itself.
        instruction_loss_conditioned: Of the instruction, given the response and a request to guess its instruction.
        response_loss_alone: Of the response by itself.
        response_loss_conditioned: Of the response, given the instruction.
        ifd_ppl: Perplexity of the response given the instruction, by its perplexity alone. Higher is harder.
        rifd_ppl: The same of the instruction given the response. Lower is more feasible.
        ifd_loss: The ratio of the response's losses, as Cherry LLM has it; not to be mixed with `ifd_ppl`.
        rifd_loss: The ratio of the instruction's losses.
        truncated: Whether a text was cut to the student's length.
    """

    instruction_tokens: int | None = None
    response_tokens: int | None = None
    instruction_loss_alone: float | None = None
    instruction_loss_conditioned: float | None = None
    response_loss_alone: float | None = None
    response_loss_conditioned: float | None = None
    ifd_ppl: float | None = None
    rifd_ppl: float | None = None
    ifd_loss: float | None = None
    rifd_loss: float | None = None
    truncated: bool = False


class Unscored(Record):
    """Why a half of a version has no score.

    Attributes:
        version: Which version.
        half: The response (and so IFD), or the instruction (and so r-IFD).
        reason: A short name that can be counted: `empty`, `no-tokens`, `too-long`, `template`, `non-finite`.
        detail: One sentence for a person.
    """

    version: VersionName
    half: Reflection
    reason: str
    detail: str


class Scored(Record):
    """The scores of every version of a row.

    Attributes:
        id: The row's id.
        versions: The scores, by version; a version of which nothing could be scored is not among them.
        unscored: What could not be scored, and why.
    """

    id: str
    versions: dict[VersionName, VersionScores]
    unscored: tuple[Unscored, ...] = ()

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What could not be scored, as failures of the stage `score`."""
        return tuple(
            Failure(id=self.id, stage="score", reason=lack.reason, detail=f"{lack.version}: {lack.detail}")
            for lack in self.unscored
        )


class Store(Protocol):
    """What remembers the replies of an oracle and the results of a stage.

    `runs/store.py` keeps them in SQLite, `testing.py` in memory. The `keep_` methods return once the value is durable.
    """

    def reply(self, key: str) -> Reply | None:
        """The reply kept under this key, a rejected one included; `None` where there is none."""
        ...

    async def keep_reply(self, key: str, request: Request, oracle: str, reply: Reply) -> None:
        """Keep a reply, with the request that it answers and the oracle that gave it."""
        ...

    def result(self, stage: str, row: str, fingerprint: str) -> bytes | None:
        """The JSON of a row's result, if it was made under the same fingerprint."""
        ...

    async def keep_result(self, stage: str, row: str, fingerprint: str, body: bytes, failed: str | None) -> None:
        """Keep a row's result as JSON, with the reason of its failure where it failed."""
        ...
