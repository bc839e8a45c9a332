"""A small journey's folder, made by hand, for tests of the verdict on it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from reflectune.evaluate.judge.verdicts import Look, Marks, Verdict, decided
from reflectune.recipe import TrainSettings
from reflectune.training.facts import Facts, Figures

JUDGE = "judge-7b@http://127.0.0.1:9/v1"
RECIPE = """\
name: small
data: /home/somebody/data.jsonl
oracle: oracle-70b
student: student-1b
judge: judge-7b
seeds: [0, 1]
prompts: [/home/somebody/first.jsonl]
"""

_QUIET = (
    *("stats", "arms"),
    *(f"train/{arm}-0" for arm in ("original", "recycled", "random")),
    *(f"answer/first/{arm}-0" for arm in ("original", "recycled", "random")),
    *(f"judge/first/recycled-against-{named}" for named in ("original-1", "random-0", "random-1")),
    "benchmark/recycled-0",
)
"""Stages that print nothing and ask nobody."""


def verdict(
    name: str, value: int, lengths: tuple[int, int] = (60, 50), judge: str = JUDGE, flips: bool = False
) -> Verdict:
    """1 is won, 0 a tie, -1 lost; a tie that flips prefers whoever is shown first."""
    signs = (1, -1) if flips else (value, value)
    looks = tuple(
        Look(order=order, a=Marks(overall=5 + sign), b=Marks(overall=5), raw=("",))
        for order, sign in zip(("a-first", "b-first"), signs, strict=True)
    )
    return Verdict(
        id=name,
        dataset="",
        judge=judge,
        rubric="r",
        outcome=decided(*looks),
        looks=looks,
        length_a=lengths[0],
        length_b=lengths[1],
    )


def values(wins: int, ties: int, losses: int) -> list[int]:
    """So many wins, ties and losses, shuffled the same way every time."""
    found = [1] * wins + [0] * ties + [-1] * losses
    random.Random(0).shuffle(found)
    return found


def balanced(outcomes: Sequence[int]) -> list[Verdict]:
    """Verdicts whose answers are longer half of the time, whatever the outcome."""
    lengths = random.Random(1)
    return [verdict(str(place), value, (50 + lengths.randint(-20, 20), 50)) for place, value in enumerate(outcomes)]


def judged(journey: Path, other: str, said: Sequence[Verdict], *, seed: int = 0, dataset: str = "first") -> Path:
    """A folder of verdicts of the recycled data's student against another one."""
    run = journey / "verdicts" / dataset / f"recycled-against-{other}-{seed}"
    run.mkdir(parents=True)
    (run / "verdicts.jsonl").write_text("".join(one.model_dump_json() + "\n" for one in said))
    return run


def small(journey: Path, *, seconds: float = 12.5) -> Path:
    """A whole journey: three students, two seeds, one test set."""
    for seed in (0, 1):
        judged(journey, "original", balanced(values(34, 2, 14)), seed=seed)
        judged(journey, "random", balanced(values(20, 10, 20)), seed=seed)
    (journey / "recipe.yaml").write_text(RECIPE)
    arms = {
        name: {"rows": rows, "instruction_tokens": 9, "response_tokens": 100, "mean_response_characters": 40.0}
        for name, rows in (("original", 200), ("recycled", 150), ("random", 150))
    }
    (journey / "arms").mkdir()
    (journey / "arms" / "arms.json").write_text(json.dumps(arms))
    for name in ("original-0", "recycled-0", "random-0"):
        student = journey / "students" / name
        student.mkdir(parents=True)
        figures = Figures(steps=90, last_loss=1.25, held_out_before=2.0, held_out_after=1.5)
        facts = Facts(
            name=name,
            base="owner/student-1b",
            settings=TrainSettings(student="student-1b"),
            data="x",
            rows=150,
            template="chat",
            figures=figures,
        )
        (student / "facts.json").write_text(facts.model_dump_json())
        answers = journey / "answers" / "first" / name
        answers.mkdir(parents=True)
        (answers / "answers.jsonl").write_text('{"output": "12345"}\n' * 4)
    stats = {
        "before": {"metrics": {"response_words": {"mean": 10.0}}},
        "after": {"metrics": {"response_words": {"mean": 30.0}}},
        "differences": {"response_words": {"mean": 20.0, "interval": {"low": 15.0, "high": 25.0}, "pairs": 9}},
    }
    (journey / "stats.json").write_text(json.dumps(stats))
    (journey / "pipeline.json").write_text(json.dumps({"reflectune": "0.1.0", "stages": stages(seconds)}))
    return journey


def note(journey: Path, key: str, **changes: object) -> None:
    """Have the pipeline note a stage that is done, or what has changed of one that it notes."""
    path = journey / "pipeline.json"
    known = json.loads(path.read_text())
    known["stages"][key] = {**_stage(_kind(key), 1.0, {}), **known["stages"].get(key, {}), **changes}
    path.write_text(json.dumps(known))


def forget(journey: Path, *keys: str) -> None:
    """Have the pipeline know nothing of stages, as after a change of the recipe."""
    path = journey / "pipeline.json"
    known = json.loads(path.read_text())
    known["stages"] = {key: one for key, one in known["stages"].items() if key not in keys}
    path.write_text(json.dumps(known))


def stages(seconds: float) -> dict[str, object]:
    """What a pipeline notes of the stages."""
    spent = {"requests": 10, "prompt_tokens": 1000, "completion_tokens": 500}
    made = {"rows": 200, "rewritten": 198, "failed": 2, "pending": 0}
    return {
        "recycle": _stage("recycle", seconds, made, {**spent, "cost": 1.5}),
        "gates": _stage("gates", seconds, {"marked": {"contamination": 0}}, words=("--against", "first.jsonl")),
        "select": _stage("select", seconds, {"kept": 150, "dropped": 48}),
        "judge/first/recycled-against-original-0": _stage("judge", seconds, {}, {**spent, "cost": None}),
        **{key: _stage(_kind(key), seconds, {}) for key in _QUIET},
        "verdict": _stage("verdict", seconds, {}),
    }


def _kind(key: str) -> str:
    first = key.partition("/")[0]
    return "generate" if first == "answer" else first


def _stage(
    kind: str,
    seconds: float,
    summary: Mapping[str, object],
    spent: dict[str, object] | None = None,
    words: tuple[str, ...] = (),
) -> dict[str, object]:
    return {
        "name": f"do {kind}",
        "kind": kind,
        "command": [kind, *words],
        "state": "running" if kind == "verdict" else "done",
        "fingerprint": "f",
        "seconds": seconds,
        "summary": summary,
        "spent": spent,
    }
