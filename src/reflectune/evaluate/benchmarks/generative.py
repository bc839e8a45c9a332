"""The form `generative`: a model writes its answers, and what it wrote is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflectune.evaluate.benchmarks.catalogue import Benchmark
from reflectune.evaluate.benchmarks.figures import scores_of
from reflectune.evaluate.benchmarks.harness import evaluate
from reflectune.evaluate.benchmarks.items import Item
from reflectune.evaluate.benchmarks.lm import Ask, engine_lm
from reflectune.evaluate.benchmarks.parts import Part
from reflectune.evaluate.benchmarks.scoring import FORMS, draft_is_right, output_of
from reflectune.evaluate.benchmarks.tasks import Writer
from reflectune.evaluate.scores import Arm, Score
from reflectune.generation.naming import model_name
from reflectune.prompts import REFLECT, Prompts
from reflectune.recipe.benchmark import BenchmarkSettings
from reflectune.records import Failure
from reflectune.tags import parse

__all__ = ["Subject", "ask_and_score", "figures_of"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, and how it is asked.

    Attributes:
        model: The model, as a person names it.
        arms: How it is asked.
    """

    model: str
    arms: tuple[Arm, ...]


def ask_and_score(
    subject: Subject, parts: Sequence[Part], settings: BenchmarkSettings, ask: Ask, folder: Path
) -> list[Item]:
    """Ask a model everything at once, in every way, and score its replies.

    Args:
        subject: The model and the ways.
        parts: The benchmarks.
        settings: How they are asked.
        ask: Asks the model.
        folder: Where the task files go.

    Returns:
        An item for each question and way, by benchmark, then way, then question.

    Raises:
        InputError: A data set cannot be loaded.
        MissingExtraError: A package that is needed is not installed.
        RunError: The task files cannot be written.
        Unfinished: Asking stopped before every question had a reply; those that are there are kept.
    """
    prompts, writer = Prompts(settings.prompts), Writer(folder)
    names: dict[str, tuple[Benchmark, Arm]] = {}
    for part in parts:
        for arm in subject.arms:
            name = writer.generative(
                part.benchmark,
                part.questions,
                prompts.text(settings.lang, f"benchmark_{part.benchmark.kind}.txt"),
                arm=arm,
                shots=part.shots,
                whole=settings.without_output == "whole",
                max_tokens=settings.max_tokens or 2048,
            )
            names[name] = part.benchmark, arm
    system = prompts.text(settings.lang, REFLECT)
    lm = engine_lm(ask, {name: "" if arm == "plain" else system for name, (_, arm) in names.items()})
    found = evaluate(lm, list(names), folder, limit=settings.limit, chat=True, run_code=settings.run_code)
    items = []
    for name, (benchmark, arm) in names.items():
        for sample in sorted(found["samples"][name], key=lambda sample: int(sample["doc_id"])):
            reply = lm.replies[name, sample["doc_id"]]
            items.append(
                _item(
                    sample,
                    reply,
                    benchmark,
                    Item(benchmark=benchmark.name, id="", model=model_name(subject.model), arm=arm),
                )
            )
    return items


def figures_of(items: Sequence[Item], parts: Sequence[Part]) -> list[Score]:
    """The figures of everything that was asked, by benchmark, then model, then way."""
    scores: list[Score] = []
    for part in parts:
        mine = [item for item in items if item.benchmark == part.benchmark.name]
        for model, arm in dict.fromkeys((item.model, item.arm) for item in mine):
            asked = [item for item in mine if (item.model, item.arm) == (model, arm)]
            notes = part.notes if arm == "plain" else (*part.notes, *part.told_to_reflect)
            scores += scores_of(asked, part.benchmark, notes, shots=part.shots)
    return scores


def _item(sample: dict[str, Any], reply: Any, benchmark: Benchmark, empty: Item) -> Item:
    """What became of one question."""
    question = sample["doc"]
    asked = empty.model_copy(
        update={"id": question["id"], "question": question["question"], "gold": question["answer"] or None}
    )
    if isinstance(reply, Failure):
        return asked.model_copy(update={"failure": reply.model_copy(update={"id": question["id"]})})
    form = FORMS.get(benchmark.kind)
    tagged = asked.arm != "plain"
    return asked.model_copy(
        update={
            "text": reply.text,
            "scored": str(sample["filtered_resps"][0]),
            "finish_reason": reply.finish_reason,
            "marks": {metric: _marks(sample[metric]) for metric in benchmark.metrics},
            "draft": draft_is_right(form, question["answer"], reply.text, question.get("count"))
            if form and tagged
            else None,
            "tokens": reply.completion_tokens,
            "prompt_tokens": reply.prompt_tokens,
            "reflections": len(parse(reply.text).reflections),
            "without_output": output_of(reply.text) is None if tagged else None,
        }
    )


def _marks(mark: Any) -> tuple[bool, ...]:
    return tuple(map(bool, mark)) if isinstance(mark, list | tuple) else (bool(mark),)
