"""Have a model answer prompts: read, ask, save."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import typer

from reflectune.cli.clustering import Outing, inquire_abroad, working_on
from reflectune.cli.inquiry import Inquiry, inquire, show
from reflectune.cli.most import most, plain_most, show_most
from reflectune.cli.recycle import name_of
from reflectune.cli.screen import Meter, err, say, say_what_changed
from reflectune.cluster import Cluster
from reflectune.cluster.work import Generating
from reflectune.errors import SettingsError
from reflectune.exports.kit import counted
from reflectune.formats import check_target, write_rows
from reflectune.generation import Generated, Prompt, generate, open_model
from reflectune.generation.naming import file_name, model_name
from reflectune.generation.prompts import Asked as Question
from reflectune.generation.prompts import read_prompts
from reflectune.language import prompt_language
from reflectune.oracles.engine import Engine
from reflectune.prompts import REFLECT, Prompts
from reflectune.recipe import GenerateSettings, Recipe
from reflectune.records import Failure, Record
from reflectune.tags import parse

ANSWERS, FAILURES = "answers.jsonl", "answer_failures.jsonl"
_NOTE = "generate.yaml"
_FAILED = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        recipe: The prompts, the model and its limits.
        settings: How it answers.
        run: The run's folder; by default named after the data and the model.
        name: What the model is called in the answers.
        quiet: Whether to show only errors.
        cluster: The Ray cluster that does it; by default this process does.
    """

    recipe: Recipe
    settings: GenerateSettings
    run: Path | None = None
    name: str | None = None
    quiet: bool = False
    cluster: Cluster | None = None

    @property
    def model(self) -> str:
        """What the model is called in the answers."""
        reflecting = "-reflecting" if self.settings.reflect else ""
        return self.name or f"{model_name(self.recipe.oracle)}{reflecting}"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        if self.run is not None:
            return self.run
        return Path("runs") / file_name(f"{name_of(self.recipe.data)}-{self.model}")


def carry_out(asked: Asked, *, dry_run: bool, as_json: bool) -> None:
    """Do what is asked, say what it came to, and end with the exit code that says so.

    Raises:
        InputError: The prompts cannot be read.
        OracleError: The model cannot be used; what it said before is kept.
        RunError: The run's folder cannot be used.
        SettingsError: What is asked does not fit the place.
    """
    started = time.monotonic()
    output = asked.recipe.output
    if output is not None:
        check_target(output)
        if output.resolve() == Path(asked.recipe.data).resolve():
            raise SettingsError(f"{output} would overwrite the prompts.", mend="Name another file with --output.")
    rows = read_prompts(asked.recipe.data, asked.recipe.limit)
    questions = [row for row in rows if isinstance(row, Question)]
    told = f"{asked.recipe.data}: {counted(len(rows), 'row')}, {counted(len(questions), 'prompt')}"
    say(told, quiet=asked.quiet)
    if dry_run:
        _show_estimate(asked, len(rows), questions, as_json=as_json)
        return
    _note_settings(asked)
    made: dict[str, Generated | Failure] = {row.id: row for row in rows if isinstance(row, Failure)}
    with working_on(asked.cluster, quiet=asked.quiet) as as_parts:
        inquiry = _ask(asked, questions, made, total=len(rows))
        answers, failures = _write(asked, questions, made)
        as_parts(asked.folder / ANSWERS)
    summary = {
        "run": str(asked.folder),
        "model": asked.model,
        "rows": len(rows),
        "answers": len(answers),
        "failed": len(failures),
        "pending": len(rows) - len(answers) - len(failures),
        "failures": dict(sorted(Counter(failure.reason for failure in failures).items())),
        "without_output": sum(not row["output"] for row in answers) if asked.settings.reflect else None,
        "cut_off": sum(isinstance(one, Generated) and one.finish_reason == "length" for one in made.values()),
        **inquiry.summary(),
        "seconds": round(time.monotonic() - started, 3),
    }
    if not asked.quiet:
        _show(asked, summary)
    if as_json:
        typer.echo(orjson.dumps(summary).decode())
    if code := _exit_code(asked.recipe, summary, inquiry):
        raise typer.Exit(code)


