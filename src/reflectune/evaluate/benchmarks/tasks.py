"""Task files for lm-eval: YAML, with the questions as JSON lines beside it where they come from local files.

They are lm-eval's own format, so that its command runs them too: `lm_eval --include_path RUN/tasks --tasks
reflectune_gsm8k --model ...`. Of the form `logprob` a file only says where the questions are, and takes all else from
the task that lm-eval ships.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from reflectune.errors import MissingExtraError, RunError
from reflectune.evaluate.benchmarks.catalogue import Benchmark
from reflectune.evaluate.benchmarks.local import Questions
from reflectune.evaluate.scores import Arm

__all__ = ["Writer"]

_HOOKS = "reflectune.evaluate.benchmarks.hooks"
_JINJA = re.compile(r"\{%|\{#")
_LM_EVAL_OPTIONS: dict[str, dict[str, Any]] = {
    "arc_challenge": {"include": "arc/arc_challenge.yaml", "test": "test_split", "examples": "training_split"},
    "hellaswag": {"include": "hellaswag/hellaswag.yaml", "test": "validation_split", "examples": "training_split"},
    "mmlu": {"include": "mmlu/default/_default_template_yaml", "test": "test_split", "examples": "fewshot_split"},
    "truthfulqa": {"include": "truthfulqa/truthfulqa_mc2.yaml", "test": "validation_split"},
}
_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


class _Function(str):
    """A function that a task file names."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Function, lambda dumper, name: dumper.represent_scalar("!function", str(name)))


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes task files.

    Attributes:
        folder: Where to.
    """

    folder: Path

    def generative(  # noqa: PLR0913 - what a task file is made of
        self,
        benchmark: Benchmark,
        questions: Questions | None,
        instruction: str,
        *,
        arm: Arm,
        shots: int = 0,
        whole: bool = False,
        max_tokens: int = 2048,
    ) -> str:
        """Write the task of a benchmark whose answers are written.

        Args:
            benchmark: Which.
            questions: The questions; `None` for those of the hub.
            instruction: What is asked, with `{{question}}` in it.
            arm: How it is asked: all but `plain` score what stands in the `<output>`.
            shots: Worked examples before each question.
            whole: Whether a reply without an `<output>` is scored as its whole text.
            max_tokens: The most tokens of a reply, for models that lm-eval opens itself.

        Returns:
            The task's name.

        Raises:
            RunError: It cannot be written.
        """
        name = f"reflectune_{benchmark.name}" + ("" if arm == "plain" else f"_{arm.replace('-', '_')}")
        steps = [] if arm == "plain" else [_custom("output_or_whole" if whole else "output")]
        if benchmark.kind == "code":
            steps.append(_custom("run_code"))
        steps.append({"function": "take_first"})
        task = {
            "task": name,
            **self._data(benchmark, questions, benchmark.name, shots),
            "output_type": "generate_until",
            "doc_to_text": _as_jinja(instruction),
            "doc_to_target": "{{solution}}" if benchmark.kind == "gsm8k" else "{{answer}}",
            "process_results": _hook(benchmark.kind),
            "metric_list": [
                {
                    "metric": metric,
                    "aggregation": _hook("share") if metric.startswith("instruction") else "mean",
                    "higher_is_better": True,
                }
                for metric in benchmark.metrics
            ],
            "filter_list": [{"name": "scored", "filter": steps}],
            "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": max_tokens},
            "num_fewshot": shots,
            "unsafe_code": benchmark.kind == "code",
            "metadata": {"version": 1.0},
        }
        self._write(name, task)
        return name

    def logprob(self, benchmark: Benchmark, questions: Questions, shots: int) -> str:
        """Write the task, or the group of tasks, of a benchmark whose answers are only weighed.

        Raises:
            MissingExtraError: lm-eval is not installed.
            RunError: It cannot be written.
        """
        if benchmark.name != "mmlu":
            return self._weighed(benchmark, questions, f"reflectune_{benchmark.task}", shots)
        names = []
        for subject in sorted({row["subject"] for row in questions.rows}):
            part = Questions(_of(subject, questions.rows), _of(subject, questions.examples))
            about = subject.replace("_", " ")
            description = f"The following are multiple choice questions (with answers) about {about}.\n\n"
            name = f"reflectune_mmlu_{subject}"
            names.append(self._weighed(benchmark, part, name, shots, description=description))
        group = {
            "group": "reflectune_mmlu",
            "task": names,
            "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
            "metadata": {"version": 1.0},
        }
        self._write("reflectune_mmlu", group)
        return "reflectune_mmlu"

    def _weighed(
        self, benchmark: Benchmark, questions: Questions, name: str, shots: int, *, description: str = ""
    ) -> str:
        options = _LM_EVAL_OPTIONS[benchmark.name]
        splits: dict[str, str | None] = dict.fromkeys(_SPLITS)
        splits[options["test"]] = "test"
        if shots:
            splits[options["examples"]] = "examples"
            splits["fewshot_split"] = "examples"
        task: dict[str, Any] = {
            "include": str(_shipped_tasks() / options["include"]),
            "task": name,
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": self._files(questions, name, examples=bool(shots)),
            **splits,
            "fewshot_config": {"sampler": "first_n"},
            "num_fewshot": shots,
            "tag": [],
        }
        self._write(name, task | ({"description": description} if description else {}))
        return name

    def _data(self, benchmark: Benchmark, questions: Questions | None, stem: str, shots: int) -> dict[str, Any]:
        if questions is not None:
            kwargs = self._files(questions, stem, examples=bool(shots))
            found: dict[str, Any] = {"dataset_path": "json", "dataset_kwargs": kwargs, "test_split": "test"}
            return found | ({"fewshot_split": "examples", "fewshot_config": {"sampler": "first_n"}} if shots else {})
        hub = benchmark.hub
        found = {"dataset_path": hub.path, "dataset_name": hub.name, "test_split": hub.split}
        found["process_docs"] = _hook(f"questions_of_{benchmark.name}")
        return found | ({"fewshot_split": benchmark.examples} if shots else {})

    def _files(self, questions: Questions, stem: str, *, examples: bool) -> dict[str, Any]:
        """Where the questions lie, and where the data sets' library keeps its own form of them: in the same folder."""
        files = {"test": str(self._rows(f"{stem}.test.jsonl", questions.rows))}
        if examples:
            files["examples"] = str(self._rows(f"{stem}.examples.jsonl", questions.examples))
        return {"data_files": files, "cache_dir": str((self.folder / ".cache").resolve())}

    def _rows(self, name: str, rows: Iterable[dict[str, Any]]) -> Path:
        return self._put(name, b"".join(orjson.dumps(row) + b"\n" for row in rows)).resolve()

    def _write(self, name: str, task: dict[str, Any]) -> None:
        self._put(f"{name}.yaml", yaml.dump(task, Dumper=_Dumper, sort_keys=False, allow_unicode=True).encode())

    def _put(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not path.is_file() or path.read_bytes() != content:  # a file of its age needs no new cache
                path.write_bytes(content)
        except OSError as error:
            raise RunError(f"Cannot write {path}: {error}.", mend="Name another folder with --run.") from error
        return path


def _of(subject: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["subject"] == subject]


def _hook(name: str) -> _Function:
    return _Function(f"{_HOOKS}.{name}")


def _custom(name: str) -> dict[str, Any]:
    return {"function": "custom", "filter_fn": _hook(name)}


def _as_jinja(text: str) -> str:
    """A prompt as a template of Jinja's, to which `{%` and `{#` would say something too."""
    return _JINJA.sub(lambda found: "{{ '" + found[0] + "' }}", text)


def _shipped_tasks() -> Path:
    """Where lm-eval keeps its task files."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("Benchmarks: lm_eval is not installed", mend="pip install 'reflectune[eval]'")
    return Path(spec.submodule_search_locations[0]) / "tasks"
