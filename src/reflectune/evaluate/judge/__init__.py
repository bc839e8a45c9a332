"""A judge compares two models' answers to the same questions: a model in both orders, a person in one.

verdicts.py    the records: what was said in one order, and the verdict that follows
pairs.py       two files of answers, matched one to one
asking.py      the two ways to ask: one JSON value, or one field per turn
figures.py     what verdicts come to: win rate, winning score, flips, and what length has to do with it
agreement.py   how far judges agree with each other, or with people
people.py      people as judges: sides and order drawn, a verdict of one look
desk.py        where a person judges: next pair, verdict, undo, skip
kept.py        pairs and verdicts in a run's folder, read back
reviews.py     reviews that others have published, read back
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from reflectune.ask import Manner
from reflectune.evaluate.judge.asking import Dialogue, Structured
from reflectune.evaluate.judge.pairs import Answers, Lost, Matched, Pair, matched, model_names, read_answers
from reflectune.evaluate.judge.verdicts import CRITERIA, ORDERS, Look, Marks, Order, Outcome, Verdict, decided
from reflectune.language import prompt_language
from reflectune.oracles import Oracle
from reflectune.oracles.engine import Engine, Rejected
from reflectune.prompts import Prompts
from reflectune.recipe import JudgeSettings
from reflectune.records import Failure

__all__ = [
    "CRITERIA",
    "ORDERS",
    "PROMPTS",
    "STAGE",
    "Answers",
    "Look",
    "Lost",
    "Marks",
    "Matched",
    "Order",
    "Outcome",
    "Pair",
    "Verdict",
    "decided",
    "judge",
    "matched",
    "model_names",
    "read_answers",
    "requests_per_pair",
    "rubric_of",
]

STAGE = "judge"
PROMPTS = ("judge_", "reasons", "dialogue_retry")
"""How the names of the prompts begin."""
_SHOWN_OF_A_HASH = 8


async def judge(
    pairs: Iterable[Pair], engine: Engine, settings: JudgeSettings | None = None
) -> AsyncGenerator[Verdict | Failure]:
    """Have a judge compare the answers of each pair in both orders, and yield the verdicts as they land.

    Every pair comes out once: with its verdict, or with the reason why there is none, which is never a tie. After the
    engine was stopped, a pair that was not looked at in both orders does not come out. What the engine's store already
    has is not asked again.

    Args:
        pairs: Taken one by one, so that there may be more than fit in memory; each id once.
        engine: Asks the judge.
        settings: How to ask.

    Raises:
        OracleError: The judge cannot be used at all.
        SettingsError: A prompt file does not fit.
    """
    settings = settings or JudgeSettings()
    prompts = Prompts(settings.prompts)
    dialogue = settings.is_dialogue(default=engine.oracle.dialogue)
    manner = Manner(engine, settings.sampling(engine.oracle.sampling), settings.retries)
    way = Dialogue(manner, prompts) if dialogue else Structured(manner, prompts)
    rubric = rubric_of(engine.oracle, settings)

    async def look_at(half: _Half) -> tuple[_Half, Look | Rejected]:
        language = settings.lang or prompt_language(half.pair.question.question)
        return half, await way.look(half.pair, half.order, language)

    waiting: dict[str, dict[Order, Look | Rejected]] = {}
    async with aclosing(engine.work(_halves(pairs), look_at)) as looks:
        async for half, look in looks:
            both = waiting.setdefault(half.pair.id, {})
            both[half.order] = look
            if len(both) == len(ORDERS):
                del waiting[half.pair.id]
                yield _verdict(half.pair, both, engine.oracle.name, rubric)


def requests_per_pair(*, dialogue: bool) -> int:
    """How many requests a pair takes when no reply is rejected."""
    return len(ORDERS) * (Dialogue if dialogue else Structured).REQUESTS


def rubric_of(oracle: Oracle, settings: JudgeSettings) -> str:
    """How a judge is asked, in short: the way, and the first digits of a hash of the prompts' wording."""
    way = "dialogue" if settings.is_dialogue(default=oracle.dialogue) else "structured"
    return f"{way} {Prompts(settings.prompts).hash(*PROMPTS)[:_SHOWN_OF_A_HASH]}"


@dataclass(frozen=True, slots=True)
class _Half:
    pair: Pair
    order: Order


def _halves(pairs: Iterable[Pair]) -> Iterator[_Half]:
    for pair in pairs:
        for order in ORDERS:
            yield _Half(pair, order)


def _verdict(pair: Pair, both: dict[Order, Look | Rejected], name: str, rubric: str) -> Verdict | Failure:
    for order in ORDERS:
        look = both[order]
        if isinstance(look, Rejected):
            raw = look.reply.text if look.reply else None
            detail = f"{name}, {order}: {look.detail}"
            return Failure(id=pair.id, stage=STAGE, reason=look.reason, detail=detail, raw=raw)
    forward, reverse = (both[order] for order in ORDERS)
    assert isinstance(forward, Look)
    assert isinstance(reverse, Look)
    return Verdict(
        id=pair.id,
        dataset=pair.dataset,
        judge=name,
        rubric=rubric,
        outcome=decided(forward, reverse),
        looks=(forward, reverse),
        length_a=len(pair.a),
        length_b=len(pair.b),
    )