def _write(
    asked: Asked, questions: list[Question], made: dict[str, Generated | Failure]
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """Write the answers and what has none; returns both."""
    answers = [_answer(asked, row, made[row.id]) for row in questions if isinstance(made.get(row.id), Generated)]
    failures = [one for one in made.values() if isinstance(one, Failure)]
    for path in (asked.folder / ANSWERS, *([asked.recipe.output] if asked.recipe.output else [])):
        write_rows(path, answers)
    asked.settings.save(asked.folder / _NOTE)
    write_rows(asked.folder / FAILURES, (failure.model_dump() for failure in failures))
    return answers, failures


def _note_settings(asked: Asked) -> None:
    """Say which settings differ from those of the answers that are there: they will be replaced."""
    path = asked.folder / _NOTE
    if (asked.folder / ANSWERS).is_file() and path.is_file():
        before = GenerateSettings.load(path).model_dump()
        say_what_changed(before, asked.settings.model_dump(), quiet=asked.quiet)


def _show_estimate(asked: Asked, rows: int, questions: list[Question], *, as_json: bool) -> None:
    prompt = partial(_prompt, asked, Prompts())
    contents = (message.content for row in questions for message in prompt(row).messages)
    size = sum(len(content.encode("utf-8", "replace")) for content in contents)
    found = [most(asked.recipe, len(questions), size, asked.settings.sampling)]
    show_most(found, quiet=asked.quiet)
    if as_json:
        typer.echo(orjson.dumps({"rows": rows, "requests": len(questions), **plain_most(found)}).decode())


def _prompt(asked: Asked, prompts: Prompts, row: Question) -> Prompt:
    reflect = prompts.text(prompt_language(row.question), REFLECT) if asked.settings.reflect else ""
    system = "\n\n".join(text for text in (reflect, asked.settings.system) if text)
    return Prompt(row.id, row.messages(system))


def _ask(asked: Asked, questions: list[Question], made: dict[str, Generated | Failure], total: int) -> Inquiry:
    prompt = partial(_prompt, asked, Prompts())
    reasons: Counter[str] = Counter()
    with Meter(total, len(made), quiet=asked.quiet) as meter:
        if asked.cluster is not None:

            def take(replied: Record) -> None:
                if isinstance(replied, Generated | Failure):
                    made[replied.id] = replied

            work = partial(Generating, settings=asked.settings)
            rows = list(map(prompt, questions))
            outing = Outing(asked.cluster, asked.folder, asked.recipe, work, rows, take)
            return inquire_abroad(outing, meter, quiet=asked.quiet)

        async def answers_of(engine: Engine) -> None:
            sampling = asked.settings.sampling(engine.oracle.sampling)
            async with aclosing(generate(map(prompt, questions), engine, sampling)) as replies:
                async for replied in replies:
                    made[replied.id] = replied
                    if isinstance(replied, Failure):
                        reasons[replied.reason] += 1
                    show(meter, engine, len(made), dict(reasons))

        return inquire(asked.folder, asked.recipe, answers_of, open_with=open_model)


def _answer(asked: Asked, row: Question, made: Generated | Failure) -> dict[str, Any]:
    """The row as it was read, with its instruction, the answer and who gave it."""
    if not isinstance(made, Generated):
        raise TypeError(f"{row.id} has no answer")
    answer = {
        **row.raw,
        "instruction": row.instruction,
        **({"input": row.input} if row.input else {}),
        "output": made.text,
        "generator": asked.model,
        "dataset": row.raw.get("dataset") or name_of(asked.recipe.data),
        "tokens": made.completion_tokens,
    }
    if asked.settings.reflect:
        answer |= {"output": parse(made.text).output or "", "reply": made.text}
    return answer


def _show(asked: Asked, summary: dict[str, Any]) -> None:
    err.print(f"{summary['answers']:,} answers of {asked.model}, {summary['completion_tokens']:,} tokens new")
    if asked.settings.reflect:
        err.print(f"{summary['without_output']:,} replies have no <output>: their answer is empty")
    if summary["cut_off"]:
        err.print(f"{summary['cut_off']:,} answers were cut off at the longest that --max-tokens allows")
    if summary["failed"]:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in summary["failures"].items())
        err.print(f"{summary['failed']:,} failed: {listed}")
    if summary["pending"]:
        err.print(f"Pending: {counted(summary['pending'], 'row')}; the same command goes on.")
    err.print(str(asked.recipe.output or asked.folder / ANSWERS))


def _exit_code(recipe: Recipe, summary: dict[str, Any], inquiry: Inquiry) -> int:
    if summary["pending"] and inquiry.stopped:
        return 4 if inquiry.stopped == "budget" else 130
    return _FAILED if summary["failed"] > recipe.max_failed * summary["rows"] else 0
