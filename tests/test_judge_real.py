"""The judge's figures on published verdicts: reviews of Cherry LLM, PandaLM's and LLMBar's judges."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from reflectune.evaluate.judge import Verdict, matched, model_names, read_answers
from reflectune.evaluate.judge.agreement import agreement, agreement_by_order, majority
from reflectune.evaluate.judge.evaluation import Judged, agreements, lines
from reflectune.evaluate.judge.figures import mean_scores, tally
from reflectune.evaluate.judge.reviews import read_reviews

PUBLISHED = {
    ("vicuna", "gpt4"): (44, 15, 21, 1.2875),
    ("koala", "gpt4"): (85, 36, 59, 1.1444),
    ("lima", "gpt4"): (165, 59, 76, 1.2967),
    ("vicuna", "gpt3.5"): (16, 58, 6, 1.1250),
    ("koala", "gpt3.5"): (32, 110, 38, 0.9667),
    ("lima", "gpt3.5"): (60, 210, 30, 1.1000),
}


@pytest.fixture(scope="module")
def pairwise(data: Path) -> Path:
    return data / "pairwise"


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def cherry(pairwise: Path, name: str, judge: str) -> Path:
    return pairwise / "cherry_logs" / f"{name}_wrap_reviews_{judge}.json"


@pytest.mark.parametrize(("name", "judge"), PUBLISHED)
def test_the_published_table_follows_from_the_texts_of_the_reviews(pairwise: Path, name: str, judge: str) -> None:
    path = cherry(pairwise, name, judge)
    found = read_reviews(path)
    assert (found.dataset, found.judge, found.lost, found.differing) == (name, judge, (), 0)
    told = tally(found.verdicts)
    assert told is not None
    assert (told.wins, told.ties, told.losses, round(told.winning_score.mean, 4)) == PUBLISHED[name, judge]
    body = load(path)
    for row, verdict in zip(body["data"], found.verdicts, strict=True):
        forward, reverse = verdict.looks
        assert json.loads(row["scores"]) == [forward.a.overall, forward.b.overall]
        assert json.loads(row["scores_reverse"]) == [reverse.b.overall, reverse.a.overall]
    a, b = mean_scores(found.verdicts, orders=["a-first"]) or (0, 0)
    assert json.loads(body["Meta_Info"]["average_scores"]) == pytest.approx([a, b])
    a, b = mean_scores(found.verdicts, orders=["b-first"]) or (0, 0)
    assert json.loads(body["Meta_Info"]["average_scores_reverse"]) == pytest.approx([b, a])


def verdicts_of(pairwise: Path, judge: str) -> tuple[Verdict, ...]:
    return tuple(
        said for name, by in PUBLISHED if by == judge for said in read_reviews(cherry(pairwise, name, by)).verdicts
    )


def test_what_the_published_table_does_not_show(pairwise: Path) -> None:
    """GPT-3.5 follows the order in two of three, prefers the second; GPT-4 takes the longer answer in seven of ten."""
    strong, weak = (Judged(name, verdicts_of(pairwise, name), ()) for name in ("gpt4", "gpt3.5"))
    told = {judged.judge: lines(judged)[-1].tally for judged in (strong, weak)}
    assert told["gpt4"] is not None
    assert told["gpt3.5"] is not None
    assert told["gpt4"].count == told["gpt3.5"].count == 560
    assert (told["gpt4"].flipped.count, told["gpt3.5"].flipped.count) == (74, 375)
    assert (told["gpt4"].longer.count, told["gpt4"].longer.of) == (324, 447)
    assert told["gpt3.5"].first.percent == pytest.approx(18.3, abs=0.05)
    assert told["gpt4"].first.percent == pytest.approx(49.0, abs=0.05)
    assert told["gpt4"].matched is not None
    assert 50 < told["gpt4"].matched.mean < told["gpt4"].win_rate.mean
    found = agreements(strong, weak)
    assert found.keys() == {"vicuna", "koala", "lima", "all"}
    assert found["all"].items == 560
    assert found["all"].kappa == pytest.approx(0.155, abs=0.0005)


def test_pandalm_judges_against_the_majority_of_people(pairwise: Path) -> None:
    people = load(pairwise / "pandalm" / "testset-v1.json")
    votes = [majority([str(row[f"annotator{n}"]) for n in (1, 2, 3)]) for row in people]
    assert Counter(votes) == {"2": 472, "1": 422, "0": 105}
    labels = [str(vote) for vote in votes]
    own = [str(row["pandalm_result"]) for row in load(pairwise / "pandalm" / "pandalm-7b-testset-v1.json")]
    found = agreement(own, labels)
    shares = (found.accuracy, found.precision, found.recall, found.f1)
    assert [round(share, 2) for share in shares] == [66.77, 57.38, 57.50, 57.43]
    rows = load(pairwise / "pandalm" / "gpt-3.5-turbo-testset-v1.json")
    said = [{"Tie": "0"}.get(str(row["gpt_result"]), str(row["gpt_result"])) for row in rows]
    assert said.count("garbage") == 25
    assert round(agreement(said, labels).accuracy, 2) == 69.77
    assert round(agreement([word.replace("garbage", "0") for word in said], labels).accuracy, 2) == 71.07


@pytest.mark.parametrize("name", ["GPT-4_Vanilla", "GPT-4_Swap", "LLaMA2_Vanilla", "ChatGPT_Swap"])
def test_llmbar_judges_in_both_orders(pairwise: Path, name: str) -> None:
    folder = pairwise / "llmbar" / "Natural"
    rows, stated = load(folder / f"{name}_result.json"), load(folder / f"{name}_statistics.json")
    kept, swapped = ([row["results"][-1][f"swap = {turned}"]["winner"] for row in rows] for turned in (False, True))
    found = agreement_by_order(kept, swapped, [str(row["label"]) for row in rows])
    told = {
        "correct_False": found.kept,
        "correct_True": found.swapped,
        "correct_both": found.both,
        "equal": found.equal,
    }
    assert {key: f"{value:.0f} / 100 = {value:.1f}%" for key, value in told.items()} == {
        key: stated[key] for key in told
    }
    assert found.kappa == pytest.approx(stated["kappa_agreement"])


def test_files_of_alpaca_eval_are_matched(data: Path) -> None:
    folder = data / "alpaca_eval"
    a, b = (read_answers(folder / name / "model_outputs.json") for name in ("wizardlm-13b", "alpaca-7b"))
    found = matched(a, b)
    assert model_names(a, b) == ("wizardlm-13b", "alpaca-7b")
    assert (len(found.pairs) + len(found.lost), found.by) == (805, "question")
    assert not found.lost
    assert Counter(pair.dataset for pair in found.pairs) == {
        "helpful_base": 129,
        "koala": 156,
        "oasst": 188,
        "selfinstruct": 252,
        "vicuna": 80,
    }
