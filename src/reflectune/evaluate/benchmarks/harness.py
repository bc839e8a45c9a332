"""lm-eval, called so that it says nothing, changes nothing and reaches for nothing that was not asked for."""

from __future__ import annotations

import contextlib
import logging
import random
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from reflectune.errors import InputError, ReflectuneError
from reflectune.optional import load_optional

__all__ = ["evaluate", "quietly"]

_BARS = ("lm_eval.api.task", "lm_eval.api.model", "lm_eval.models.huggingface", "lm_eval.models.api_models")
"""Modules that show bars: of writing prompts, of looking up what is known, of running a model."""
_LOGGERS = ("lm_eval", "datasets", "evaluate", "huggingface_hub")
_SEED = 1234
_BOOTSTRAPS = 1
"""None is drawn: every metric here is a mean, whose error is a formula, or has an error of ours."""


def evaluate(  # noqa: PLR0913
    lm: Any,
    tasks: Sequence[str],
    folder: Path | None,
    *,
    shipped: Mapping[str, int] | None = None,
    limit: int | None = None,
    chat: bool = False,
    run_code: bool = False,
    bars: bool = False,
) -> dict[str, Any]:
    """Put a model to tasks.

    Args:
        lm: An `LM` of lm-eval's.
        tasks: The tasks' names.
        folder: A folder of task files.
        shipped: How many worked examples those of the tasks are given that lm-eval ships, or all tasks of its groups.
            To look for them takes some seconds.
        limit: How many questions of each task are asked.
        chat: Whether the model takes messages.
        run_code: Whether tasks may run code.
        bars: Whether a model that lm-eval runs shows how far it is.

    Returns:
        lm-eval's results: `results` and `groups` by task, `samples` by task, `n-samples`, `n-shot`.

    Raises:
        InputError: A data set cannot be loaded.
        MissingExtraError: lm-eval is not installed.
        Unfinished: Asking stopped early.
    """
    evaluator: Any = load_optional("lm_eval.evaluator", "Benchmarks", "eval")
    manager: Any = load_optional("lm_eval.tasks", "Benchmarks", "eval")
    with quietly(bars=bars):
        try:
            loaded = manager.TaskManager(include_path=folder and str(folder), include_defaults=bool(shipped)).load(
                list(tasks)
            )
        except ReflectuneError:
            raise
        except Exception as error:  # whatever the libraries below it raise: no network, no such data set, no access
            raise InputError(
                f"The questions of {', '.join(tasks)} cannot be loaded: {_told(error)}",
                mend="Check the network and your access to the hub, or name a folder of files with --data.",
            ) from error
        for name, task in loaded["tasks"].items():
            for known, shots in (shipped or {}).items():
                if name == known or name.startswith(f"{known}_"):
                    task.set_config(key="num_fewshot", value=shots)
            task.set_fewshot_seed(seed=_SEED)
        found: dict[str, Any] = evaluator.evaluate(
            lm=lm,
            task_dict=loaded,
            limit=limit,
            bootstrap_iters=_BOOTSTRAPS,
            log_samples=True,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
            confirm_run_unsafe_code=run_code,
        )
    return found


@contextlib.contextmanager
def quietly(*, bars: bool = False) -> Iterator[None]:
    """Within it the libraries neither log nor warn nor print; afterwards loggers, bars and dice are as they were.

    What a library does once, when it is first imported, stays: lm-eval asks the hub's library for fast downloads by
    `HF_XET_HIGH_PERFORMANCE` in the environment, where nobody has set it.

    Args:
        bars: Whether a model that lm-eval runs shows how far it is, on standard error.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    state = random.getstate()
    with (
        contextlib.ExitStack() as restored,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(sys.stderr),
    ):
        warnings.simplefilter("ignore")
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(logging.ERROR)
            restored.callback(logger.setLevel, level)
        restored.callback(random.setstate, state)
        _hide_bars(restored, _BARS[:1] if bars else _BARS)
        yield


def _hide_bars(restored: contextlib.ExitStack, names: Sequence[str]) -> None:
    shown: Any = load_optional("datasets", "Benchmarks", "eval").utils.logging
    if shown.is_progress_bar_enabled():
        shown.disable_progress_bar()
        restored.callback(shown.enable_progress_bar)
    for name in names:
        module: Any = sys.modules.get(name)
        if (bar := getattr(module, "tqdm", None)) is not None:
            restored.callback(setattr, module, "tqdm", bar)
            module.tqdm = _hidden(bar)
        if (gathered := getattr(module, "tqdm_asyncio", None)) is not None:
            restored.callback(setattr, module, "tqdm_asyncio", gathered)
            module.tqdm_asyncio = SimpleNamespace(gather=_hidden(gathered.gather))


def _hidden(bar: Any) -> Any:
    """A bar that is not shown, whatever its caller says."""
    return lambda *args, **kwargs: bar(*args, **kwargs | {"disable": True})


def _told(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
