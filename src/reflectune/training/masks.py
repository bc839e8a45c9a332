"""From a conversation to tokens, and which of them carry loss: those that the student is to write itself.

A chat template is only a program that writes text, so where an answer lies in it is found by writing the conversation
up to it with a stand-in in its place. What the template writes after an answer carries loss
up to the first special token, by which the student learns to stop.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from reflectune.errors import SettingsError
from reflectune.lessons import Span
from reflectune.records import Failure
from reflectune.student.chat_text import ChatText
from reflectune.training.rows import Conversation

NO_LOSS = -100
"""What torch's cross entropy leaves out."""
_STAND_IN = "\ue000answer\ue001"
"""Stands in for an answer, in characters that no text is likely to hold."""
_TOGETHER = 256
"""Conversations that are made into tokens at once."""


@dataclass(frozen=True, slots=True)
class Masked:
    """A row as tokens.

    Attributes:
        id: The row's id.
        tokens: Every token that is read.
        trains: Which of them carry loss.
        cut: Whether the end was cut off.
        hidden: How many earlier answers carry no loss, as the template writes them otherwise than when they were given.
    """

    id: str
    tokens: array[int]
    trains: bytes
    cut: bool = False
    hidden: int = 0

    @property
    def labels(self) -> list[int]:
        """The tokens that carry loss, and for the others what torch's cross entropy leaves out."""
        return [token if trains else NO_LOSS for token, trains in zip(self.tokens, self.trains, strict=True)]


@dataclass(frozen=True, slots=True)
class _Written:
    """A conversation as text.

    Attributes:
        text: All of it.
        answers: The characters of each answer that is learnt from.
        ends: Where the template's own text after each of them ends.
        silent: Characters of them that carry no loss.
        hidden: How many earlier answers are not among them.
    """

    text: str
    answers: list[Span]
    ends: list[int]
    silent: list[Span]
    hidden: int


