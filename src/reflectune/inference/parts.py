"""What an answer is made of, as it streams."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reflectune.oracles.outcomes import Usage
from reflectune.tags import Part, PartKind, Runs

__all__ = ["Answered", "Ended", "Part", "PartKind", "Reasoning", "Told"]


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer.

    Attributes:
        raw: The reply as the model wrote it, tags included. Where we made it reflect, the same in the same tags.
        output: What is the answer: what stands in `<output>`, or all of a plain model's reply; `None` where a model
            that was to answer in tags did not.
        thinking: Its reasoning, reflections included; nothing where there is none.
        reflections: The text of each reflection.
        faults: What is not as it should be in its tags, as `tags.Parsed` has it; none for a plain model.
        finish_reason: `stop`, `length`, or whatever else the model says.
        prompt_tokens: Tokens that were sent, over all requests that the answer took; 0 where the model does not say, as
            of a reply that went on for seconds after a stop and was broken off.
        completion_tokens: Tokens that were written, likewise.
    """

    raw: str
    output: str | None
    thinking: str
    reflections: tuple[str, ...]
    faults: tuple[str, ...]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How a reply came to its end.

    Attributes:
        finish_reason: Why.
        faults: What is not as it should be in its tags.
    """

    finish_reason: str = "stop"
    faults: tuple[str, ...] = ()


class Told:
    """Puts the parts of an answer together.

    Args:
        answer: The kind of part that is the answer.
    """

    def __init__(self, answer: PartKind) -> None:
        self._answer = answer
        self._raw: list[str] = []
        self._runs: list[tuple[PartKind, list[str]]] = []

    def take(self, part: Part) -> None:
        """More of the answer."""
        self._raw.append(part.raw)
        if part.begins or not self._runs:
            self._runs.append((part.kind, []))
        self._runs[-1][1].append(part.text)

    @property
    def output(self) -> str | None:
        """The answer; `None` where there is none."""
        said = self._said(self._answer)
        return "".join(said) if said or self._answer == "text" else None

    @property
    def text(self) -> str:
        """What stands in no tag."""
        return "\n\n".join(filter(None, self._said("text")))

    def answered(self, ended: Ended, usage: Usage) -> Answered:
        """The whole answer.

        Args:
            ended: How it came to its end.
            usage: What it took.
        """
        return Answered(
            raw="".join(self._raw),
            output=self.output,
            thinking="\n\n".join(filter(None, self._said("thinking", "reflection"))),
            reflections=tuple(self._said("reflection")),
            faults=ended.faults,
            finish_reason=ended.finish_reason,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )

    def _said(self, *kinds: PartKind) -> list[str]:
        return ["".join(texts) for kind, texts in self._runs if kind in kinds]


class Reasoning:
    """What a reasoning model thinks beside its reply, as parts: it is thinking, and no part of the raw reply."""

    def __init__(self) -> None:
        self._runs = Runs("thinking")

    def say(self, text: str) -> list[Part]:
        """More of it."""
        return [replace(part, raw="") for part in self._runs.say(text)]
