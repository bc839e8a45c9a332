"""What is asked: the benchmarks with their questions, before any model is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reflectune.errors import SettingsError
from reflectune.evaluate.benchmarks.catalogue import Benchmark, benchmark_of
from reflectune.evaluate.benchmarks.local import Questions, read_local
from reflectune.evaluate.scores import Arm
from reflectune.prompts import REFLECT, Prompts
from reflectune.recipe.benchmark import BenchmarkSettings

__all__ = ["Part", "bytes_of", "parts_of"]


@dataclass(frozen=True, slots=True)
class Part:
    """One benchmark, as it is asked.

    Attributes:
        benchmark: Which.
        questions: Its questions, where they come from files; `None` where they come from the hub.
        shots: Worked examples before each question.
        count: How many questions are asked.
        notes: What must be known to read its figures.
        told_to_reflect: What must be known besides, where the model is told to reflect.
    """

    benchmark: Benchmark
    questions: Questions | None
    shots: int
    count: int
    notes: tuple[str, ...]
    told_to_reflect: tuple[str, ...] = ()


def parts_of(settings: BenchmarkSettings) -> list[Part]:
    """Everything that is asked, as far as it is known without a network.

    Raises:
        InputError: A file is missing or cannot be read.
        SettingsError: A benchmark cannot be asked in this way.
    """
    if settings.data is not None and not settings.data.is_dir():
        raise SettingsError(f"There is no folder {settings.data}.", mend="Name the benchmarks' folder with --data.")
    return [_part(benchmark_of(name, settings.form), settings) for name in settings.tasks]


def _part(benchmark: Benchmark, settings: BenchmarkSettings) -> Part:
    shots = benchmark.shots if settings.shots is None else settings.shots
    if benchmark.name == "truthfulqa":
        shots = 0  # six worked examples belong to its prompt, and no others are asked with
    if shots and settings.form == "generative" and benchmark.name != "gsm8k":
        raise SettingsError(
            f"{benchmark.name} is asked without worked examples where answers are written.", mend="Leave out --shots."
        )
    questions = None if settings.data is None else read_local(settings.data, benchmark, shots)
    notes = list(questions.notes if questions else ())
    limit, count = settings.limit, len(questions.rows) if questions else benchmark.size
    tasks = _subjects(questions) if benchmark.name == "mmlu" and benchmark.form == "logprob" else None
    if limit is not None and tasks is not None:
        count = sum(min(size, limit) for size in tasks)
        notes.append(f"only the first {limit:,} of each subject are asked")
    elif limit is not None and limit < count:
        count = limit
        spread = f"only {limit:,} are asked, spread over the subjects"
        notes.append(spread if benchmark.name == "mmlu" else f"only the first {limit:,} are asked")
    if shots != benchmark.shots:
        notes.append(f"{shots} worked examples in place of {benchmark.shots}")
    if settings.form == "logprob":
        return Part(benchmark, questions, shots, count, tuple(notes))
    notes += [*_drawn(settings), *_worded(settings, f"benchmark_{benchmark.kind}.txt", "")]
    reflecting = list(_worded(settings, REFLECT, "to reflect "))
    if settings.without_output == "whole":
        reflecting.append("a reply without an <output> is scored as its whole text")
    return Part(benchmark, questions, shots, count, tuple(notes), tuple(reflecting))


def bytes_of(part: Part, settings: BenchmarkSettings, arm: Arm) -> int | None:
    """About how many bytes of UTF-8 all prompts of a benchmark take; `None` where they come from the hub."""
    if part.questions is None:
        return None
    prompts = Prompts(settings.prompts)
    around = len(prompts.text(settings.lang, f"benchmark_{part.benchmark.kind}.txt").encode())
    system = 0 if arm == "plain" else len(prompts.text(settings.lang, REFLECT).encode())
    examples = sum(around + _size(row, "question", "solution") for row in part.questions.examples)
    asked = sum(_size(row, "question", "options") for row in part.questions.rows[: part.count])
    return asked + part.count * (system + around + examples)


def _size(row: dict[str, Any], *columns: str) -> int:
    return sum(len(str(row.get(column, "")).encode("utf-8", "replace")) for column in columns)


def _drawn(settings: BenchmarkSettings) -> list[str]:
    """How replies are drawn, where it is not greedily."""
    if not settings.temperature:
        return []
    narrowed = "" if settings.top_p is None else f" and top-p {settings.top_p:g}"
    return [f"drawn with temperature {settings.temperature:g}{narrowed}"]


def _worded(settings: BenchmarkSettings, name: str, about: str) -> list[str]:
    """Whose words the model is asked in, where they are not the shipped English ones."""
    shipped, words = Prompts(), Prompts(settings.prompts).text(settings.lang, name)
    if words == shipped.text("en", name):
        return []
    return [f"told {about}in {'Chinese' if words == shipped.text('zh', name) else 'words of your own'}"]


def _subjects(questions: Questions | None) -> list[int]:
    """How many questions each subject of MMLU has; of the hub's 57 the smallest has 100."""
    if questions is None:
        return [100] * 57
    sizes: dict[str, int] = {}
    for row in questions.rows:
        sizes[row["subject"]] = sizes.get(row["subject"], 0) + 1
    return list(sizes.values())