class Masker:
    """Makes rows into tokens.

    Args:
        tokenizer: The student's tokenizer, a fast one.
        template: The chat template.
        max_length: The most tokens of a row.
        drops_overlong: Whether a row that is too long is refused rather than cut.

    Attributes:
        template: The chat template.
        end_token: The special token that it writes after an answer.

    Raises:
        SettingsError: The tokenizer cannot say which characters its tokens hold, or the template ends no answer.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: ChatText,
        max_length: int,
        *,
        drops_overlong: bool = False,
    ) -> None:
        if not tokenizer.is_fast:
            raise SettingsError(
                "The student's tokenizer does not say which characters its tokens hold.",
                mend="Name a model with a tokenizer.json.",
            )
        self.template = template
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._drops_overlong = drops_overlong
        self._special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
        self.end_token = self._find_the_end()

    def read(self, conversations: Iterable[Conversation]) -> Iterator[Masked | Failure]:
        """Each conversation as tokens, in order; or why it is not learnt from."""
        rest = iter(conversations)
        while some := list(islice(rest, _TOGETHER)):
            written = [self._written(one) for one in some]
            texts = [one.text for one in written if isinstance(one, _Written)]
            encoded = self._tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True) if texts else {}
            tokens = iter(zip(encoded.get("input_ids", ()), encoded.get("offset_mapping", ()), strict=True))
            for conversation, one in zip(some, written, strict=True):
                yield one if isinstance(one, Failure) else self._masked(conversation, one, *next(tokens))

    def _find_the_end(self) -> int:
        turns = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})
        probe = next(self.read([Conversation("probe", turns)]))
        if isinstance(probe, Failure):
            raise SettingsError(
                f"The template {self.template.name} cannot be learnt from: {probe.detail}.",
                mend="Use another with --template.",
            )
        ends = [token for token, trains in zip(probe.tokens, probe.trains, strict=True) if trains]
        if ends[-1] not in self._special:
            raise SettingsError(
                f"The template {self.template.name} writes no special token after an answer: the student would never"
                " learn to stop.",
                mend="Let it write {{ eos_token }} after what an assistant says, or use another with --template.",
            )
        return ends[-1]

    def _written(self, conversation: Conversation) -> _Written | Failure:
        turns = conversation.turns
        try:
            text = self._rendered(turns)
            answers, ends = [], []
            for number, turn in enumerate(turns):
                if turn["role"] == "assistant":
                    found = self._answer(turns[: number + 1], text)
                    if found is None and number == len(turns) - 1:
                        raise _Unfit("it does not write the answer after its prompt, as it is")
                    if found is not None:  # a template may take from earlier answers what it does not show again
                        answers.append(found[0])
                        ends.append(found[1])
        except _Unfit as fault:
            return conversation.refused("template", f"the template {self.template.name}: {fault}")
        begin, _ = answers[-1]
        response = turns[-1]["content"]
        begin -= len(response) - len(response.lstrip())  # a template may strip what it is given
        silent = [(begin + first, begin + last) for first, last in conversation.silent]
        given = sum(turn["role"] == "assistant" for turn in turns)
        return _Written(text, answers, ends, silent, given - len(answers))

    def _answer(self, turns: tuple[dict[str, str], ...], text: str) -> tuple[Span, int] | None:
        """Where the last turn's words lie in a conversation's text, and where what is written after them ends.

        A stand-in is written in their place first, to see what the template writes around them: they may stand anywhere
        else too, even in what ends the turn.
        """
        said = turns[-1]["content"]
        around = self._rendered((*turns[:-1], {**turns[-1], "content": _STAND_IN}))
        begin, words = around.find(_STAND_IN), said.strip()
        tail = around[begin + len(_STAND_IN) :]
        if begin < 0 or not words:
            return None
        for place in (begin, begin + len(said) - len(said.lstrip())):  # a template may strip what it is given
            if text.startswith(around[:begin]) and text.startswith(words, place):
                end = place + len(words)
                return (place, end), text.find(tail, end) + len(tail)
        return None

    def _rendered(self, turns: Sequence[dict[str, str]]) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                list(turns), chat_template=self.template.text, tokenize=False
            )
        except Exception as error:  # Jinja's own, and what a template raises for turns that it does not take
            roles = ", ".join(turn["role"] for turn in turns)
            raise _Unfit(f"it does not take the turns {roles}: {error}") from error
        return text

    def _masked(self, row: Conversation, written: _Written, tokens: list[int], spans: list[Span]) -> Masked | Failure:
        if len(tokens) > self._max_length and self._drops_overlong:
            detail = f"it has {len(tokens):,} tokens, and the most is {self._max_length:,}"
            return row.refused("too-long", detail)
        trains = [False] * len(tokens)
        for answer, after in zip(written.answers, written.ends, strict=True):
            _mark(trains, spans, answer, carries=True)
            beyond = (place for place, (first, _) in enumerate(spans) if answer[1] <= first < after)
            if (end := next((place for place in beyond if tokens[place] in self._special), None)) is not None:
                trains[end] = True
        for silent in written.silent:
            _mark(trains, spans, silent, carries=False)
        kept = tokens[: self._max_length]
        if not any(trains[1 : len(kept)]):  # nothing predicts the first token of a text
            detail = "no token of its answer carries loss"
            if len(tokens) > len(kept):
                detail = f"what stands before its answer takes all of the {self._max_length:,} tokens"
            return row.refused("no-trainable-token", detail)
        carry = bytes([False, *trains[1 : len(kept)]])
        return Masked(row.id, array("i", kept), carry, cut=len(tokens) > len(kept), hidden=written.hidden)


def _mark(trains: list[bool], spans: Sequence[Span], characters: Span, *, carries: bool) -> None:
    """Say of the tokens that hold any of these characters whether they carry loss."""
    begin, end = characters
    for place, (first, last) in enumerate(spans):
        if first < end and last > begin:
            trains[place] = carries


class _Unfit(Exception):  # noqa: N818 - it never leaves this module
    """A template does not write a conversation in a way that can be learnt from."""
