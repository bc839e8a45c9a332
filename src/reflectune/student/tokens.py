"""From a prompt and what follows it to tokens, and which of them are scored: by two conventions.

`exact` finds the target by its characters, and scores the same ones in both readings. Alone, the target follows the
BOS token that the tokenizer adds; where it adds none, nothing predicts the target's first token, and its characters are
left out of both readings. Where the text is too long, both are cut at the same character.

`published` does what the released scripts of Selective Reflection-Tuning do: the target begins after as many tokens
as the text before its last occurrence has when it is encoded by itself; alone it follows the tokenizer's BOS only where
the tokenizer adds one, so that otherwise its first token is not scored; conditioned, the text is cut at the most
tokens, alone at what the prompt leaves of them plus one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reflectune.errors import SettingsError

Convention = Literal["exact", "published"]


@dataclass(frozen=True, slots=True)
class Target:
    """A text of which the last part is scored.

    Attributes:
        tokens: Every token that is read.
        first: The first that is scored; at least 1, since nothing predicts the first token of a text.
    """

    tokens: tuple[int, ...]
    first: int


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be scored: a target, alone and after a prompt.

    Attributes:
        prompt: What stands before the target.
        target: The text itself.
        anchor: The beginning of the target, by whose last occurrence the published convention finds it.
        special: Whether the tokenizer adds its special tokens; a chat template has written them already.
    """

    prompt: str
    target: str
    anchor: str
    special: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """A target in its two readings.

    Attributes:
        conditioned: After its prompt.
        alone: By itself.
        truncated: Whether a reading was cut.
    """

    conditioned: Target
    alone: Target
    truncated: bool


@dataclass(frozen=True, slots=True)
class Unscorable:
    """Why a target cannot be scored, with one sentence for a person.

    The reason is `empty`, `no-tokens`, `too-long`, `template` or `non-finite`.
    """

    reason: str
    detail: str


class ExactReader:
    """Finds targets by their characters.

    Args:
        tokenizer: A fast tokenizer of transformers.

    Raises:
        SettingsError: The tokenizer cannot say which characters a token holds.
    """

    convention: Convention = "exact"

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.is_fast:
            raise SettingsError(
                "The student's tokenizer does not say which characters its tokens hold.",
                mend="Use --convention published, or a model with a tokenizer.json.",
            )
        self._tokenizer = tokenizer
        self._begin = added_before(tokenizer)

    def read(self, questions: Sequence[Question], max_length: int) -> list[Pair | Unscorable]:
        """The two readings of each target; or why there are none."""
        found: dict[int, Pair | Unscorable] = {}
        cuts: dict[int, _Cut] = {}
        texts = [question.prompt + question.target for question in questions]
        for number, (tokens, spans) in enumerate(self._encoded(texts, [q.special for q in questions])):
            cut = _cut(questions[number], tokens, spans, max_length)
            if isinstance(cut, Unscorable):
                found[number] = cut
            else:
                cuts[number] = cut
        alone = self._encoded([cut.text for cut in cuts.values()], [False] * len(cuts))
        for (number, cut), (tokens, spans) in zip(cuts.items(), alone, strict=True):
            unpredicted = 0 if self._begin or not spans else spans[0][1]
            first = sum(end <= cut.begins + unpredicted for _, end in cut.spans)
            pair = Pair(
                conditioned=Target(cut.tokens, max(first, 1)),
                alone=Target((*self._begin, *tokens), max(len(self._begin), 1)),
                truncated=cut.truncated,
            )
            found[number] = _checked(pair)
        return [found[number] for number in range(len(questions))]

    def _encoded(self, texts: list[str], special: list[bool]) -> list[tuple[tuple[int, ...], list[tuple[int, int]]]]:
        found: dict[int, tuple[tuple[int, ...], list[tuple[int, int]]]] = {}
        for wanted in (True, False):
            places = [place for place, has in enumerate(special) if has is wanted]
            if places:
                some = [texts[place] for place in places]
                read = self._tokenizer(some, add_special_tokens=wanted, return_offsets_mapping=True)
                for place, tokens, spans in zip(places, read["input_ids"], read["offset_mapping"], strict=True):
                    found[place] = tuple(tokens), spans
        return [found[place] for place in range(len(texts))]


@dataclass(frozen=True, slots=True)
class _Cut:
    """A target after its prompt, cut to the most tokens.

    Attributes:
        tokens: Every token.
        spans: The characters that each holds, as (begin, end).
        begins: The character at which the target begins.
        text: The target as far as it fits.
        truncated: Whether that is not all of it.
    """

    tokens: tuple[int, ...]
    spans: list[tuple[int, int]]
    begins: int
    text: str
    truncated: bool


def _cut(
    question: Question, tokens: tuple[int, ...], spans: list[tuple[int, int]], max_length: int
) -> _Cut | Unscorable:
    if not question.target.strip():
        return Unscorable("empty", "there is no text to score")
    begins = len(question.prompt)
    within = [place for place, (_, end) in enumerate(spans) if end > begins]
    if not within:
        return Unscorable("no-tokens", "the tokenizer makes no token of it")
    if max(within[0], 1) >= max_length:
        return Unscorable("too-long", f"its prompt takes all of the {max_length:,} tokens")
    end = min(within[-1] + 1, max_length)  # without what the tokenizer adds at the end
    text = question.target[: spans[end - 1][1] - begins]
    return _Cut(tokens[:end], spans[:end], begins, text, truncated=end <= within[-1])


def added_before(tokenizer: Any) -> tuple[int, ...]:
    """The special tokens that a tokenizer puts before a text by itself: most often a BOS token, or nothing."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    places = (place for place in range(len(full)) if full[place : place + len(bare)] == bare)
    return tuple(full[: next(places, 0)])


class PublishedReader:
    """Finds targets by encoding what stands before them.

    Args:
        tokenizer: A tokenizer of transformers.
    """

    convention: Convention = "published"

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def read(self, questions: Sequence[Question], max_length: int) -> list[Pair | Unscorable]:
        """The two readings of each target; or why there are none."""
        return [self._pair(question, max_length) for question in questions]

    def _pair(self, question: Question, max_length: int) -> Pair | Unscorable:
        if not question.target.strip():
            return Unscorable("empty", "there is no text to score")
        text = question.prompt + question.target
        tokens = self._encoded(text, question.special, max_length)
        first = len(self._encoded(text[: text.rfind(question.anchor)], question.special))
        prompt = len(self._encoded(question.prompt, question.special, max_length))
        if max(first, prompt) >= max_length:
            return Unscorable("too-long", f"its prompt takes all of the {max_length:,} tokens")
        left = max_length - prompt + 1
        alone = self._encoded(question.target, True, left)
        cut = len(tokens) == max_length and len(self._encoded(text, question.special)) > max_length
        cut = cut or (len(alone) == left and len(self._encoded(question.target, True)) > left)
        return _checked(Pair(Target(tokens, max(first, 1)), Target(alone, 1), cut))

    def _encoded(self, text: str, special: bool, most: int | None = None) -> tuple[int, ...]:
        how = {"truncation": True, "max_length": most} if most else {}
        return tuple(self._tokenizer(text, add_special_tokens=special, **how)["input_ids"])


def _checked(pair: Pair) -> Pair | Unscorable:
    if pair.alone.first >= len(pair.alone.tokens):
        return Unscorable("no-tokens", "it is one token, which nothing predicts where the text stands alone")
    if pair.conditioned.first >= len(pair.conditioned.tokens):
        return Unscorable("no-tokens", "after its prompt no token is its own")
    return pair
