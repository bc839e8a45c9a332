"""The pages and JSON of runs and rows, without a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from asgi import Client
from loopback import Loopback
from reflectune.records import Version
from reflectune.runs import RunDir, Selected
from reflectune.runs.deciding import Said, decide, deciding_in
from reflectune.runs.lock import holder
from reflectune.runs.store import connect as connect_to
from reflectune.web import overview
from reflectune.web.app import create_app
from reflectune.web.index import Keeper, Question, asking
from reflectune.web.overview import run_names
from reflectune.web.pages import text
from reflectune.web.rowview import shown_row
from reflectune.web.state import WebState
from shown_run import HARM, HARMFUL_ID, LONG, make

WEATHER, CHINESE, FAILED, PENDING, UNREAD, HARMFUL, LONGEST = range(7)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to copy, with its index: a text of 1 MB takes a while."""
    run = make(tmp_path_factory.mktemp("made") / "run")
    keeper = Keeper(run)
    keeper.ask(Question())
    keeper.wait()
    keeper.close()
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs" / "data"))


@pytest.fixture
def client(run: Path) -> Iterator[Client]:
    state = WebState(run.parent)
    yield Client(create_app(state))
    state.indexes.close()


def listed(client: Client, query: str = "") -> dict[str, Any]:
    """The rows once the index is made."""
    for _ in range(200):
        found: dict[str, Any] = client.get(f"/api/runs/data/rows{query}").json()
        if not found["index"]["working"]:
            return client.get(f"/api/runs/data/rows{query}").json()  # type: ignore[no-any-return]
        time.sleep(0.02)
    raise AssertionError("the index is not made")


def row_of(run: Path, name: str) -> Any:
    with RunDir(run, look=True) as folder:
        return next(folder.rows("recycle", row=name))


def test_the_runs_are_told_with_what_they_came_to(client: Client) -> None:
    (found,) = client.get("/api/runs").json()
    assert (found["rows"], found["done"], found["failed"], found["pending"]) == (7, 4, 2, 1)
    assert found["reasons"] == {"copy": 1, "no-instruction": 1}
    assert (found["name"], found["error"], found["worker"], found["data"]) == ("data", "", None, "data.json")
    assert found["makers"] == ["oracle@http://127.0.0.1:9/v1"]
    assert found["scored"] == 2
    page = client.get("/", accept="text/html")
    assert page.status == 200
    assert "oracle" in page.text


def test_what_changes_is_seen(client: Client, run: Path) -> None:
    assert client.get("/api/runs/data").json()["decided"]["rejected"] == 0
    with deciding_in(run) as folder:
        decide(folder, "weather", Said("reject"))
    assert client.get("/api/runs/data").json()["decided"]["rejected"] == 1
    with RunDir(run):
        assert client.get("/api/runs/data").json()["worker"] == os.getpid()
    assert client.get("/api/runs/data").json()["worker"] is None


