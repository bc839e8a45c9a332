"""Who may ask the app, and what its replies forbid the browser."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from starlette.datastructures import Headers

from reflectune.cli.showing import runs_and_first
from reflectune.errors import RunError, SettingsError
from reflectune.web.app import create_app
from reflectune.web.safety import POLICY, Guard, check_binding, gives_key, host_name, is_loopback, refusal
from reflectune.web.state import WebState

NAMES = frozenset({"box.example"})


def headers(**values: str) -> Headers:
    return Headers({name.replace("_", "-"): value for name, value in values.items()})


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:80", "localhost"),
        ("127.0.0.1:7861", "127.0.0.1"),
        ("[::1]:7861", "::1"),
        ("localhost.", "localhost"),
        ("evil.example", "evil.example"),
        ("localhost@evil.example", "evil.example"),
        ("[::1", ""),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LocalHost"])
def test_this_machine_needs_no_key(host: str) -> None:
    assert is_loopback(host)
    check_binding(host, None, None)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "127.0.0.1.evil.example", "", "10.0.0.1"]
)
def test_elsewhere_a_key_is_needed(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(SettingsError, match="--api-key-env"):
        check_binding(host, None, None)
    check_binding(host, "secret", "KEY")


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "0.0.0.0"])
def test_another_name_is_refused(name: str) -> None:
    why = refusal("GET", headers(host=name), NAMES)
    assert why is not None
    assert why[0] == 421
    assert refusal("GET", headers(host=name or "x"), None) is None


@pytest.mark.parametrize(
    "name", ["localhost:7861", "127.0.0.1", "127.0.0.2:80", "[::1]:7861", "box.example", "BOX.example:1"]
)
def test_a_name_of_its_own_is_not(name: str) -> None:
    assert refusal("GET", headers(host=name), NAMES) is None


def test_two_host_headers_are_refused() -> None:
    twice = Headers(raw=[(b"host", b"localhost"), (b"host", b"evil.example")])
    assert refusal("GET", twice, NAMES) is not None
    assert refusal("GET", Headers({}), NAMES) is not None


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 415),
        ({"content_type": "application/json"}, None),
        ({"content_type": "application/json; charset=utf-8"}, None),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "multipart/form-data"}, 415),
        ({"content_type": "application/json", "origin": "http://localhost:7861"}, None),
        ({"content_type": "application/json", "origin": "http://evil.example"}, 403),
        ({"content_type": "application/json", "origin": "http://localhost:8000"}, 403),
        ({"content_type": "application/json", "origin": "null"}, 403),
        ({"content_type": "application/json", "sec_fetch_site": "cross-site"}, 403),
        ({"content_type": "application/json", "sec_fetch_site": "same-site"}, 403),
        ({"content_type": "application/json", "sec_fetch_site": "same-origin"}, None),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_another_site_changes_nothing(method: str, given: dict[str, str], status: int | None) -> None:
    why = refusal(method, headers(host="localhost:7861", **given), NAMES)
    assert (why and why[0]) == status


def test_reading_needs_no_origin() -> None:
    assert refusal("GET", headers(host="localhost:7861", origin="http://evil.example"), NAMES) is None


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "good"),
    [
        ("Bearer sécret", True),
        ("bearer  sécret ", True),
        ("Bearer secret", False),
        ("Bearer sécret2", False),
        ("Bearer ", False),
        ("", False),
        ("sécret", False),
        (basic("anyone:sécret"), True),
        (basic(":sécret"), True),
        (basic("sécret:"), False),
        (basic("sécret"), False),
        ("Basic %%%", False),
        ("Digest sécret", False),
    ],
)
def test_the_key_is_asked_for(header: str, good: bool) -> None:
    given = Headers(raw=[(b"authorization", header.encode("latin-1"))])
    assert gives_key(given, "sécret") is good


async def asked(
    app: Any, path: str = "/", method: str = "GET", body: bytes = b"", into: list[Any] | None = None, **given: str
) -> tuple[int, dict[str, str], bytes]:
    """What an app replies, without a socket."""
    sent: list[dict[str, Any]] = [] if into is None else into
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in {"host": "localhost", **given}.items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": raw,
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }

    events = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        return next(events, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, b"".join(message.get("body", b"") for message in sent)


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(WebState(tmp_path))


async def test_every_reply_carries_the_policy(app: FastAPI) -> None:
    for path in ("/", "/nowhere", "/static/base.css", "/static/../app.py"):
        _, told, _ = await asked(app, path)
        assert told["content-security-policy"] == POLICY
        assert told["x-content-type-options"] == "nosniff"
    status, told, _ = await asked(app, host="evil.example")
    assert (status, told["content-security-policy"]) == (421, POLICY)


async def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert POLICY.startswith("default-src 'none'")


async def test_a_wrong_key_is_told_apart_from_no_page(tmp_path: Path) -> None:
    app = create_app(WebState(tmp_path), key="k" * 20)
    status, told, _ = await asked(app)
    assert (status, told["www-authenticate"][:5]) == (401, "Basic")
    status, _, _ = await asked(app, "/nowhere", authorization=f"Bearer {'k' * 20}")
    assert status == 404


async def test_a_large_body_is_refused(app: FastAPI) -> None:
    @app.post("/echo")
    async def echo(request: Request) -> dict[str, int]:
        return {"size": len(json.loads(await request.body()))}

    guarded = Guard(app, largest_body=1024 * 1024)
    kind = {"content_type": "application/json", "origin": "http://localhost"}
    status, _, body = await asked(guarded, "/echo", "POST", json.dumps("x" * 1000).encode(), **kind)
    assert (status, json.loads(body)) == (200, {"size": 1000})
    status, _, body = await asked(guarded, "/echo", "POST", b"x" * (1024 * 1024 + 1), **kind)
    assert (status, json.loads(body)) == (413, {"error": {"message": "The body has more than 1 MB."}})


async def test_a_fault_of_ours_tells_nothing_of_itself(app: FastAPI) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the secret is 42")

    sent: list[Any] = []
    with pytest.raises(RuntimeError):  # for the log; the reply has gone out before
        await asked(app, "/broken", into=sent, accept="text/html")
    said = b"".join(message.get("body", b"") for message in sent)
    assert (b"content-security-policy", POLICY.encode()) in sent[0]["headers"]
    assert b"500" in said
    assert b"42" not in said


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../outside", "a/b", "a\\b", "/etc", "nowhere", "file.txt", "out", "x" * 300, "\0", "a\0b"]
)
def test_a_name_never_leaves_the_folder(tmp_path: Path, name: str) -> None:
    runs = tmp_path / "runs"
    for folder in (runs / "data run", tmp_path / "outside"):
        folder.mkdir(parents=True)
    (runs / "file.txt").write_text("x")
    (runs / "out").symlink_to(tmp_path / "outside")
    state = WebState(runs)
    assert state.run("data run") == runs / "data run"
    with pytest.raises(HTTPException):
        state.run(name)


@pytest.mark.parametrize("path", ["../data2/a.txt", "/etc/passwd", "..", ".", "", "nowhere", "link", "\0", "a" * 5000])
def test_a_file_never_leaves_its_run(tmp_path: Path, path: str) -> None:
    for folder in ("data", "data2"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "a.txt").write_text(folder)
    (tmp_path / "data" / "link").symlink_to(tmp_path / "data2" / "a.txt")
    state = WebState(tmp_path)
    assert state.file("data", "a.txt").read_text() == "data"
    with pytest.raises(HTTPException):
        state.file("data", path)


async def test_an_address_that_cannot_be_read_is_a_page_that_is_not_there(app: FastAPI) -> None:
    status, _, body = await asked(app, "/api/playground/abc/chat", "POST", b"{}", content_type="application/json")
    assert (status, json.loads(body)) == (404, {"error": {"message": "There is no such page."}})
    status, _, body = await asked(app, "/api/playground/share", "POST", b"{}", content_type="application/json")
    assert (status, json.loads(body)) == (400, {"error": {"message": "columns: Field required."}})


def test_a_folder_of_runs_is_no_run(tmp_path: Path) -> None:
    run = tmp_path / "data"
    run.mkdir()
    assert runs_and_first(tmp_path, None) == (tmp_path, None)
    (run / "state.sqlite").touch()
    assert runs_and_first(run, None) == (tmp_path, "data")
    assert runs_and_first(None, None) == (Path("runs"), None)
    with pytest.raises(RunError, match="There is no run"):
        runs_and_first(tmp_path / "nowhere", None)
    with pytest.raises(SettingsError, match="is not in"):
        runs_and_first(run, tmp_path / "elsewhere")
