"""IFEval: does a reply follow instructions that a program can check? Source: Zhou et al., arXiv 2311.07911.

The checks are lm-eval's. Strict takes the reply as it is; loose also takes it without its first line, its last line,
and its asterisks.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
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
    checks = _checks()
    document = {"key": 0, "prompt": prompt, "instruction_id_list": list(names), "kwargs": list(arguments)}
    with quietly():
        # Two prompts ask for "#" and "!" as letters; the published check then draws a letter, here always the same one.
        random.seed(0)
        found = checks.process_results(document, [reply])
    return Verdicts(tuple(found["inst_level_strict_acc"]), tuple(found["inst_level_loose_acc"]))


@cache
def _checks() -> Any:
    """lm-eval's module, imported once its data is there, and made to give the same verdict each time."""
    needed: Any = load_optional("langdetect", "IFEval", "eval")
    load_optional("immutabledict", "IFEval", "eval")
    needed.DetectorFactory.seed = 0  # it draws at random else, and short texts change their language
    ready_punkt()
    with quietly():
        return load_optional("lm_eval.tasks.ifeval.utils", "IFEval", "eval")
