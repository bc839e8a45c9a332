"""Is a reply right, and what do many of them come to?"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.evaluate.benchmarks import figures_of, hooks, parts_of
from reflectune.evaluate.benchmarks.catalogue import benchmark_of
from reflectune.evaluate.benchmarks.figures import scores_of, share_of
from reflectune.evaluate.benchmarks.items import Item
from reflectune.evaluate.benchmarks.programs import program_of
from reflectune.evaluate.benchmarks.scoring import draft_is_right, output_of
from reflectune.recipe import BenchmarkSettings
from reflectune.records import Failure

THOUGHT = "<thinking>\n{}\n<reflection>\nNo: {}\n</reflection>\nSo {}.\n</thinking>\n<output>\n{}\n</output>"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (THOUGHT.format("That makes 6.", "it is 7", "it is 7", "7"), False),
        (THOUGHT.format("That makes 7.", "it is 6", "it is 6", "6"), True),
        (THOUGHT.format("Let me see.", "it is 7", "it is 7", "7"), None),
        ("<thinking>\nThat makes 7.\n</thinking>\n<output>\n8\n</output>", True),
        ("That makes 7.", None),
        ("<output>7</output>", None),
        ("<thinking>7", True),
        ("<thinking>6</thinking><reflection>7</reflection><output>7</output>", False),
    ],
)
def test_the_draft_is_what_stands_before_the_first_reflection(text: str, right: bool | None) -> None:
    assert draft_is_right("gsm8k", "7", text) is right


def test_only_the_output_is_scored() -> None:
    text = THOUGHT.format("6", "it is 7", "7", "7")
    assert output_of(text) == "7"
    assert output_of("<thinking>7") is None
    assert hooks.output([[text], ["7"]], []) == [["7"], [""]]
    assert hooks.output_or_whole([[text], ["7"]], []) == [["7"], ["7"]]


def test_a_reply_that_is_missing_has_no_marks() -> None:
    nobody = hooks.Unanswered()
    for score in (hooks.gsm8k, hooks.math, hooks.choice, hooks.ifeval, hooks.code):
        assert score({}, [nobody]) == {}
    [[kept]] = hooks.output([[nobody]], [])
    assert kept is nobody
    assert hooks.run_code([[nobody]], [{}]) == [[nobody]]


def test_marks_are_those_of_the_kind() -> None:
    assert hooks.gsm8k({"answer": "1,200"}, ["#### 1200.0"]) == {"accuracy": True}
    assert hooks.math({"answer": "\\frac{1}{2}"}, ["So \\boxed{0.5}"]) == {"accuracy": True}
    assert hooks.choice({"answer": "B"}, ["The answer is A or B"]) == {"accuracy": False}
    assert hooks.choice({"answer": "C", "count": 4}, ["(I) is no option, (C) is"]) == {"accuracy": True}
    assert hooks.code({}, ["print(1)"]) == {"pass@1": False}
    assert hooks.share([[True, False], [True]]) == pytest.approx(2 / 3)


TWICE = {
    "question": 'def twice(n):\n    """Twice."""\n',
    "entry_point": "twice",
    "test": "def check(f):\n    assert f(3) == 6",
}


@pytest.mark.parametrize(
    ("reply", "passes"),
    [
        ("    return 2 * n\n", True),
        ("```python\ndef twice(n):\n    return 2 * n\n```", True),
        ("Here:\n```python\ndef twice(n):\n    return 2 * n\n```\nUse it so:\n```python\ntwice(1)\n```", True),
        ("```\nimport math\n\ndef twice(n):\n    return math.floor(2 * n)\n```", True),
        ("def twice(n):\n    return 2 * n", True),
        ("~~~py\n    return 2 * n\n~~~", True),
        ("```python\ndef twice(n):\n    return 2 * n", True),
        ("```python\ndef twice(n):\n    return n\n```", False),
        ("I cannot.", False),
        ("", False),
    ],
)
def test_code_is_found_in_a_reply(reply: str, passes: bool) -> None:
    program = program_of(TWICE, reply)
    try:
        exec(compile(program, "program", "exec"), {})
    except (AssertionError, SyntaxError):
        assert not passes
    else:
        assert passes


HELPED = {
    "question": "from typing import List\ndef half(n):\n    return n / 2\n\ndef twice(n: int) -> int:\n    'Twice.'\n",
    "entry_point": "twice",
    "test": "def check(f):\n    assert f(3) == 6",
}
DOCUMENTED = '''```python
def twice(n):
    """Use it so:

    ```
    twice(1)
    ```
    """
    return 2 * n
```
It can then be called.'''


@pytest.mark.parametrize(
    "reply",
    [
        "```python\nfrom __future__ import annotations\n\ndef twice(n: Missing):\n    return 2 * n\n```",
        "```python\n'''Mine.'''\nfrom __future__ import annotations\ndef twice(n: Missing): return 2 * n\n```",
        "```python\ndef twice(n: List) -> int:\n    return half(4 * n)\n```",
        "1. So:\n   ```python\n   def twice(n):\n       return 2 * n\n   ```\n2. Done.",
        "1. ```python\n   def twice(n):\n       return 2 * n\n   ```",
        "So:\n```python\n    def twice(n):\n        return 2 * n\n```",
        DOCUMENTED,
        DOCUMENTED.replace("\n    ```", "\n```"),
        "Here it is:\n\ndef twice(n):\n    return 2 * n\n\nIt takes a number, and doubles it.",
        "    return 2 * n\n\nThis doubles it.",
        "```python\ndef twice(n):\n    return n\n```\nNo.\n```python\ndef twice(n):\n    return 2 * n\n```",
        "```python\ndef twice(n):\n    return 2 * n\n```\nIn C:\n```c\nint twice(int n) {}\n```",
        "```python\ndef twice(n):\n    return 2 * n\n```\nIn short:\n```python\ndef twice(n): ... ->\n```",
        "```python\ntwice = lambda n: 2 * n\n```",
        "```python\n@abs\n@abs\ndef other(): 1\n```\n```python\ndef twice(n):\n    return 2 * n if '\\d' else n\n```",
        "````python\ndef twice(n):\n    return 2 * n\n````",
    ],
)
def test_right_code_passes_however_it_is_set(reply: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none comes of reading it
        program = program_of(HELPED, reply)
        warnings.simplefilter("ignore")
        exec(compile(program, "program", "exec"), {})


@pytest.mark.parametrize(
    "begun", ["def twice(n):\n", "def twice(n):\n    'Twice.'", "import re\n@fixed\ndef twice(n):\n"]
)
def test_the_question_may_break_off_anywhere(begun: str) -> None:
    program = program_of(HELPED | {"question": begun}, "```\ndef twice(n):\n    return 2 * n\n```")
    exec(compile(program, "program", "exec"), {})


LINES = ["```", "```python", "   ~~~", "1. ```", "def twice(n):", "    return n", "a b", '"""', "\x00", ""]


