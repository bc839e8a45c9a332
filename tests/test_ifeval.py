"""IFEval: its data without a network, and its verdicts beside those that others published."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reflectune.errors import MissingExtraError, RunError
from reflectune.evaluate.benchmarks import ifeval, punkt
from reflectune.evaluate.benchmarks.ifeval import verdicts

MODELS = {
    "Qwen__Qwen2.5-1.5B-Instruct-GPTQ-Int4": (37.15, 49.52, 42.14, 53.84),
    "claude-3-5-sonnet-20240620": (82.26, 88.13, 89.28, 93.05),
    "gpt4_20231107": (77.22, 83.77, 79.63, 85.58),
    "hugging-quants__Meta-Llama-3.1-8B-Instruct-AWQ-INT4": (72.09, 80.10, 75.79, 82.97),
    "mistralai__Mistral-7B-Instruct-v0.3": (47.13, 58.99, 51.39, 63.43),
}
"""Strict by prompt and by instruction, then loose, from the stored verdicts."""

DRAWN = "the letter that is asked for is # or !, and the published check draws another one at random"
LANGUAGE = "langdetect draws at random where nobody gives it a seed, and the text is short or in two languages"
REASONS = {
    ("1122", "keywords:letter_frequency"): DRAWN,
    ("1129", "keywords:letter_frequency"): DRAWN,
    ("3617", "change_case:english_capital"): LANGUAGE,
    ("3112", "language:response_language"): LANGUAGE,
}
"""Every instruction on which we and a stored verdict are apart, and why."""


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_strict_takes_the_reply_as_it_is_and_loose_does_not() -> None:
    names, arguments = ["startend:end_checker", "punctuation:no_comma"], [{"end_phrase": "That is all."}, {}]
    found = verdicts("Say it.", names, arguments, "Sure, here it is:\nRain falls. That is all.\n*")
    assert found.strict == (False, False)
    assert found.loose == (True, True)
    assert verdicts("Say it.", names, arguments, "Rain falls. That is all.").strict == (True, True)
    assert verdicts("Say it.", names, arguments, "").loose == (False, False)


def test_sentences_are_split_by_the_model_of_abbreviations() -> None:
    names, arguments = ["length_constraints:number_sentences"], [{"relation": "less than", "num_sentences": 2}]
    assert verdicts("Say it.", names, arguments, "Dr. Smith met Mrs. Jones in Jan. for tea.").strict == (True,)
    assert verdicts("Say it.", names, arguments, "He came. She left.").strict == (False,)


def test_a_verdict_is_always_the_same_and_leaves_no_trace() -> None:
    names = ["keywords:letter_frequency", "language:response_language"]
    arguments = [{"letter": "#", "let_frequency": 2, "let_relation": "at least"}, {"language": "de"}]
    random.seed(5)
    state = random.getstate()
    found = {verdicts("Say it.", names, arguments, "Das ist zwei and three ## aaa eee") for _ in range(10)}
    assert len(found) == 1
    assert random.getstate() == state


def test_nothing_of_langdetect_and_nltk_stays_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, languages = pytest.importorskip("nltk.data"), pytest.importorskip("langdetect")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(data, "path", ["/nowhere"])
    monkeypatch.setattr(languages.DetectorFactory, "seed", 5)
    ifeval._model.cache_clear()
    names = ["language:response_language"]
    assert verdicts("Say it.", names, [{"language": "de"}], "Das Wetter ist heute leider sehr schlecht.").strict == (
        True,
    )
    assert (data.path, languages.DetectorFactory.seed) == (["/nowhere"], 5)
    assert ifeval._model() == str(tmp_path / "reflectune/nltk_data")
    ifeval._model.cache_clear()


@pytest.mark.parametrize("model", MODELS)
def test_verdicts_come_to_what_is_published(data: Path, model: str) -> None:
    own = model.startswith("gpt4")
    asked = rows(data / "ifeval" / ("input_data.jsonl" if own else "mifeval_en_input_data.jsonl"))
    replies = {row["prompt"]: row["response"] for row in rows(data / f"ifeval/{model}_responses.jsonl")}
    stored = rows(data / f"ifeval/{model}_verdicts.jsonl")
    asked = [row for row in asked if row["prompt"] in replies]
    assert len(asked) == len(stored) == (540 if own else 541)
    counts, theirs, apart = [0] * 4, [0] * 4, set()
    for row, kept in zip(asked, stored, strict=True):
        assert row["prompt"].startswith(kept["prompt_head"])
        names = [name.removeprefix("en:") for name in row["instruction_id_list"]]
        found = verdicts(row["prompt"], names, row["kwargs"], replies[row["prompt"]])
        for place, (ours, other) in enumerate(((found.strict, kept["strict"]), (found.loose, kept["loose"]))):
            for tally, marks in ((counts, ours), (theirs, other)):
                tally[2 * place] += all(marks)
                tally[2 * place + 1] += sum(marks)
            apart |= {(str(row["key"]), name) for name, a, b in zip(names, ours, other, strict=True) if a is not b}
    sizes = [len(asked), sum(len(row["instruction_id_list"]) for row in asked)] * 2
    published = tuple(round(100 * count / size, 2) for count, size in zip(theirs, sizes, strict=True))
    assert published == MODELS[model]
    assert [100 * count / size for count, size in zip(counts, sizes, strict=True)] == pytest.approx(published, abs=0.4)
    assert apart <= REASONS.keys()


class Model:
    """A model of sentences."""

    ABBREV_TYPES = frozenset({"dr", "a.m"})
    COLLOCATIONS = frozenset({("##number##", "b"), ("x", "y")})
    ORTHO_CONTEXT: ClassVar = {"the": 46, "a": 4}
    SENT_STARTERS = frozenset({"he"})


def test_the_model_is_written_as_nltk_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pytest.importorskip("nltk.data")
    tokenize = pytest.importorskip("nltk.tokenize.punkt")
    folder = tmp_path / "tokenizers/punkt_tab/english"
    punkt.write_model(Model, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(punkt._FILES)
    monkeypatch.setattr(data, "path", [str(tmp_path)])
    read = tokenize.load_punkt_params(data.find("tokenizers/punkt_tab/english/"))
    assert read.abbrev_types == Model.ABBREV_TYPES
    assert read.collocations == Model.COLLOCATIONS
    assert read.sent_starters == Model.SENT_STARTERS
    assert dict(read.ortho_context) == Model.ORTHO_CONTEXT


def test_without_any_model_the_mend_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pytest.importorskip("nltk.data")
    monkeypatch.setattr(data, "path", [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "punkt.data.english", None)
    with pytest.raises(MissingExtraError) as caught:
        punkt.ready_punkt()
    assert "nltk.downloader punkt_tab" in caught.value.mend
    assert not list(tmp_path.rglob("*.tab"))


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        punkt.write_model(Model, tmp_path / "file" / "english")


def test_a_fresh_machine_needs_no_network_and_prints_nothing(tmp_path: Path) -> None:
    program = (
        "import socket\n"
        "def refused(*_): raise OSError('no network')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused\n"
        "from reflectune.evaluate.benchmarks.ifeval import verdicts\n"
        "names, kwargs = ['length_constraints:number_sentences'], [{'relation': 'at least', 'num_sentences': 2}]\n"
        "assert verdicts('p', names, kwargs, 'One is here. Two is there.').strict == (True,)\n"
    )
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=home, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list((tmp_path / "reflectune/nltk_data/tokenizers/punkt_tab/english").iterdir())) == 4
