"""IFEval: does a reply follow instructions that a program can check? Source: Zhou et al., arXiv 2311.07911.

The checks are lm-eval's. Strict takes the reply as it is; loose also takes it without its first line, its last line,
and its asterisks.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from reflectune.evaluate.benchmarks.harness import quietly
from reflectune.evaluate.benchmarks.punkt import ready_punkt
from reflectune.optional import load_optional

__all__ = ["Verdicts", "verdicts"]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Which instructions a reply follows, in their order.

    Attributes:
        strict: Taken as it is.
        loose: Taken with some leniency.
    """

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


def verdicts(prompt: str, names: Sequence[str], arguments: Sequence[dict[str, Any]], reply: str) -> Verdicts:
    """Check a reply.

    Args:
        prompt: What was asked.
        names: The instructions in it, by IFEval's names.
        arguments: What each instruction says more precisely.
        reply: The reply.

    Raises:
        MissingExtraError: A package that it needs is not installed.
    """
    document = {"key": 0, "prompt": prompt, "instruction_id_list": list(names), "kwargs": list(arguments)}
    with quietly(), _steadily():
        checks = load_optional("lm_eval.tasks.ifeval.utils", "IFEval", "eval")
        # Two prompts ask for "#" and "!" as letters; the published check then draws a letter, here always the same one.
        random.seed(0)
        found = checks.process_results(document, [reply])
    return Verdicts(tuple(found["inst_level_strict_acc"]), tuple(found["inst_level_loose_acc"]))


@contextlib.contextmanager
def _steadily() -> Iterator[None]:
    """Within it NLTK finds its model and langdetect always draws the same; afterwards both are as they were."""
    languages: Any = load_optional("langdetect", "IFEval", "eval")
    load_optional("immutabledict", "IFEval", "eval")
    data: Any = load_optional("nltk.data", "IFEval", "eval")
    factory, kept = languages.DetectorFactory, _model()
    paths, seed = list(data.path), factory.seed
    factory.seed = 0  # it draws at random else, and short texts change their language
    data.path += [] if kept is None else [kept]
    try:
        yield
    finally:
        factory.seed, data.path[:] = seed, paths


_model = cache(ready_punkt)