@given(st.lists(st.sampled_from(LINES)))
def test_any_reply_makes_a_program(lines: list[str]) -> None:
    assert program_of(HELPED, "\n".join(lines)).endswith("check(twice)\n")


def item(mark: Any, **values: Any) -> Item:
    marks = {"accuracy": (mark,)} if isinstance(mark, bool) else dict.fromkeys(values.pop("metrics"), mark)
    return Item.model_validate(
        {"benchmark": "gsm8k", "id": "1", "model": "m", "arm": "plain", "marks": marks, "scored": "7"} | values
    )


def failed(reason: str = "timeout") -> Item:
    lack = Failure(id="1", stage="generate", reason=reason)
    return Item(benchmark="gsm8k", id="1", model="m", arm="plain", failure=lack)


def test_shares_are_over_the_replies_that_there_are() -> None:
    replies = [item(True, tokens=5, text="abcd"), item(False, tokens=7, text="ab"), failed(), item(True, scored="?")]
    [score] = scores_of(replies, benchmark_of("gsm8k", "generative"), ["told"])
    assert score.value == pytest.approx(200 / 3)
    assert (score.items, score.failed, score.tokens, score.mean_length) == (3, 1, 12, 2)
    assert score.note == "told; 1 replies state no answer that can be read, and count as wrong"
    assert (score.without_output, score.reflections, score.official) == (None, None, None)
    assert scores_of([failed()], benchmark_of("gsm8k", "generative")) == ()


def test_arms_that_reflect_tell_how() -> None:
    replies = [
        item(True, arm="reflective", without_output=False, reflections=2),
        item(False, arm="reflective", without_output=True),
    ]
    [score] = scores_of(replies, benchmark_of("gsm8k", "generative"))
    assert (score.without_output, score.reflections) == (50.0, 1.0)