def test_a_run_that_takes_long_to_read_is_not_read_all_the_time(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(overview.time, "monotonic", lambda: clock[0])
    read, found = overview._read, overview.Overviews()

    def slowly(path: Path) -> dict[str, Any]:
        clock[0] += 0.5
        return read(path)

    monkeypatch.setattr(overview, "_read", slowly)
    found.of(run)
    with deciding_in(run) as folder:
        decide(folder, "weather", Said("reject"))
    told = []
    for seconds in (2.0, 4.0):
        clock[0] += seconds
        told.append(found.of(run)["decided"]["rejected"])
    assert told == [0, 1]


@pytest.mark.parametrize(
    ("files", "kind", "evaluated"),
    [
        (["answers.jsonl"], "answers", False),
        (["verdicts.jsonl", "evaluation.json"], "verdicts", True),
        (["evaluation.json"], "evaluation", True),
        ([], "nothing", False),
    ],
)
def test_a_folder_of_another_command_is_told_apart(
    tmp_path: Path, files: list[str], kind: str, *, evaluated: bool
) -> None:
    with closing(connect_to(tmp_path / "state.sqlite")):
        for name in files:
            (tmp_path / name).write_text("")
        facts = overview.Overviews().of(tmp_path)
    assert (facts["error"], facts["kind"], facts["evaluated"]) == ("", kind, evaluated)
    for language in ("en", "zh"):
        assert text(language, f"runs.kind_{kind}") != text(language, "runs.look")


def test_two_apps_share_nothing(client: Client, run: Path) -> None:
    other = WebState(run.parent)
    assert other.indexes.of(run) is not client.app.state.web.indexes.of(run)
    other.indexes.close()
    assert listed(client, "?search=weather")["total"] == 1


def test_broken_and_foreign_folders_are_told_of_and_no_fault(client: Client, run: Path) -> None:
    (run.parent / "broken").mkdir()
    (run.parent / "broken" / "state.sqlite").write_bytes(b"nonsense" * 999)
    (run.parent / "foreign").mkdir()
    (run.parent / "folder").mkdir()
    (run.parent / "folder" / "state.sqlite").mkdir()
    (run.parent / "link").symlink_to("/")
    (run.parent / "odd \u202e<b>").mkdir()
    (run.parent / "odd \u202e<b>" / "state.sqlite").write_bytes(b"")
    (run / "recipe.yaml").write_text("nonsense: [")
    found = {one["name"]: one["error"] for one in client.get("/api/runs").json()}
    assert set(found) == {"data", "broken", "folder", "odd [U+202E]<b>"}
    assert not found["data"]
    assert "not a database" in found["broken"]
    assert found["folder"]
    assert client.get("/", accept="text/html").status == 200
    assert client.get("/runs/broken", accept="text/html").status == 200
    assert client.get("/runs/foreign").status == 404
    assert client.get("/api/runs/broken/rows").json()["total"] == 0
    assert client.get("/runs/broken/rows/0").status == 404
    assert client.get("/runs/broken/export").status == 409


def test_no_folder_of_runs_is_no_fault(tmp_path: Path) -> None:
    client = Client(create_app(WebState(tmp_path / "none")))
    assert client.get("/api/runs").json() == []
    assert "reflectune recycle" in client.get("/", accept="text/html").text
    assert run_names(tmp_path / "none") == []


@pytest.mark.parametrize("name", ["..", "../data", "data/../data", "%2e%2e", "%2Fetc", "data%00", "x" * 300, "none"])
@pytest.mark.parametrize("rest", ["", "/rows", "/rows/0", "/export", "/files/run.json"])
def test_names_that_lead_elsewhere_are_not_found(client: Client, name: str, rest: str) -> None:
    assert client.get(f"/runs/{name}{rest}").status == 404


def test_only_data_files_can_be_fetched(client: Client, run: Path) -> None:
    (run / "run.json").write_text("{}")
    got = client.get("/runs/data/files/run.json")
    assert (got.status, got.body) == (200, b"{}")
    assert "attachment" in got.headers["content-disposition"]
    for name in ("state.sqlite", "run.lock", "..%2Fx", "view.sqlite", ".env"):
        assert client.get(f"/runs/data/files/{name}").status == 404
    (run / "README.md").symlink_to("/etc/hostname")
    assert client.get("/runs/data/files/README.md").status == 404


def test_rows_are_searched_filtered_and_sorted(client: Client) -> None:
    assert listed(client)["total"] == 7
    assert [row["position"] for row in listed(client, f"?search={quote('天气')}")["rows"]] == [CHINESE]
    assert [row["position"] for row in listed(client, "?status=failed&reason=copy")["rows"]] == [FAILED]
    assert [row["position"] for row in listed(client, "?sort=ifd_after&order=desc&low=0.1")["rows"]] == [
        WEATHER,
        CHINESE,
    ]
    assert listed(client, "?limit=2&offset=2")["rows"][0]["position"] == FAILED
    around = listed(client, "?limit=2&around=5")
    assert (around["offset"], [row["position"] for row in around["rows"]]) == (4, [UNREAD, HARMFUL])
    facets = client.get("/api/runs/data/facets").json()
    assert facets["status"] == {"rewritten": 4, "failed": 2, "pending": 1}
    assert facets["won"] == {"none": 6, "QA": 1}  # a row that was dropped has no version selected
    assert facets["why"]["new-response"] == 1


@pytest.mark.parametrize(
    "query", ["?sort=id;drop&order=x", "?limit=x&offset=-5&low=nan&high=inf", "?status=%27&gate=%25", "?around=1e99"]
)
def test_questions_that_make_no_sense_are_harmless(client: Client, query: str) -> None:
    assert client.get(f"/api/runs/data/rows{query}").status == 200


def test_too_much_that_is_sought_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(client)
    words = "+".join(f"w{number}" for number in range(17))
    got = client.get(f"/api/runs/data/rows?search={words}")
    assert (got.status, "16 words" in got.text) == (400, True)
    assert client.get(f"/api/runs/data/rows?search={words[:-4]}").status == 200
    monkeypatch.setattr(asking, "_STEPS", 1)
    monkeypatch.setattr(asking, "_SECONDS", -1.0)
    got = client.get("/api/runs/data/rows?search=weather")
    assert (got.status, "too long" in got.text) == (400, True)
    monkeypatch.setattr(asking, "_SECONDS", 5.0)
    assert client.get("/api/runs/data/rows?search=weather").status == 200


def test_a_row_is_told_as_json(client: Client) -> None:
    found = client.get(f"/api/runs/data/rows/{WEATHER}").json()
    assert (found["id"], found["standing"], found["decision"]) == ("weather", "QA", None)
    assert found["selected"]["detail"] == "IFD of Q 0.6 > 0.5"
    for position in (99, -1, 99999999999999999999):
        assert client.get(f"/api/runs/data/rows/{position}").status == 404
        assert client.get(f"/runs/data/rows/{position}/part").status == 404
    assert client.get("/api/runs/data/rows/x").status == 404


def test_versions_stand_side_by_side_each_after_its_critique(client: Client) -> None:
    html = client.get(f"/runs/data/rows/{WEATHER}/part", accept="text/html").text
    places = [
        html.index(mark)
        for mark in (
            'id="side-original"',
            "Critique of Original",
            "<h3>Q: new",
            "Critique of Q",
            "<h3>QA: both",
            "Critique of the result",
        )
    ]
    assert places == sorted(places)
    assert "IFD <b>0.625</b> · r-IFD <b>0.250</b>" in html
    assert "Selected: QA: both." in html
    assert "IFD of Q 0.6 &gt; 0.5" in html
    assert "More detail of the instruction." in html
    assert "Candidate 2 of 2" in html
    assert re.search(r"Name the weather\.<ins> Say why\.</ins>", html)
    assert "<del>in the north</del>" in html  # the input is merged into the new instruction


def test_chinese_is_compared_by_its_characters(client: Client) -> None:
    html = client.get(f"/runs/data/rows/{CHINESE}/part").text
    assert "今天<ins>北京</ins>天气很好" in html
    assert "Not selected." in html


def test_names_of_criteria_and_reasons_are_in_the_language_of_the_page(client: Client) -> None:
    html = client.get(f"/runs/data/rows/{CHINESE}/part", cookie="lang=zh").text
    assert "准确性" in html
    assert "新回答没有更好" in html
    assert ">accuracy<" not in html
    assert 'title="response-not-better"' in html  # the name that commands take


def test_what_select_said_before_a_decision_is_out_of_date(client: Client, run: Path) -> None:
    part = f"/runs/data/rows/{CHINESE}/part"
    assert "out of date" not in client.get(part).text
    with deciding_in(run) as folder:
        decide(folder, "chinese", Said("edit", Version(instruction="a", response="b")))
    assert "out of date" in client.get(part).text
    assert f"reflectune runs write {run}" in client.get(part).text
    with RunDir(run) as folder:
        folder.keep_selection([("chinese", Selected(kept=True, version="human", reason="edited-by-hand"))])
    assert "out of date" not in client.get(part).text
    with deciding_in(run) as folder:
        decide(folder, "chinese", Said("reject"))
    assert "out of date" in client.get(part).text


def test_a_failure_is_shown_with_what_the_oracle_said(client: Client) -> None:
    html = client.get(f"/runs/data/rows/{FAILED}/part").text
    assert "It is the old text." in html
    assert "raw [U+0000]&lt;script&gt;" in html
    assert 'data-verdict="accept" aria-keyshortcuts="a" disabled' in html


@pytest.mark.parametrize("position", [PENDING, UNREAD])
def test_rows_without_a_result_have_nothing_to_decide(client: Client, position: int) -> None:
    html = client.get(f"/runs/data/rows/{position}/part").text
    assert html.count(" disabled>") == 3
    got = client.post(f"/api/runs/data/rows/{position}/decision", {"verdict": "reject"})
    assert got.status == 409


@pytest.mark.parametrize("position", [FAILED, HARMFUL])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_harmful_text_is_text(client: Client, position: int, language: str) -> None:
    for address in (f"/runs/data/rows/{position}/part", f"/runs/data/rows/{position}", "/runs/data", "/"):
        html = client.get(address, cookie=f"lang={language}").text
        assert "<script>document" not in html
        assert "<img" not in html
        assert "<svg onload" not in html
        assert '<a href="javascript' not in html
        assert "\u202e" not in re.sub(r"<textarea.*?</textarea>", "", html, flags=re.DOTALL)
        assert "\x07" not in re.sub(r"<textarea.*?</textarea>", "", html, flags=re.DOTALL)
    part = client.get(f"/runs/data/rows/{position}/part").text
    assert "{{ 7 * 7 }}" in part
    assert "[U+202E]" in part


def test_a_long_text_is_cut_and_given_whole_when_asked_for(client: Client) -> None:
    part = client.get(f"/runs/data/rows/{LONGEST}/part")
    assert len(part.body) < 1_200_000  # the edit form holds it once
    assert "too long to compare" in part.text
    assert 'data-more="response"' in part.text
    whole = client.get(f"/api/runs/data/rows/{LONGEST}/text?version=QA&field=response").json()["text"]
    assert whole == f"{LONG}end"
    assert client.get(f"/api/runs/data/rows/{LONGEST}/text?version=A&field=response").status == 404
    assert client.get(f"/api/runs/data/rows/{LONGEST}/text?version=QA&field=__class__").status == 404


def test_a_row_is_accepted_rejected_edited_and_undone(client: Client, run: Path) -> None:
    listed(client)
    at = f"/api/runs/data/rows/{HARMFUL}/decision"
    seen = client.get(f"/api/runs/data/rows/{HARMFUL}").json()["hash"]
    assert client.post(at, {"verdict": "reject", "note": HARM, "seen": seen}).json()["decision"]["verdict"] == "reject"
    assert row_of(run, HARMFUL_ID).rejected
    assert [row["position"] for row in client.get("/api/runs/data/rows?human=reject").json()["rows"]] == [HARMFUL]
    edit = {"instruction": "Mine?", "input": "", "response": "mine alone"}
    assert client.post(at, {"verdict": "edit", "version": edit}).json()["standing"] == "human"
    assert client.get("/api/runs/data/rows?search=mine+alone").json()["total"] == 1
    assert "By hand" in client.get(f"/runs/data/rows/{HARMFUL}/part").text
    assert client.post(at, {"verdict": "undo"}).json()["decision"] is None
    assert client.post(at, {"verdict": "accept", "seen": "another"}).status == 409
    assert client.post(at, {"verdict": "edit", "version": {**edit, "response": " "}}).status == 409
    assert client.post(at, {"verdict": "forget"}).status == 400
    for said in (
        {"note": "\ud800"},
        {"seen": "\ud800"},
        {"\ud800": 1},
        {"verdict": "edit", "version": {**edit, "input": "\ud800"}},
    ):
        assert client.post(at, {"verdict": "reject", **said}).status in {400, 409}
    assert client.post(at, {"verdict": "reject"}, content_type="text/plain").status == 415
    assert client.post(at, {"verdict": "reject"}, origin="http://evil.example").status == 403
    assert row_of(run, HARMFUL_ID).decision is None


def test_a_decision_that_no_longer_holds_is_shown_so(client: Client, run: Path) -> None:
    assert client.post(f"/api/runs/data/rows/{WEATHER}/decision", {"verdict": "accept"}).status == 200
    with RunDir(run) as folder:
        folder.forget("recycle")
    html = client.get(f"/runs/data/rows/{WEATHER}/part").text
    assert "accepted by hand, but made anew since" in html


def test_the_export_is_the_data_as_decisions_now_stand(client: Client, run: Path) -> None:
    before = sorted(path.name for path in run.iterdir())
    client.post(f"/api/runs/data/rows/{WEATHER}/decision", {"verdict": "reject"})
    edit = {"instruction": "Mine?", "input": "", "response": "mine alone"}
    client.post(f"/api/runs/data/rows/{FAILED}/decision", {"verdict": "edit", "version": edit})
    got = client.get("/runs/data/export")
    assert "data-recycled.jsonl" in got.headers["content-disposition"]
    rows = [json.loads(line) for line in got.body.splitlines()]
    assert [row["reflectune"]["id"] for row in rows] == ["chinese", "failed", HARMFUL_ID, "long"]
    assert rows[1]["output"] == "mine alone"
    assert json.loads(client.get("/runs/data/export?to=messages").body.splitlines()[0])["messages"][0]["role"] == "user"
    filled = client.get("/runs/data/export?fill=true").body.splitlines()
    assert len(filled) == 5
    assert client.get("/runs/data/export?to=nonsense").status == 400
    made = {
        name for name in (path.name for path in run.iterdir()) if not name.startswith(("view.sqlite", "state.sqlite"))
    }
    assert made <= set(before)


def test_a_retry_is_refused_while_a_process_works_on_the_run(client: Client, run: Path) -> None:
    with RunDir(run):
        assert client.post("/api/runs/data/retry", {}).status == 409
        assert client.post("/api/runs/data/write", {}).status == 409
    assert client.post("/api/runs/data/retry", {"reasons": ["--fresh"]}).status == 400
    assert client.post("/api/runs/data/retry", {"reason": "copy"}).status == 400
    assert not (run / "retry.log").exists()
    assert holder(run) is None


def test_what_there_is_to_show_of_a_row_follows_its_decision(run: Path) -> None:
    with deciding_in(run) as folder:
        decide(folder, "weather", Said("accept", note="fine"))
    shown = shown_row(0, row_of(run, "weather"), None, None)
    assert [(side.name, side.standing) for side in shown.sides] == [("original", False), ("Q", False), ("QA", True)]
    assert shown.edit is not None
    assert shown.edit.response == "It rains hard today."


def ended(client: Client) -> dict[str, Any]:
    for _ in range(600):
        job = client.get("/api/runs/data").json()["job"]
        if not job["working"]:
            return dict(job)
        time.sleep(0.05)
    raise AssertionError("it does not end")


def test_failed_rows_are_tried_again_by_a_process_whose_key_never_shows(
    loopback: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: Loopback = loopback()
    data = tmp_path / "data.json"
    data.write_text(json.dumps([{"instruction": "Copy this.", "output": "this"}]))
    run = make(tmp_path / "runs" / "data", oracle=f"m@{server.base_url}", data=str(data))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    client = Client(create_app(WebState(run.parent)))
    begun = client.post("/api/runs/data/retry", {"reasons": ["copy"]})
    assert begun.status == 200
    assert client.post("/api/runs/data/retry", {}).status == 409  # one at a time
    job = ended(client)
    assert job["code"] == 0, job["said"]
    assert server.stats()["requests"] >= 1
    found = client.get("/api/runs/data")
    assert "copy" not in found.json()["reasons"]
    assert "sk-secret" not in found.text + (run / "retry.log").read_text()
    assert client.post("/api/runs/data/write", {}).status == 200
    assert ended(client)["code"] == 0
    assert (run / "recycled.jsonl").is_file()
