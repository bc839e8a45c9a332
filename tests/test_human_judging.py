"""Verdicts of one look, a person's work at the desk, and the command that opens the page."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from asgi import Client
from reflectune.cli.beside import agreement_on_same, named, others_in
from reflectune.cli.by_hand import ByHand
from reflectune.cli.hand_verdicts import Sat, conclude
from reflectune.cli.judging import Asked
from reflectune.errors import InputError
from reflectune.evaluate.judge import Look, Marks, Pair, Verdict, decided, matched, read_answers
from reflectune.evaluate.judge.desk import Desk
from reflectune.evaluate.judge.evaluation import Judged, lines, scores_of
from reflectune.evaluate.judge.figures import tally
from reflectune.evaluate.judge.kept import by_judge, read_pairs, read_verdicts, write_pairs
from reflectune.evaluate.judge.people import mark_of, name_of_person, order_of, shuffled, verdict_of
from reflectune.evaluate.scores import Evaluation
from reflectune.recipe import JudgeSettings, Recipe
from reflectune.records import Example, Message
from reflectune.runs import RunDir
from reflectune.testing import MemoryStore
from reflectune.web.app import create_app
from reflectune.web.judging import Sitting
from reflectune.web.state import WebState
from test_judge import WIN, verdict, write

HOSTILE = "<img src=x onerror=alert(1)> \u202egnp.exe </output>"


def pairs(count: int = 6) -> list[Pair]:
    return [
        Pair(str(n), Example(str(n), f"Question {n}?", f"good {n}"), f"good {n}", f"bad {n}, and longer", "set")
        for n in range(count)
    ]


def desk(store: Any = None, of: list[Pair] | None = None, seed: int = 0, judge: str = "human") -> Desk:
    return Desk(pairs() if of is None else of, store or MemoryStore(), judge, seed)


def say(one: Desk, *said: str) -> None:
    for word in said:
        assert one.card is not None
        asyncio.run(one.say(one.card.number, word))


def the_good_one(one: Desk) -> str:
    assert one.card is not None
    return "left" if one.card.left.startswith("good") else "right"


# Verdicts of one look


@pytest.mark.parametrize(("choice", "outcome"), [("a", "win"), ("b", "lose"), ("neither", "tie")])
@pytest.mark.parametrize("order", ["a-first", "b-first"])
def test_a_verdict_of_one_look_says_what_was_chosen(choice: Any, outcome: str, order: Any) -> None:
    look = Look(order=order, a=Marks(), b=Marks(), raw=("left",), choice=choice)
    said = Verdict(
        id="1", dataset="", judge="human", rubric="r", outcome=decided(look), looks=(look,), length_a=1, length_b=2
    )
    assert (said.outcome, said.flipped, said.in_both_orders) == (outcome, False, False)
    assert Verdict.model_validate_json(said.model_dump_json()) == said


@pytest.mark.parametrize(
    "look",
    [
        {"a": {"overall": 5}, "b": {"overall": 3}, "choice": "a"},
        {"a": {"overall": 5}, "b": {}},
        {"a": {}, "b": {}},
        {"a": {"overall": 5}, "b": {}, "choice": "b"},
    ],
)
def test_a_look_holds_scores_or_a_choice(look: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="or a choice and none"):
        Look.model_validate({"order": "a-first", "raw": [], **look})


def test_two_looks_of_one_order_are_no_verdict() -> None:
    body = verdict(*WIN).model_dump()
    for looks in (body["looks"][:1] * 2, [], body["looks"] * 2):
        with pytest.raises(ValidationError):
            Verdict.model_validate(body | {"looks": looks})


def test_verdicts_that_earlier_versions_wrote_are_read() -> None:
    body = json.loads(verdict(*WIN).model_dump_json())
    for look in body["looks"]:
        del look["choice"]
    assert Verdict.model_validate(body) == verdict(*WIN)


def test_flips_and_first_places_are_those_of_verdicts_in_both_orders() -> None:
    flipping = verdict((8, 2), (2, 8), id="model")
    people = [verdict_of(pair, "left", "human", 0) for pair in pairs()]
    told = tally([flipping, *people])
    assert told is not None
    assert (told.flipped.count, told.flipped.of) == (1, 1)
    assert (told.first.count, told.first.of) == (2, 2)
    assert told.count == 7
    alone = tally(people)
    assert alone is not None
    assert (alone.flipped.percent, alone.first.percent, alone.scores) == (None, None, {})
    assert alone.plain()["flipped"] is None
    assert alone.wins + alone.losses == 6
    assert alone.win_rate.mean == pytest.approx(100 * alone.wins / 6)


def test_the_records_of_people_claim_no_published_procedure_and_no_flips() -> None:
    (judged,) = by_judge([verdict_of(pair, "tie", "human:ada", 0) for pair in pairs()])
    assert judged.people
    assert judged.label == "human:ada"
    scores = {score.metric: score for line in lines(judged) for score in scores_of(line, "A", "B", "verdicts.jsonl")}
    assert scores["win-rate"].value == 50
    assert scores["winning-score"].official is None
    assert "names hidden" in scores["winning-score"].note
    assert not {"flip-rate", "first-preferred"} & set(scores)


# Sides and order


@given(st.integers(0, 2**31 - 1))
def test_the_sides_hang_on_seed_and_id_alone(seed: int) -> None:
    few, more = pairs(4), pairs(9)
    assert [order_of(pair, seed) for pair in few] == [order_of(pair, seed) for pair in more[:4]]
    kept = [pair.id for pair in shuffled(more, seed) if int(pair.id) < 4]
    assert kept == [pair.id for pair in shuffled(few, seed)]


def test_both_sides_are_drawn_about_as_often() -> None:
    many = pairs(2000)
    left = sum(order_of(pair, 0) == "a-first" for pair in many)
    assert 900 < left < 1100
    assert [pair.id for pair in shuffled(many, 0)] != [pair.id for pair in many]
    assert [order_of(pair, 0) for pair in many] != [order_of(pair, 1) for pair in many]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_said_of_a_side_belongs_to_the_answer_that_stood_there(seed: int) -> None:
    one = desk(seed=seed)
    while one.card is not None:
        say(one, the_good_one(one))
    assert [said.outcome for said in one.verdicts] == ["win"] * 6
    assert [said.id for said in one.verdicts] == [pair.id for pair in pairs()]
    assert {said.looks[0].raw for said in one.verdicts} <= {("left",), ("right",)}
    assert len({said.looks[0].order for said in one.verdicts}) == 2


# The desk


def test_a_desk_goes_on_where_it_was_left() -> None:
    store = MemoryStore()
    one = desk(store)
    say(one, "left", "tie")
    assert one.card is not None
    again = desk(store)
    assert (again.done, again.total) == (2, 6)
    assert again.card == one.card
    assert again.verdicts == one.verdicts
    assert desk(store, judge=name_of_person("ada")).done == 0


def test_other_texts_are_judged_anew() -> None:
    store = MemoryStore()
    say(desk(store), *["left"] * 6)
    changed = pairs()
    changed[2] = Pair("2", changed[2].question, "another answer", changed[2].b, "set")
    again = desk(store, changed)
    assert again.done == 5
    assert mark_of(changed[2]) != mark_of(pairs()[2])


def test_undo_takes_back_the_latest_also_of_an_earlier_time() -> None:
    store = MemoryStore()
    one = desk(store)
    first = one.card
    say(one, "left", "right", "tie")
    again = desk(store)
    taken = [asyncio.run(again.undo()) for _ in range(4)]
    assert taken[2] == first
    assert taken[3] is None
    assert again.done == 0
    assert desk(store).done == 0


def test_test_sets_may_share_ids() -> None:
    store, one, other = MemoryStore(), pairs(1)[0], pairs(1)[0]
    other = Pair(other.id, other.question, other.a, other.b, "another set")
    both = desk(store, [one, other])
    say(both, "tie", "left")
    assert (both.done, both.card) == (2, None)
    assert [said.dataset for said in both.verdicts] == ["set", "another set"]
    again = desk(store, [one, other])
    assert again.verdicts == both.verdicts
    assert asyncio.run(again.undo()) is not None
    assert (again.done, desk(store, [one, other]).done) == (1, 1)


def test_verdicts_at_the_same_time_are_taken_back_one_after_the_other() -> None:
    class Slow(MemoryStore):
        async def keep_result(self, *told: Any) -> None:
            await asyncio.sleep(0)
            await super().keep_result(*told)

    async def both(one: Desk) -> None:
        await asyncio.gather(*(one.say(number, "tie") for number in (0, 1)))

    store = Slow()
    one = desk(store)
    asyncio.run(both(one))
    say(desk(store), "left")
    numbers = [json.loads(body)["number"] for _, body, _ in store.results.values()]
    assert sorted(numbers) == [1, 2, 3]


def test_what_is_skipped_comes_again_at_the_end() -> None:
    one = desk()
    first = one.card
    assert first is not None
    one.skip(first.number)
    second = one.card
    assert second is not None
    one.skip(second.number)
    say(one, *["left"] * 4)
    assert one.skipped == 2
    assert one.card == first
    one.skip(first.number)
    assert one.card == second
    say(one, "tie", "tie")
    assert (one.card, one.skipped, one.done) == (None, 0, 6)


def test_nonsense_is_refused() -> None:
    one = desk()
    with pytest.raises(InputError):
        asyncio.run(one.say(0, "both"))
    for number in (-1, 6):
        with pytest.raises(InputError):
            asyncio.run(one.say(number, "left"))
        with pytest.raises(InputError):
            one.skip(number)
    assert one.done == 0
    assert desk(of=[]).card is None


# The page's endpoints


@pytest.fixture
def client(tmp_path: Path) -> Client:
    question = Example(
        "0", "Ask", "x", system="Be kind.", history=(Message("user", "Hi"), Message("assistant", "Yes?"))
    )
    hostile = Pair("name-of-a-model", question, HOSTILE, "plain")
    app = create_app(WebState(tmp_path))
    app.state.ended = []
    app.state.judging = Sitting(Desk([hostile, *pairs(2)], MemoryStore(), "human"), lambda: app.state.ended.append(1))
    return Client(app)


def test_a_pair_is_shown_blind(client: Client) -> None:
    body = client.get("/judging/state")
    assert body.status == 200
    assert "name-of-a-model" not in body.text
    assert "a-first" not in body.text
    told = body.json()
    assert (told["done"], told["total"], set(told["pair"])) == (
        0,
        3,
        {"number", "before", "instruction", "input", "left", "right"},
    )


def test_verdicts_come_in_and_go_again(client: Client) -> None:
    seen = []
    for _ in range(3):
        told = client.get("/judging/state").json()
        seen.append(told["pair"])
        assert client.post("/judging/say", {"number": told["pair"]["number"], "said": "tie"}).status == 200
    assert client.get("/judging/state").json()["pair"] is None
    assert client.post("/judging/undo", {}).json()["pair"] == seen[-1]
    [hostile] = [pair for pair in seen if pair["before"]]
    assert [turn["role"] for turn in hostile["before"]] == ["system", "user", "assistant"]
    assert "[U+202E]" in hostile["left"] + hostile["right"]
    assert client.post("/judging/skip", {"number": seen[-1]["number"]}).json()["skipped"] == 1
    assert client.post("/judging/finish", {}).status == 200
    assert client.app.state.ended == [1]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("say", {"number": 0, "said": "maybe"}, 422),
        ("say", {"number": 99, "said": "left"}, 422),
        ("say", {"said": "left"}, 400),
        ("skip", {"number": -1}, 422),
        ("undo", {"all": True}, 400),
    ],
)
def test_nonsense_from_a_page_is_refused(client: Client, path: str, body: dict[str, Any], status: int) -> None:
    assert client.post(f"/judging/{path}", body).status == status


def test_another_site_cannot_judge(client: Client) -> None:
    refused = client.post("/judging/say", {"number": 0, "said": "left"}, origin="http://evil.example")
    assert refused.status == 403
    assert client.get("/judging/state").json()["done"] == 0


def test_without_a_desk_the_page_says_how_to_begin(tmp_path: Path) -> None:
    client = Client(create_app(WebState(tmp_path)))
    assert "--human" in client.get("/judging", accept="text/html").text
    assert client.get("/judging/state").status == 404


# What it comes to


def answers(folder: Path) -> tuple[str, str]:
    rows = [{"id": str(n), "instruction": f"Question {n}?"} for n in range(6)]
    a = write(folder / "a.jsonl", [{**row, "output": f"good {row['id']}"} for row in rows])
    b = write(folder / "b.jsonl", [{**row, "output": f"bad {row['id']}, and longer"} for row in rows])
    return str(a), str(b)


def sat(folder: Path, verdicts: tuple[Verdict, ...], *, judge: str = "human", finished: bool = True) -> Sat:
    files = answers(folder)
    found = matched(*map(read_answers, files))
    asked = Asked(Recipe(data=files[0]), JudgeSettings(), files, ("local",), folder / "run", quiet=True)
    return Sat(folder / "run", ("a", "b"), asked, judge, found, "", verdicts, finished=finished)


def judged(folder: Path, said: str, judge: str = "human") -> tuple[Verdict, ...]:
    found = matched(*map(read_answers, answers(folder)))
    return tuple(verdict_of(pair, said, judge, 0) for pair in found.pairs)  # type: ignore[arg-type]


def beside(one: Sat) -> dict[str, Judged]:
    return named([(one.run, other) for other in others_in(one.run, one.judge)], one.run)


def test_people_stand_beside_the_judges_of_the_same_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conclude(sat(tmp_path, judged(tmp_path, "left")), {}, as_json=False)
    ada = sat(tmp_path, judged(tmp_path, "left", "human:ada"), judge="human:ada")
    conclude(ada, beside(ada), as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["agreement"]["human"]["all"]["accuracy"] == 100
    assert {said.judge for said in read_verdicts(ada.run)} == {"human", "human:ada"}
    saved = Evaluation.load(ada.run / "evaluation.json")
    assert {score.judge for score in saved.scores if score.metric == "win-rate"} == {"human", "human:ada"}
    assert [score.items for score in saved.scores if score.metric == "agreement"] == [6]
    assert saved.settings["judges"] == ["human", "human:ada"]
    conclude(ada, beside(ada), as_json=False)
    again = Evaluation.load(ada.run / "evaluation.json")
    assert again.scores == saved.scores
    assert len(read_verdicts(ada.run)) == 12


def test_who_sits_again_has_no_outdated_agreement(tmp_path: Path) -> None:
    conclude(sat(tmp_path, judged(tmp_path, "left", "human:bob"), judge="human:bob"), {}, as_json=False)
    ada = sat(tmp_path, judged(tmp_path, "left", "human:ada"), judge="human:ada")
    conclude(ada, beside(ada), as_json=False)
    bob = sat(tmp_path, judged(tmp_path, "tie", "human:bob"), judge="human:bob")
    conclude(bob, beside(bob), as_json=False)
    saved = Evaluation.load(bob.run / "evaluation.json")
    assert [(score.judge, score.value) for score in saved.scores if score.metric == "agreement"] == [
        ("human:bob and human:ada", 0)
    ]


def test_judges_of_one_label_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    one, other = (Judged("gpt", judged(tmp_path, said, "gpt"), (), people=True) for said in ("left", "right"))
    first, second, own = (Path(name) for name in ("first", "second", "own"))
    found = named([(first, one), (second, other), (first, one)], own)
    assert found == {"gpt in first": one, "gpt in second": other}
    assert named([(first, other), (own, one)], own) == {"gpt in first": other, "gpt": one}
    assert named([(first, one)], own) == {"gpt": one}
    assert agreement_on_same(one, other)["set" if one.verdicts[0].dataset else "all"].accuracy < 100


def test_other_answers_under_the_same_ids_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = tuple(said.model_copy(update={"length_a": 999}) for said in judged(tmp_path, "right", "gpt"))
    (other,) = by_judge(others)
    conclude(sat(tmp_path, judged(tmp_path, "left")), {"gpt": other}, as_json=True)
    assert json.loads(capsys.readouterr().out)["agreement"] == {}


def test_a_part_says_what_is_left_and_ends_as_interrupted(tmp_path: Path) -> None:
    import typer

    some = judged(tmp_path, "left")[:2]
    with pytest.raises(typer.Exit) as end:
        conclude(sat(tmp_path, some, finished=False), {}, as_json=False)
    assert end.value.exit_code == 130
    saved = Evaluation.load(tmp_path / "run" / "evaluation.json")
    assert {score.items for score in saved.scores if score.metric == "win-rate"} == {2}
    assert all("4 pairs are not judged" in score.note for score in saved.scores)
    conclude(sat(tmp_path, some), {}, as_json=False)


def test_pairs_are_kept_and_read_back(tmp_path: Path) -> None:
    question = Example("7", "Ask", "x", "given", "Be kind.", (Message("user", "Hi"),))
    write_pairs(tmp_path, [Pair("7", question, HOSTILE, "b", "set")])
    kept = read_pairs(tmp_path)["set", "7"]
    assert (kept.a, kept.b) == (HOSTILE, "b")
    assert kept.question == "system: Be kind.\n\nuser: Hi\n\nAsk\n\ngiven"
    assert read_verdicts(tmp_path) == []


def test_people_agree_with_published_judges_as_far_as_the_texts_say(data: Path, tmp_path: Path) -> None:
    from reflectune.evaluate.judge.evaluation import agreements
    from reflectune.evaluate.judge.reviews import read_reviews

    found = read_reviews(data / "pairwise" / "cherry_logs" / "vicuna_wrap_reviews_gpt4.json")
    side = {"win": "a", "lose": "b", "tie": "neither"}
    one = Desk(found.pairs, MemoryStore(), "human", 5)
    wanted = {said.id: side[said.outcome] for said in found.verdicts}
    texts = {(pair.a, pair.b): pair.id for pair in found.pairs}
    while (card := one.card) is not None:  # a person who thinks as GPT-4 does
        name = texts.get((card.left, card.right)) or texts[card.right, card.left]
        first = (card.left, card.right) in texts
        better = wanted[name]
        said = "tie" if better == "neither" else "left" if (better == "a") is first else "right"
        asyncio.run(one.say(card.number, said))
    (model,) = by_judge(found.verdicts)
    (person,) = by_judge(one.verdicts)
    (how_far,) = agreements(person, model).values()
    assert (how_far.items, how_far.accuracy, how_far.kappa) == (80, 100, 1)
    told = tally(one.verdicts)
    assert told is not None
    assert (told.wins, told.ties, told.losses) == (44, 15, 21)


# The command


@contextmanager
def served(folder: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "reflectune", "judge", *answers(folder), "--human", "--no-open", *flags]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )
    told = process.stderr if "--json" in flags else process.stdout
    assert told is not None
    try:
        found = None
        while found is None:
            line = told.readline()
            assert line, "the command ended"
            found = re.match(r"(http://127\.0\.0\.1:\d+)/judging$", line)
        yield process, found[1]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ask(url: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/judging/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        return json.loads(reply.read())


@pytest.mark.server
def test_the_command_serves_keeps_and_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a-against-b-by-human-ada"
    with served(tmp_path, "--annotator", "ada") as (process, url):
        for _ in range(2):
            told = ask(url, "state")
            ask(url, "say", {"number": told["pair"]["number"], "said": "left"})
        with RunDir(run, look=True) as kept:  # what was said is kept at once
            found = matched(*map(read_answers, answers(tmp_path))).pairs
            assert Desk(found, kept.store, "human:ada").done == 2
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=20)
        assert process.returncode == 130, shown
        assert "Pending: 4 pairs" in shown
        assert "Traceback" not in shown
    assert len(read_verdicts(run)) == 2
    with served(tmp_path, "--annotator", "ada", "--json", "--compare", str(run)) as (process, url):
        assert ask(url, "state")["done"] == 2
        while (pair := ask(url, "state")["pair"]) is not None:
            ask(url, "say", {"number": pair["number"], "said": "tie"})
        ask(url, "finish", {})
        out, shown = process.communicate(timeout=20)
        assert process.returncode == 0, shown
    summary = json.loads(out.splitlines()[-1])
    assert (summary["judges"][0]["verdicts"], summary["judges"][0]["pending"]) == (6, 0)
    assert Evaluation.load(run / "evaluation.json").command == "judge"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--human", "--judge", "gpt-4o"), "--human and --judge do not go together"),
        (("--human", "--reviews"), "--human and --reviews do not go together"),
        (("--annotator", "ada"), "Add --human"),
        (("--human", "--compare", "nowhere"), "no verdicts in nowhere"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    from typer.testing import CliRunner

    from reflectune.cli import app
    from reflectune.errors import ReflectuneError

    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["judge", *answers(tmp_path), *words])
    assert isinstance(result.exception, ReflectuneError)
    assert told in f"{result.exception.what} {result.exception.mend}"
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from reflectune.cli import app

    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["judge", *answers(tmp_path), "--human", "--dry-run", "--json"])
    assert json.loads(done.stdout.splitlines()[-1])["pairs"] == 6, done.stderr
    assert not (tmp_path / "runs").exists()


def test_another_commands_folder_is_refused(tmp_path: Path) -> None:
    from reflectune.cli.by_hand import _check_folder
    from reflectune.errors import SettingsError

    with RunDir(tmp_path / "run") as run:
        assert run.size == 0
        with pytest.raises(SettingsError, match="holds no verdicts"):
            _check_folder(tmp_path / "run")
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(SettingsError, match="is a file"):
        _check_folder(file)
    assert ByHand(Asked(Recipe(data="a"), JudgeSettings(), (), ()), "ada").judge == "human:ada"
