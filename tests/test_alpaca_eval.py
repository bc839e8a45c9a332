"""AlpacaEval's figures from stored annotations, its file formats, and the matching of answers."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.errors import InputError, RunError
from reflectune.evaluate.alpaca_eval import (
    Annotation,
    Annotations,
    Pair,
    Report,
    length_control,
    matched,
    read_annotations,
    read_difficulty,
    read_gamed,
    read_outputs,
    report_of,
    win_rate,
    write_leaderboard,
)
from reflectune.evaluate.alpaca_eval.leaderboard import COLUMNS
from reflectune.evaluate.alpaca_eval.official_files import Gamed
from reflectune.records import Failure


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(length_control, "RESAMPLES", 20)


PUBLISHED = {
    "recycled-wizardlm-7b-v2.0/alpaca_eval_gpt4": (83.47826, 1.30974, 83.47826, (672, 133, 0, 805), 1583),
    "alpaca-7b/alpaca_eval_gpt4": (26.45963, 1.53571, 26.45963, (205, 584, 16, 805), 396),
    "wizardlm-13b/alpaca_eval_gpt4": (75.31095, 1.51019, 75.31095, (601, 194, 9, 804), 985),
    "alpaca-7b/weighted_alpaca_eval_gpt4_turbo": (2.59145, 0.48709, 2.29814, (17, 785, 3, 805), 396),
}


def annotation(preference: float | None, place: int = 0, **more: Any) -> Annotation:
    values = {"instruction": f"Do {place}.", "output_1": "a" * 9, "output_2": "b" * (5 + place % 9)}
    return Annotation(index=place, preference=preference, **(values | more))


def row(**more: Any) -> dict[str, Any]:
    return {"instruction": "Go.", "output_1": "one", "output_2": "two", "preference": 2} | more


def write(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_figures_are_recomputed(name: str, data: Path) -> None:
    rate, error, discrete, counts, length = PUBLISHED[name]
    annotations = read_annotations(data / "alpaca_eval" / name / "annotations.json")
    found = win_rate(annotations.preferences)
    assert found.win_rate == pytest.approx(rate, abs=1e-5)
    assert found.standard_error == pytest.approx(error, abs=1e-5)
    assert found.discrete_win_rate == pytest.approx(discrete, abs=1e-5)
    assert (found.n_wins, found.n_wins_base, found.n_draws, found.n_total) == counts
    assert found.n_total + found.n_dropped == 805 == len(annotations.rows)
    assert len(annotations.failures) == found.n_dropped
    assert int(sum(len(one.output_2) for one in annotations.rows) / 805) == length
    assert found.interval is not None
    assert found.interval.low < rate < found.interval.high
    board = "weighted_alpaca_eval_gpt4_turbo" if "weighted" in name else "alpaca_eval_gpt4"
    with (data / "alpaca_eval" / f"{board}_leaderboard.csv").open() as stream:
        [published] = [line for line in csv.DictReader(stream) if line[""] == annotations.model]
    assert float(published["win_rate"]) == pytest.approx(found.win_rate, abs=1e-9)
    assert float(published["standard_error"]) == pytest.approx(found.standard_error, abs=1e-9)
    assert int(published["avg_length"]) == length


def test_a_draw_is_half_a_win_and_what_is_no_preference_is_dropped_and_counted() -> None:
    found = win_rate([2, 1.5, 0, 1, None, 3, -1, 1.9])
    assert (found.n_wins, found.n_wins_base, found.n_draws, found.n_total, found.n_dropped) == (2, 1, 2, 5, 3)
    assert found.win_rate == pytest.approx(100 * (1 + 0.5 + 0.5 + 0 + 0.9) / 5)
    assert found.discrete_win_rate == 60
    assert win_rate([2]).standard_error is None
    with pytest.raises(InputError, match="no preference"):
        win_rate([None])


@given(st.lists(st.one_of(st.none(), st.just(0.0), st.floats(1, 2)), min_size=2, max_size=50))
def test_win_rates_of_both_sides_add_up_to_100(preferences: list[float | None]) -> None:
    if all(preference is None for preference in preferences):
        return
    swapped = [preference if not preference else 3 - preference for preference in preferences]
    one, other = win_rate(preferences), win_rate(swapped)
    assert one.win_rate + other.win_rate == pytest.approx(100)
    assert (one.n_wins, one.n_draws, one.n_total) == (other.n_wins_base, other.n_draws, other.n_total)
    assert one.n_wins + one.n_wins_base + one.n_draws == one.n_total
    assert one.n_total + one.n_dropped == len(preferences)


def test_annotations_are_read_whatever_else_their_rows_hold(tmp_path: Path) -> None:
    rows = [
        row(preference=1.25, generator_1="ref", generator_2="mine", annotator="me", time_per_example=3, index=7),
        row(preference=None, generator_1="ref", generator_2="mine", annotator="me", raw_completion={"a": [1]}),
        row(preference=5, generator_1="ref", generator_2="mine", annotator="me"),
    ]
    found = read_annotations(write(tmp_path / "annotations.json", rows))
    assert (found.model, found.reference, found.judge) == ("mine", "ref", "me")
    assert [one.index for one in found.rows] == [7, 1, 2]
    assert [one.share for one in found.rows] == [0.25, None, None]
    assert list(found.raw) == rows
    assert [failure.reason for failure in found.failures] == ["no-preference"] * 2
    assert [failure.detail for failure in found.failures] == [
        "row 2: the judge gave no preference.",
        "row 3: 5 is no preference.",
    ]
    assert len({failure.id for failure in found.failures}) == 2
    assert len(read_annotations(tmp_path / "annotations.json", limit=2).rows) == 2


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([row(), {"instruction": "Go.", "output": "x"}], "row 2 has no column 'output_1', 'output_2', 'preference'"),
        ([row(preference="better")], "row 1: preference is 'better'"),
        ([row(), row(output_2=["x"])], r"row 2: output_2 is \['x'\]"),
        ([row(output_1=None)], "row 1: output_1 is None"),
        ([row(generator_2="a"), row(generator_2="b")], "more than one generator_2: a, b"),
        ([row(annotator="a"), row(annotator="b")], "more than one annotator: a, b"),
        ([], "no annotations"),
    ],
)
def test_what_is_no_annotation_is_told_with_its_row(rows: list[Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        read_annotations(write(tmp_path / "annotations.json", rows))


def outputs(path: Path, *rows: tuple[str, str], generator: str | None = "mine") -> Path:
    own = {"generator": generator} if generator else {}
    return write(path, [{"instruction": asked, "output": said, "dataset": "d", **own} for asked, said in rows])


def test_answers_are_matched_by_their_instruction(tmp_path: Path) -> None:
    model = read_outputs(outputs(tmp_path / "m.json", ("c", "C"), ("a", "A"), ("a", "A2"), ("x", "X")))
    reference = read_outputs(
        outputs(tmp_path / "r.json", ("a", "1"), ("b", "2"), ("c", "3"), ("a", "4"), generator="ref")
    )
    found = matched(reference, model)
    pairs = [one for one in found if isinstance(one, Pair)]
    assert [(one.index, one.reference.output, one.model.output) for one in pairs] == [
        (0, "1", "A"),
        (2, "3", "C"),
        (3, "4", "A2"),
    ]
    assert len({one.id for one in found}) == 5
    failures = [one for one in found if isinstance(one, Failure)]
    assert [(one.reason, one.raw) for one in failures] == [("no-answer", "b"), ("no-reference", "x")]
    assert "m.json" in failures[0].detail
    assert "r.json" in failures[1].detail
    with pytest.raises(InputError, match="no instruction in common"):
        matched(reference, read_outputs(outputs(tmp_path / "o.json", ("z", "Z"))))


def test_an_empty_answer_is_an_answer_and_a_row_without_one_is_told(tmp_path: Path) -> None:
    rows = [
        {"instruction": "a", "output": "", "generator": "mine"},
        {"instruction": "b", "output": None, "generator": "mine"},
        {"instruction": "c", "output": "C", "generator": "mine"},
    ]
    found = read_outputs(write(tmp_path / "m.json", rows))
    assert [(one.instruction, one.output) for one in found.outputs] == [("a", ""), ("c", "C")]
    [failure] = found.failures
    assert "row 2" in failure.detail
    reference = read_outputs(outputs(tmp_path / "r.json", ("a", "1"), ("b", "2"), ("c", "3")))
    items = matched(reference, found)
    assert [getattr(one, "reason", "pair") for one in items] == ["pair", "no-response", "pair"]
    assert [one.index for one in items if isinstance(one, Pair)] == [0, 2]


@pytest.mark.parametrize("lacking", ["m", "r", "mr"])
def test_an_answer_that_cannot_be_read_is_one_failure_in_its_place(lacking: str, tmp_path: Path) -> None:
    def answers(name: str, generator: str) -> Any:
        said = None if name in lacking else "again"
        rows = [("a", "one"), ("a", said), ("a", "more"), ("b", "b")]
        made = [{"instruction": asked, "output": text, "generator": generator} for asked, text in rows]
        return read_outputs(write(tmp_path / f"{name}.json", made))

    items = matched(answers("r", "ref"), answers("m", "mine"))
    assert [getattr(one, "reason", "pair") for one in items] == ["pair", "no-response", "pair", "pair"]
    assert [one.model.output for one in items if isinstance(one, Pair)] == ["one", "more", "b"]
    assert [one.index for one in items if isinstance(one, Pair)] == [0, 2, 3]
    assert len({one.id for one in items}) == 4


def test_a_conversation_without_an_answer_is_one_failure(tmp_path: Path) -> None:
    asked = [[{"role": "user", "content": name}] for name in "abc"]
    said = [{"role": "assistant", "content": ""}], [], [{"role": "assistant", "content": "C"}]
    rows = [{"messages": [*turns, *more]} for turns, more in zip(asked, said, strict=True)]
    reference = read_outputs(outputs(tmp_path / "r.json", ("a", "1"), ("b", "2"), ("c", "3")))
    items = matched(reference, read_outputs(write(tmp_path / "m.json", rows)))
    assert [getattr(one, "reason", "pair") for one in items] == ["pair", "no-response", "pair"]
    assert [one.model.output for one in items if isinstance(one, Pair)] == ["", "C"]


def test_what_a_model_is_called(tmp_path: Path) -> None:
    path = outputs(tmp_path / "some.json", ("a", "A"), generator=None)
    assert read_outputs(path).generator == "some"
    assert read_outputs(path, "other").generator == "other"
    rows = [{"instruction": name, "output": "x", "generator": name} for name in "ab"]
    mixed = write(tmp_path / "mixed.json", rows)
    with pytest.raises(InputError, match="answers of 2 models: a, b"):
        read_outputs(mixed)
    assert read_outputs(mixed, "both").generator == "both"


def test_other_containers_and_shapes_hold_answers_too(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "A"}]}))
    found = read_outputs(path)
    assert [(one.instruction, one.output) for one in found.outputs] == [("a", "A")]
    table = tmp_path / "t.csv"
    table.write_text("instruction,input,output,generator\na,with this,A,g\n")
    [one] = read_outputs(table).outputs
    assert one.instruction == "a\n\nwith this"


def test_white_space_around_an_instruction_matches_and_stays(tmp_path: Path) -> None:
    model = read_outputs(outputs(tmp_path / "m.json", ("Go.\n", "A")))
    [found] = matched(read_outputs(outputs(tmp_path / "r.json", (" Go.", "1"))), model)
    assert isinstance(found, Pair)
    assert (found.reference.instruction, found.model.instruction) == (" Go.", "Go.\n")


def test_the_published_answers_all_match(data: Path) -> None:
    folder = data / "alpaca_eval"
    model = read_outputs(folder / "alpaca-7b/model_outputs.json")
    reference = read_outputs(folder / "gpt4_1106_preview/model_outputs.json")
    assert (model.generator, reference.generator) == ("alpaca-7b", "gpt4_1106_preview")
    found = [one for one in matched(reference, model) if isinstance(one, Pair)]
    assert [one.index for one in found] == list(range(805))
    annotations = read_annotations(folder / "alpaca-7b/weighted_alpaca_eval_gpt4_turbo/annotations.json")
    assert [one.model.output for one in found] == [one.output_2 for one in annotations.rows]


GAMED = "model,preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline\n"


def test_the_files_of_the_hub_are_read(tmp_path: Path) -> None:
    hard = tmp_path / "instruction_difficulty.csv"
    hard.write_text(",instruction_difficulty\n1,-0.5\n0,1.25\n")
    assert read_difficulty(hard) == {0: 1.25, 1: -0.5}
    played = tmp_path / "df_gamed.csv"
    played.write_text(
        GAMED + "verbose,0.75,0,-1.5,1.25,False\nconcise,,1,2.0,-0.5,False\nconcise,0.5,1,2.0,-0.5,False\n"
    )
    gamed, difficulty = read_gamed(played)
    assert gamed == [Gamed(0.75, 0, -1.5, 1.25, plays=True), Gamed(0.5, 1, 2.0, -0.5, plays=True)]
    assert difficulty == {0: 1.25, 1: -0.5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("instruction_difficulty\n1\n", "its columns are"),
        (",instruction_difficulty\n0,much\n", "row 1: 'much' is no number"),
        (",instruction_difficulty\n0.5,1\n", "row 1: '0.5' is no place"),
        (",instruction_difficulty\n0,1\n2,1\n", "are not 0 to 1"),
        (",instruction_difficulty\n0,1,2\n", "row 1 has 3 fields"),
        (",instruction_difficulty\n", "holds no rows"),
    ],
)
def test_what_is_no_difficulty_is_told(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_difficulty(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_difficulty(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("preference,index\n1,0\n", "no column 'std_delta_len'"),
        (GAMED + "v,2,0,1,1,False\n", "row 1: not_gamed_baseline 'False', preference 2"),
        (GAMED + "v,0.5,0,1,1,maybe\n", "row 1: not_gamed_baseline 'maybe'"),
    ],
)
def test_what_is_no_annotation_of_gamed_answers_is_told(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_gamed(path)


def annotations(*preferences: float | None, **more: Any) -> Annotations:
    rows = tuple(annotation(preference, place, **more) for place, preference in enumerate(preferences))
    failures = [Failure(id=str(one.index), stage="annotate", reason="no-label") for one in rows if one.share is None]
    return Annotations("here", rows, tuple(failures))


def test_a_report_puts_both_win_rates_beside_each_other() -> None:
    report = report_of(annotations(*[1, 2, 2, 1.5] * 5, None, generator_2="m", generator_1="r", annotator="j"))
    assert (report.items, report.failed, report.official) == (21, 1, False)
    assert report.failures == {"no-label": 1}
    raw, level = report.scores("annotations.json")
    assert (raw.metric, level.metric) == ("win-rate", "lc-win-rate")
    assert raw.value == pytest.approx(62.5)
    assert (raw.form, raw.model, raw.against, raw.judge, raw.items, raw.failed) == ("alpaca-eval", "m", "r", "j", 20, 1)
    assert level.official is False
    assert level.note.startswith("approximate: without the difficulty")
    assert raw.mean_length == level.mean_length == pytest.approx(sum(5 + n % 9 for n in range(21)) / 21)
    assert {raw.replies, level.replies} == {"annotations.json"}
    plain = report.plain()
    assert plain["length_controlled"]["label"] == "approximate"
    assert json.loads(json.dumps(plain))["win_rate"] == pytest.approx(62.5)


@pytest.mark.parametrize(
    ("judge", "reference", "official"),
    [
        ("alpaca_eval_gpt4", "text_davinci_003", True),
        ("weighted_alpaca_eval_gpt4_turbo", "gpt4_1106_preview", True),
        ("weighted_alpaca_eval_gpt4_turbo", "my-own-weak-reference", False),
        ("weighted_alpaca_eval_gpt4_turbo", "text_davinci_003", False),
        ("alpaca_eval_gpt4", "gpt4_1106_preview", False),
        ("someone", "gpt4_1106_preview", False),
    ],
)
def test_a_win_rate_is_official_against_the_judges_own_reference(judge: str, reference: str, official: bool) -> None:
    report = Report("m", reference, judge, win_rate([2.0] * 805), None, 1, 1, {}, {}, None)
    assert report.official is official
    [raw] = report.scores("x")
    assert raw.official is official
    assert ("not AlpacaEval's own judge, reference and instructions" in raw.note) is not official


def test_too_few_preferences_are_not_controlled_for_length() -> None:
    report = report_of(annotations(1, 2, 2))
    assert report.length_controlled is None
    assert "3 preferences are too few" in report.notes[0]
    assert [score.metric for score in report.scores("x")] == ["win-rate"]
    assert report.plain()["length_controlled"] is None


def test_a_judge_that_goes_by_the_order_is_told_of() -> None:
    rows = [annotation(2.0 if place % 2 else 1.0, place, first=0.9, form="plain") for place in range(12)]
    report = report_of(Annotations("here", tuple(rows)))
    assert report.first == pytest.approx(90)
    assert report.forms == {"plain": 12}
    assert any("the answer shown first has 90% of its preference" in note for note in report.notes)
    assert "verdicts: 12 plain" in report.notes
    assert any("verdicts: 12 plain" in score.note for score in report.scores("x"))


def test_a_leaderboard_has_their_columns(tmp_path: Path) -> None:
    better = report_of(annotations(*[2, 2, 1] * 5, generator_2="better, they say"))
    worse = report_of(annotations(1, 2, 1, generator_2="worse"))
    path = tmp_path / "leaderboard.csv"
    write_leaderboard(path, [worse, better])
    with path.open() as stream:
        header, first, second = csv.reader(stream)
    assert header == ["", *COLUMNS]
    assert (first[0], second[0]) == ("better, they say", "worse")
    named = dict(zip(header, first, strict=True))
    assert float(named["win_rate"]) == better.win_rate.win_rate
    assert (named["n_wins"], named["n_total"], named["mode"]) == ("10", "15", "dev")
    assert math.isclose(float(named["length_controlled_winrate"]), better.length_controlled.value)  # type: ignore[union-attr]
    assert dict(zip(header, second, strict=True))["length_controlled_winrate"] == ""
    with pytest.raises(RunError, match="Cannot write"):
        write_leaderboard(tmp_path / "none" / "leaderboard.csv", [better])
