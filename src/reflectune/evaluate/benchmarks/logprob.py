"""The form `logprob`: the model says how likely each given answer is, and nothing is written. lm-eval does it all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

import orjson

from reflectune.errors import MissingExtraError, OracleError, ReflectuneError, RunError, SettingsError
from reflectune.evaluate.benchmarks.figures import share_of
from reflectune.evaluate.benchmarks.harness import evaluate, quietly
from reflectune.evaluate.benchmarks.parts import Part
from reflectune.evaluate.benchmarks.tasks import Writer
from reflectune.evaluate.intervals import Interval
from reflectune.evaluate.scores import Score
from reflectune.generation.naming import is_folder, model_name
from reflectune.optional import load_optional
from reflectune.oracles.naming import Address, settings_of
from reflectune.records import digest
from reflectune.student.runtime import torch_and_transformers
from reflectune.student.weights import find_student

__all__ = ["Weigher", "open_weigher", "weigh"]

_Z = 1.959964
_AT_ONCE = {"cpu": 8, "cuda": 32}
_TRIES = 5
_LONGEST = 1 << 17
"""Tokens of a prompt for a server: it refuses what is too long, where lm-eval would cut it without a word."""


@dataclass(frozen=True, slots=True)
class Weigher:
    """A model that says how likely texts are.

    Attributes:
        name: What a person calls it.
        lm: lm-eval's model.
        mark: What tells its answers from another model's.
    """

    name: str
    lm: Any
    mark: str


def open_weigher(name: str, address: Address, tokenizer: str | None = None) -> Weigher:
    """Open a model.

    Args:
        name: A transformers folder, `hf:ID`, `local` or `local:FILE.gguf`, which is converted; else `MODEL@URL`, an
            endpoint that gives the log-probabilities of prompts (`echo` and `logprobs` of `/completions`).
        address: Where an endpoint is.
        tokenizer: The tokenizer of an endpoint's model.

    Raises:
        MissingExtraError: A package that it needs is not installed.
        OracleError: It cannot be loaded.
        SettingsError: An endpoint's model comes without its tokenizer.
    """
    load_optional("lm_eval", "Benchmarks", "eval")
    torch, _ = torch_and_transformers()
    if not (is_folder(name) or name.partition(":")[0] == "local"):
        return _served(name, address, tokenizer)
    found = find_student(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models: Any = load_optional("lm_eval.models.huggingface", "Benchmarks", "eval")
    try:
        with quietly():
            lm = models.HFLM(
                pretrained=found.folder,
                device=device,
                dtype="float32" if device == "cpu" else "bfloat16",
                batch_size=_AT_ONCE[device],
            )
    except Exception as error:  # whatever a model's own code raises
        raise OracleError(
            f"The model {found.name} cannot be loaded: {_first_line(error)}",
            mend="Name a folder of a causal language model, or hf: and its id on the hub.",
        ) from error
    return Weigher(name, lm, digest([found.name, found.revision, device]))


def _served(name: str, address: Address, tokenizer: str | None) -> Weigher:
    if tokenizer is None:
        raise SettingsError(
            f"{name} is served, and its texts are sent as tokens.",
            mend="Name its tokenizer with --tokenizer: a folder, a GGUF file or a hub id.",
        )
    settings, found = settings_of(name, address), find_student(tokenizer)
    models: Any = load_optional("lm_eval.models.openai_completions", "Benchmarks", "eval")
    with quietly():
        lm = models.LocalCompletionsAPI(
            model=settings.model,
            base_url=f"{settings.base_url.rstrip('/')}/completions",
            tokenizer=found.folder,
            header={"Authorization": f"Bearer {settings.key}"} if settings.key else {},
            num_concurrent=settings.connections,
            max_retries=_TRIES,
            max_length=_LONGEST,
            timeout=int(settings.timeout),
        )
        _check_echo(lm, name)
    return Weigher(name, lm, digest([settings.model, settings.base_url, found.name, found.revision]))


def _check_echo(lm: Any, name: str) -> None:
    """See that a server tells the log-probabilities of a prompt, before hundreds are sent.

    Raises:
        OracleError: It does not, or cannot be reached.
    """
    tokens = lm.tok_encode("One two three")
    try:
        said = lm.model_call([tokens], generate=False)
        lm.parse_logprobs(said, ctxlens=[1])
    except Exception as error:  # whatever the connection raises, or an answer without what is looked for
        raise OracleError(
            f"{name} does not tell the log-probabilities of prompts: {_first_line(error)}",
            mend="Use a server that takes `echo` and `logprobs` at /completions, as vLLM does, or a model here.",
        ) from error


def weigh(
    weigher: Weigher, parts: Sequence[Part], run: Path, *, limit: int | None = None, bars: bool = False
) -> list[Score]:
    """Put a model to benchmarks; what it says of each question goes into `samples-TASK.jsonl`.

    Args:
        weigher: The model.
        parts: The benchmarks.
        run: The run's folder, which keeps what was weighed: nothing is weighed twice.
        limit: How many questions of each task are asked.
        bars: Whether to show how far it is.

    Raises:
        InputError: A data set cannot be loaded.
        OracleError: The model cannot be used.
        RunError: A file cannot be written.
    """
    api: Any = load_optional("lm_eval.api.model", "Benchmarks", "eval")
    writer = Writer(run / "tasks")
    local = {
        part.benchmark.name: writer.logprob(part.benchmark, part.questions, part.shots)
        for part in parts
        if part.questions is not None
    }
    names = {part.benchmark.name: local.get(part.benchmark.name, part.benchmark.task) for part in parts}
    shipped = {part.benchmark.task: part.shots for part in parts if part.questions is None}
    try:
        kept = api.CachingLM(weigher.lm, str(run / f"weighed-{weigher.mark}.db"))
        folder = writer.folder if local else None
        found = evaluate(kept, list(names.values()), folder, shipped=shipped, limit=limit, bars=bars)
    except ReflectuneError:
        raise
    except ImportError as fault:
        raise MissingExtraError(f"Benchmarks: {fault}", mend="pip install 'reflectune[eval]'") from fault
    except Exception as error:  # whatever the model or the server raises
        raise OracleError(
            f"{weigher.name} cannot be put to {', '.join(names.values())}: {_first_line(error)}",
            mend="See that its memory and its context hold the prompts; what was weighed is kept.",
        ) from error
    _log(found["samples"], run)
    return [_score(weigher, part, names[part.benchmark.name], found) for part in parts]


def _score(weigher: Weigher, part: Part, task: str, found: dict[str, Any]) -> Score:
    metric = part.benchmark.metrics[0]
    figures = found["groups" if task in found.get("groups", {}) else "results"][task]
    value, error = 100 * figures[f"{metric},none"], figures.get(f"{metric}_stderr,none")
    prefix = task + "_"
    own = [
        name for name in found["samples"] if name == task or (part.benchmark.name == "mmlu" and name.startswith(prefix))
    ]
    samples = [sample for name in own for sample in found["samples"][name]]
    marks = [float(sample[metric]) for sample in samples]
    cut = _cut(weigher.lm, samples)
    notes = [
        *part.notes,
        *([f"{cut:,} prompts are longer than the model reads, and lose their beginning"] if cut else []),
    ]
    if isinstance(error, float):
        error *= 100
    else:  # lm-eval has none where a task has a single question
        error = 100 * stdev(marks) / math.sqrt(len(marks)) if len(marks) > 1 else None
    mc2 = part.benchmark.name == "truthfulqa"
    interval = _around(value, error) if mc2 else share_of([[mark == 1] for mark in marks]).interval
    return Score(
        model=model_name(weigher.name),
        benchmark=part.benchmark.name,
        form="logprob",
        metric="mc2" if mc2 else metric.replace("_", "-"),
        value=value,
        low=interval and interval.low,
        high=interval and interval.high,
        standard_error=error,
        items=len(marks),
        shots=part.shots,
        official=part.questions is None and not notes,
        note="; ".join(notes),
        replies=f"samples-{task}.jsonl",
    )


def _around(value: float, error: float | None) -> Interval | None:
    """Where a mean lies: none where its figures are all alike, which says nothing of the questions not asked."""
    return Interval(max(0.0, value - _Z * error), min(100.0, value + _Z * error)) if error else None


def _cut(lm: Any, samples: Sequence[dict[str, Any]]) -> int:
    """How many questions have a prompt that is longer than the model reads, which lm-eval then cuts from the left."""
    texts = [max((context + choice for context, choice in sample["arguments"]), key=len) for sample in samples]
    longest = lm.max_length + 1
    return sum(len(lm.tok_encode(text)) > longest for text in texts if len(text) > longest)


def _log(samples: dict[str, list[dict[str, Any]]], run: Path) -> None:
    """Write what the model said of each question: one file for each task, and for MMLU one in all."""
    files: dict[str, list[dict[str, Any]]] = {}
    for task, rows in samples.items():
        head, mark, _ = task.partition("mmlu_")
        files.setdefault(head + "mmlu" if mark else task, []).extend({"task": task, **row} for row in rows)
    for name, rows in files.items():
        path = run / f"samples-{name}.jsonl"
        try:
            path.write_bytes(
                b"".join(orjson.dumps(row, default=str, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n" for row in rows)
            )
        except OSError as error:
            raise RunError(f"Cannot write {path}: {error}.", mend="Name another folder with --run.") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
