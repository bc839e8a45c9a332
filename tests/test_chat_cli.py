"""`reflectune chat`: once, in a conversation, at a terminal."""

from __future__ import annotations

import asyncio
import builtins
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loopback import Loopback
from reflectune.cli import app, chatting
from reflectune.cli.chat_screen import told
from reflectune.cli.conversing import Prompter
from reflectune.cli.screen import clean, complain
from reflectune.errors import OracleError
from reflectune.inference import Conversation
from reflectune.oracles import Piece
from reflectune.recipe import ChatSettings
from reflectune.records import Reply, Request
from reflectune.testing import Said, ScriptedOracle

ROOT = Path(__file__).parents[1]
TAGGED = "<thinking>\nI add.\n<reflection>\nNot five.\n</reflection>\nSo four.\n</thinking>\n<output>\nFour.\n</output>"
Script = Callable[..., ScriptedOracle]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Let a scripted oracle be the model that a command opens."""

    def script(*said: Said, dialogue: bool = False) -> ScriptedOracle:
        oracle = ScriptedOracle(said, dialogue=dialogue)
        monkeypatch.setattr(chatting, "open_model", lambda *_: oracle)
        return oracle

    return script


def chat(*words: str, code: int = 0, given: str | None = None) -> Result:
    result = CliRunner().invoke(app, ["chat", "m", *words], input=given)
    assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}\n{result.exception!r}"
    return result


# ── once


def test_the_answer_alone_goes_to_standard_output(scripted: Script) -> None:
    scripted(TAGGED)
    result = chat("What is 2+2?")
    assert (result.stdout, result.stderr) == ("Four.\n", "")


def test_thinking_goes_to_standard_error(scripted: Script) -> None:
    scripted(TAGGED)
    result = chat("What is 2+2?", "--show")
    assert result.stdout == "Four.\n"
    assert result.stderr.split() == ["thinking", "I", "add.", "reflection", "Not", "five.", "thinking", "So", "four."]


def test_a_question_may_be_piped_in(scripted: Script) -> None:
    oracle = scripted(TAGGED, TAGGED)
    assert chat(given="What is\n2+2?\n").stdout == chat("-", given="again\n").stdout == "Four.\n"
    assert [request.messages[-1].content for request in oracle.requests] == ["What is\n2+2?", "again"]
    assert chat(given=" \n", code=1).exception is not None


def test_a_reply_without_tags_is_shown_and_it_is_said(scripted: Script) -> None:
    scripted("It is four.", "<thinking>on and on", "It is four.")
    result = chat("What is 2+2?")
    assert result.stdout == "It is four.\n"
    assert "no <output>" in result.stderr
    result = chat("What is 2+2?")
    assert result.stdout == ""
    assert "nothing else" in result.stderr
    result = chat("What is 2+2?", "--reflect", "off")
    assert (result.stdout, result.stderr) == ("It is four.\n", "")


def test_a_reply_that_is_cut_off_is_told(scripted: Script) -> None:
    scripted(Reply(text="<output>It is", finish_reason="length"), Reply(text="<output>It", finish_reason="odd\x1b"))
    assert "--max-tokens" in chat("q").stderr
    assert chat("q").stderr == "The reply ended for another reason: odd\n"


def test_one_object_is_printed(scripted: Script) -> None:
    scripted(TAGGED)
    result = chat("What is 2+2?", "--json")
    said = json.loads(result.stdout)
    assert said | {"seconds": 0} == {
        "model": "m",
        "question": "What is 2+2?",
        "output": "Four.",
        "thinking": "I add.\n\nNot five.\n\nSo four.",
        "reflections": ["Not five."],
        "faults": [],
        "finish_reason": "stop",
        "prompt_tokens": said["prompt_tokens"],
        "completion_tokens": len(TAGGED.split()),
        "raw": TAGGED,
        "seconds": 0,
    }
    assert result.stderr == ""


def test_flags_are_settings(scripted: Script) -> None:
    oracle = scripted(TAGGED, TAGGED, TAGGED)
    chat("q", "--best-of", "3", "--temperature", "0.1", "--top-p", "0.5", "--seed", "7", "--system", "Be brief.")
    assert [request.sample for request in oracle.requests] == [0, 1, 2]
    sampling = oracle.requests[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (0.1, 0.5, 7)
    assert oracle.requests[0].messages[0].content.endswith("Be brief.")


def test_mistakes_are_told(scripted: Script, tmp_path: Path) -> None:
    scripted(OracleError("no such model", mend="Name another."))
    assert isinstance(chat("q", code=1).exception, OracleError)
    assert "--rounds" in chat("q", "--rounds", "9", code=2).output
    scripted(TAGGED)
    assert "cannot be read" in str(chat("q", "--resume", str(tmp_path / "none.json"), code=1).exception)


def test_a_conversation_is_gone_on_with(scripted: Script, tmp_path: Path) -> None:
    conversation = Conversation(ScriptedOracle([TAGGED]))
    with asyncio.Runner() as runner:
        runner.run(told(conversation.ask("What is 2+2?"), None))
    conversation.save(tmp_path / "talk.json")
    oracle = scripted(TAGGED)
    chat("And 3+3?", "--resume", str(tmp_path / "talk.json"), "--reflect", "trained")
    assert [turn.content for turn in oracle.requests[0].messages] == ["What is 2+2?", "Four.", "And 3+3?"]


def test_what_would_steer_a_terminal_is_left_out(scripted: Script) -> None:
    assert clean("a\x1b[31mb\x00\r\nc\td\x9b\x7f\ue000\ud800") == "a[31mb\nc\td\ue000\ufffd"
    scripted("<thinking>\x1b]0;title\x07</thinking><output>a\x1b[2J\x08b\r\nc</output>")
    result = chat("q", "--show")
    assert result.stdout == "a[2Jb\nc\n"
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


def test_what_an_endpoint_says_in_an_error_does_not_steer_a_terminal(
    typed: Callable[..., tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    error = OracleError("bad \x1b]0;owned\x07 \x1b[2J", mend="Name \x9b1m another.")
    complain(error)
    told_once = capsys.readouterr().err
    assert told_once == "Error: bad ]0;owned [2J\nName 1m another.\n"
    assert told_once in typed(ScriptedOracle([error]), ["q"])[0]


def test_what_looks_like_markup_is_shown_as_it_is(scripted: Script) -> None:
    scripted("<output>[bold]a[/bold] :smile: [/nope] https://x.y</output>")
    assert chat("q").stdout == "[bold]a[/bold] :smile: [/nope] https://x.y\n"


# ── a conversation


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, int]]:
    """Type lines into a conversation; what is printed, and the exit code."""

    def type_in(oracle: ScriptedOracle, lines: Iterable[str], settings: ChatSettings | None = None) -> tuple[str, int]:
        said = iter(lines)

        def enter(_: str = "") -> str:
            line = next(said, None)
            if line is None:
                raise EOFError
            if line == "^C":
                raise KeyboardInterrupt
            return line

        monkeypatch.setattr(builtins, "input", enter)
        with asyncio.Runner() as runner:
            code = Prompter(Conversation(oracle, settings), runner, oracle.name, shown=True).converse()
        printed = capsys.readouterr()
        return printed.out + printed.err, code

    return type_in


def test_a_conversation(typed: Callable[..., tuple[str, int]], tmp_path: Path) -> None:
    oracle = ScriptedOracle([TAGGED, TAGGED.replace("Four", "Six"), TAGGED.replace("Four", "Seven")])
    said = ["", "What is 2+2?", "And \\", "3+3?", "/again", f"/save '{tmp_path}/my talk.json'", "/exit", "never"]
    shown, code = typed(oracle, said)
    assert code == 0
    assert shown.count("reflection\nNot five.\n") == 3
    assert "So four.\n\nFour.\n" in shown
    assert "Seven." in shown
    assert [request.messages[-1].content for request in oracle.requests] == ["What is 2+2?", "And \n3+3?", "And \n3+3?"]
    kept = json.loads((tmp_path / "my talk.json").read_text())
    assert [exchange["output"] for exchange in kept["exchanges"]] == ["Four.", "Seven."]


def test_thinking_is_folded_and_unfolded(typed: Callable[..., tuple[str, int]]) -> None:
    shown, _ = typed(ScriptedOracle([TAGGED, TAGGED]), ["/show", "/hide", "q", "/show", "q"])
    folded, _, unfolded = shown.partition("Four.\n")
    assert "Not five." not in folded
    assert "thought 6 words, 1 reflection" in folded
    assert unfolded.count("reflection\nNot five.") == 2  # of the last answer, and of the next one


def test_a_conversation_goes_on_after_mistakes(
    typed: Callable[..., tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    oracle = ScriptedOracle([OracleError("no such model", mend="Name another."), "plain", TAGGED])
    lines = [
        "/again",
        "/nope",
        "/save",
        f"/save {tmp_path}/no/such/folder.md",
        "/save 'a",
        "q",
        "q",
        "/new",
        "q",
        "/help",
    ]
    shown, code = typed(oracle, lines)
    assert code == 0
    for what in ("Nothing was asked yet", "There is no /nope", "/save takes one file", "cannot be written"):
        assert what in shown
    assert (tmp_path / "'a").is_file()  # a quote that is never closed is part of the name
    assert "no such model\nName another." in shown
    assert "There is no <output>" in shown
    assert len(oracle.requests[-1].messages) == 2  # the system prompt and the question: /new forgot the rest
    assert "/hide" in shown


@pytest.mark.parametrize("name", [".", "/", "..", "~nosuchuser/x", "folder", "a\0b"])
def test_a_name_that_no_file_can_have_is_told_and_leaves_nothing_behind(
    typed: Callable[..., tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    here = tmp_path / "here"
    (here / "folder").mkdir(parents=True)
    monkeypatch.chdir(here)
    oracle = ScriptedOracle([TAGGED, TAGGED])
    shown, code = typed(oracle, ["a", f"/save {name}", "b"])
    assert (code, len(oracle.requests)) == (0, 2)
    assert "cannot be written: " in shown
    assert list(tmp_path.rglob("*")) == [here, here / "folder"]


class Interrupted(ScriptedOracle):
    """A model in whose second reply somebody presses Ctrl-C."""

    closed = False

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Reply]:
        if len(self.requests) == 1:
            self.requests.append(request)
            yield Piece(text="<thinking>I begin")
            os.kill(os.getpid(), 2)
            try:
                await asyncio.sleep(5)
            finally:
                self.closed = True
        async for piece in super().stream(request):
            yield piece


def test_ctrl_c_stops_an_answer_and_at_the_prompt_the_program(typed: Callable[..., tuple[str, int]]) -> None:
    oracle = Interrupted([TAGGED, TAGGED])
    shown, code = typed(oracle, ["a", "b", "c", "^C", "never"])
    assert code == 130
    assert oracle.closed
    assert "I begin\nStopped" in shown
    sent = [turn.content for turn in oracle.requests[-1].messages]
    assert sent[1:] == ["a", "Four.", "c"]


# ── a terminal


class Terminal:
    """`reflectune chat` at a terminal of its own."""

    def __init__(self, *words: str, **variables: str) -> None:
        import pty

        environment = {**os.environ, "TERM": "xterm-256color", "OPENAI_API_KEY": "k", **variables}
        self._here, there = pty.openpty()
        command = [sys.executable, "-m", "reflectune", "chat", *words]
        self.process = subprocess.Popen(
            command, stdin=there, stdout=there, stderr=there, env=environment, start_new_session=True
        )
        os.close(there)
        self._seen = ""

    def until(self, pattern: str, seconds: float = 20) -> str:
        """Read until a pattern is there; what came up to its end."""
        ends = time.monotonic() + seconds
        while (found := re.search(pattern, self._seen)) is None:
            assert time.monotonic() < ends, f"no {pattern!r} in {self._seen!r}"
            if select.select([self._here], [], [], 0.1)[0]:
                with suppress(OSError):  # the other end is closed
                    self._seen += os.read(self._here, 65536).decode("utf-8", "replace")
        read, self._seen = self._seen[: found.end()], self._seen[found.end() :]
        return read

    def type(self, text: str) -> None:
        os.write(self._here, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)
        os.close(self._here)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*words: str, **variables: str) -> Terminal:
        opened.append(Terminal(*words, **variables))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_at_a_terminal(loopback: Callable[..., Loopback], terminal: Callable[..., Terminal]) -> None:
    server = loopback("--echo", "--tags", "--piece-ms", "25")
    here = terminal(f"m@{server.base_url}", "--hide")
    here.until("> ")
    here.type("helo\x7flo\n")  # lines can be edited
    shown = here.until(r"hello\r\n(?=.*> )")
    assert re.search(r"\r\x1b\[2K\x1b\[2mthinking \.\.\. \d+ words?", shown)
    assert "thought 10 words, 1 reflection" in shown
    here.type("/show\n")
    assert "\x1b[2m" in here.until("Thinking is shown")
    here.until("> ")
    here.type("a question that is stopped\n")
    assert "\x1b[35m" in here.until("hall")
    os.killpg(here.process.pid, 2)
    here.until("Stopped")
    for _ in range(40):
        if server.stats()["in_flight"] == 0:
            break
        time.sleep(0.05)
    assert server.stats()["in_flight"] == 0
    here.until("> ")
    here.type("/exit\n")
    assert here.process.wait(timeout=10) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_no_colour_is_no_colour(loopback: Callable[..., Loopback], terminal: Callable[..., Terminal]) -> None:
    here = terminal(f"m@{loopback('--echo', '--tags').base_url}", NO_COLOR="1")
    here.until("> ")
    here.type("hello\n")
    shown = here.until(r"hello\r\n(?=.*> )")
    assert "I shall look again" in shown
    assert not re.search(r"\x1b\[[\d;]*3\d", shown)
    here.type("\x04")
    assert here.process.wait(timeout=10) == 0


# ── the script


def test_the_example_talks(loopback: Callable[..., Loopback], tmp_path: Path) -> None:
    server = loopback()
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "chat.py"), f"m@{server.base_url}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[reflection] ") == done.stdout.count("[output] ") == 2
    assert "Helpfulness" in done.stdout


def test_a_file_that_is_there_is_not_written_over_but_by_its_own_conversation(
    typed: Callable[..., tuple[str, int]], tmp_path: Path
) -> None:
    data, talk = tmp_path / "data.jsonl", tmp_path / "talk.json"
    data.write_text("rows")
    shown, code = typed(ScriptedOracle(["one", "two"]), ["a", f"/save {data}", f"/save {talk}", "b", f"/save {talk}"])
    assert code == 0
    assert "it is there already" in " ".join(shown.split())
    assert data.read_text() == "rows"
    assert "two" in talk.read_text()
