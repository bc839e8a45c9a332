"""A trace: what a model is to say, and which of its characters are a mistake or a correction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reflectune.answers.rules import is_right
from reflectune.recipe.traces import MistakeKind
from reflectune.records import Failure, Record, Role
from reflectune.tags import Span, parse, reflect, write
from reflectune.traces.questions import STAGE, Question

TraceKind = Literal["clean", "planted", "own", "oracle"]


class Turn(Record):
    """One turn of a trace."""

    role: Role
    content: str


class TraceFacts(Record):
    """What a trace is made of. Spans are characters of the last turn, as (begin, end).

    Attributes:
        kind: Where its mistake comes from; `clean` where it makes none.
        mistake: What went wrong, of a planted mistake.
        mistakes: The wrong steps.
        corrections: Every `<reflection>`, with its tags.
        answer: What stands in `<output>`.
        checked: What says that the answer is right, and that the mistake is one: a rule or an oracle.
        source: `FILE:ROW` of the question.
    """

    kind: TraceKind
    mistake: MistakeKind | None = None
    mistakes: tuple[Span, ...] = ()
    corrections: tuple[Span, ...] = ()
    answer: str
    checked: Literal["rule", "oracle"]
    source: str


class Trace(Record):
    """A row of the data that teaches to reflect.

    Attributes:
        id: The question's id.
        messages: The conversation; the last turn holds the thinking and the answer.
        trace: What it is made of.
    """

    id: str
    messages: tuple[Turn, ...]
    trace: TraceFacts


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the thinking.

    Attributes:
        text: What it says.
        role: What it is: a right step, a mistake, or the reflection that corrects it.
    """

    text: str
    role: Literal["step", "mistake", "correction"] = "step"


@dataclass(frozen=True, slots=True)
class Draft:
    """A trace before it was checked.

    Attributes:
        question: What it answers.
        pieces: The thinking, in order.
        answer: What it answers in the end.
        kind: Where its mistake comes from.
        mistake: What went wrong, of a planted mistake.
        flagged_right: Whether the step that is called a mistake was right after all.
        checked: What checks the answer.
    """

    question: Question
    pieces: tuple[Piece, ...]
    answer: str
    kind: TraceKind
    mistake: MistakeKind | None = None
    flagged_right: bool = False
    checked: Literal["rule", "oracle"] = "rule"


def finished(draft: Draft, system: str) -> Trace | Failure:
    """Check a draft, and write it down.

    Args:
        draft: What was made.
        system: The system prompt that asks for the tags; nothing for none. One that the row has of its own comes first.

    Returns:
        The trace, or why there is none: `right-step` where it corrects what was right, `wrong-answer`, or `malformed`
        where it holds tags of its own or a code block that is left open.
    """
    question = draft.question
    if draft.flagged_right:
        return failed(question, "right-step", "the reflection corrects a step that was right", draft)
    if question.answer is not None and not is_right(question.form, question.answer, draft.answer):
        return failed(question, "wrong-answer", f"it answers {draft.answer[:80]!r}, not {question.answer!r}", draft)
    try:
        content, spans = _composed(draft)
    except ValueError as fault:
        return failed(question, "malformed", str(fault), draft)
    prompts = [prompt for prompt in (question.system, system) if prompt]
    turns = [Turn(role="system", content="\n\n".join(prompts))] if prompts else []
    turns += [Turn(role=turn.role, content=turn.content) for turn in question.history]
    turns += [Turn(role="user", content=question.text), Turn(role="assistant", content=content)]
    facts = TraceFacts(
        kind=draft.kind,
        mistake=draft.mistake,
        mistakes=tuple(spans["mistake"]),
        corrections=tuple(spans["correction"]),
        answer=draft.answer.strip(),
        checked=draft.checked,
        source=question.source,
    )
    return Trace(id=question.id, messages=tuple(turns), trace=facts)


def failed(question: Question, reason: str, detail: str, draft: Draft | None = None, raw: str | None = None) -> Failure:
    """Why there is no trace of a question."""
    if draft is not None:
        raw = "\n".join(piece.text for piece in draft.pieces)
    return Failure(id=question.id, stage=STAGE, reason=reason, detail=f"{question.source}: {detail}.", raw=raw)


def _composed(draft: Draft) -> tuple[str, dict[str, list[Span]]]:
    """The text of the answer, and where its mistakes and corrections stand in it.

    Raises:
        ValueError: A part of it holds tags of its own, or a code block that is left open.
    """
    spans: dict[str, list[Span]] = {"step": [], "mistake": [], "correction": []}
    texts: list[str] = []
    place = 0
    for piece in draft.pieces:
        text = reflect(piece.text.strip()) if piece.role == "correction" else piece.text.strip()
        spans[piece.role].append((place, place + len(text)))
        texts.append(text)
        place += len(text) + 1
    thinking = "\n".join(texts)
    content = write(thinking, draft.answer.strip())
    begin = content.index(thinking)
    moved = {role: [(first + begin, last + begin) for first, last in found] for role, found in spans.items()}
    if [block.whole for block in parse(content).reflection_blocks] != moved["correction"]:
        raise ValueError("the parts make no answer: they hold tags of their own")
    return content, moved