def test_only_all_of_ifeval_asked_plainly_follows_the_published_procedure() -> None:
    ifeval = benchmark_of("ifeval", "generative")
    whole = [item((True, False), metrics=ifeval.metrics), item((True,), metrics=ifeval.metrics)]
    scores = {score.metric: score for score in scores_of(whole, ifeval)}
    assert scores["instruction-strict"].value == pytest.approx(200 / 3)
    assert scores["instruction-strict"].official is True
    assert scores_of(whole, ifeval, ["only the first 2 are asked"])[0].official is False
    assert scores_of([*whole, failed()], ifeval)[0].official is False
    cut = scores_of([*whole, item((True,), metrics=ifeval.metrics, finish_reason="length")], ifeval)[0]
    assert (cut.official, cut.note) == (False, "1 replies were cut off, and are scored as far as they go")


@pytest.mark.parametrize(
    ("values", "plain", "reflecting"),
    [
        ({}, (), ()),
        ({"max_tokens": 2048, "seed": 3}, (), ()),
        ({"temperature": 0.7}, ("drawn with temperature 0.7",), ()),
        ({"temperature": 0.7, "top_p": 0.9}, ("drawn with temperature 0.7 and top-p 0.9",), ()),
        ({"lang": "zh"}, (), ("told to reflect in Chinese",)),
        ({"lang": "zh", "tasks": ["math"]}, ("told in Chinese",), ("told to reflect in Chinese",)),
        ({"prompts": {"benchmark_ifeval.txt": "Do: {{question}}"}}, ("told in words of your own",), ()),
        ({"prompts": {"trace_system.txt": "Reflect."}}, (), ("told to reflect in words of your own",)),
        ({"without_output": "whole"}, (), ("a reply without an <output> is scored as its whole text",)),
        ({"limit": 2}, ("only the first 2 are asked",), ()),
    ],
)
def test_settings_that_change_figures_are_told(
    values: dict[str, Any], plain: tuple[str, ...], reflecting: tuple[str, ...], tmp_path: Path
) -> None:
    for name, text in values.get("prompts", {}).items():
        (tmp_path / "en").mkdir()
        (tmp_path / "en" / name).write_text(text)
    asked = {"tasks": ["ifeval"], "arms": ["plain", "prompt-only"]} | values
    asked |= {"prompts": str(tmp_path)} if "prompts" in values else {}
    [part] = parts_of(BenchmarkSettings.made_of(asked, source="A test"))
    assert (part.notes, part.told_to_reflect) == (plain, reflecting)
    metrics = part.benchmark.metrics
    said = [item((True,), metrics=metrics, benchmark=part.benchmark.name, arm=arm) for arm in ("plain", "prompt-only")]
    scores = {score.arm: score for score in figures_of(said, [part])}
    assert scores["plain"].note == "; ".join(plain)
    assert scores["prompt-only"].note == "; ".join((*plain, *reflecting))
    if part.benchmark.name == "ifeval":
        assert (scores["plain"].official, scores["prompt-only"].official) == (not plain, False)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(0, 10, 0.0, 27.75), (10, 10, 72.25, 100.0), (5, 10, 23.66, 76.34), (81, 263, 25.53, 36.62)],
)
def test_intervals_are_wilsons(hits: int, total: int, low: float, high: float) -> None:
    share = share_of(
        [[number < hits] for number in range(total)]
    )  # figures of Newcombe, Stat. Med. 17 (1998), for 81/263
    assert (share.interval.low, share.interval.high) == pytest.approx((low, high), abs=0.01)
    assert share.error == pytest.approx(100 * math.sqrt(hits * (total - hits) / total**2 / (total - 1)))


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=30))
def test_an_interval_holds_its_share(marks: list[list[bool]]) -> None:
    share = share_of(marks)
    assert 0 <= share.interval.low <= share.value + 1e-9
    assert share.value - 1e-9 <= share.interval.high <= 100
    assert (share.error is None) == (len(marks) == 1)


def test_marks_of_one_item_hang_together() -> None:
    together = share_of([[True] * 4, [False] * 4] * 10)
    apart = share_of([[True], [False]] * 40)
    assert together.value == apart.value == 50
    assert together.interval.high > apart.interval.high
    assert together.error == pytest.approx(2 * apart.error, rel=0.02) if apart.error else False
