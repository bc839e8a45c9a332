"""A student behind a server: what is asked of it, what only delays it, and what no score may be made of.

The server is a toy: the log-probability of a token follows from its number and the one before it.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from reflectune.errors import OracleError, SettingsError
from reflectune.recipe import ScoreSettings
from reflectune.records import Example
from reflectune.scoring import score
from reflectune.student import Student, Target, Unscorable, open_student
from test_tokens import spelling

pytestmark = pytest.mark.server

Answer = tuple[int, Any, dict[str, str]]
WORDS = spelling(begins=True)
TARGETS = [
    Target((5, 9, 7, 7, 120), 2),
    Target((5, 9), 1),
    Target((200, 3, 3, 3, 3, 3, 3, 3), 7),
    Target(tuple(range(2, 60)), 30),
]


def logprob(before: int, token: int) -> float:
    return -(1 + (31 * before + 17 * token) % 97) / 20


def expected(target: Target) -> float:
    losses = [-logprob(before, token) for before, token in pairwise(target.tokens[target.first - 1 :])]
    return sum(losses) / len(losses)


def said_of(tokens: list[int]) -> list[Any]:
    """What vLLM says of a prompt: nothing of its first token, and of the others with the likeliest beside it."""
    found: list[Any] = [None]
    for before, token in pairwise(tokens):
        entry = {"logprob": logprob(before, token), "rank": 7, "decoded_token": WORDS.decode([token])}
        found.append({"1": {"logprob": -0.01, "rank": 1, "decoded_token": "</s>"}, str(token): entry})
    return found


def answer(said: Any) -> Answer:
    choice = {"index": 0, "text": "x", "finish_reason": "length", "prompt_logprobs": said}
    return 200, {"object": "text_completion", "choices": [choice]}, {}


def plainly(body: dict[str, Any], number: int) -> Answer:
    """The answer to a request that goes well."""
    return answer(said_of(body["prompt"]))


def refusal(status: int, message: str, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    return status, {"error": {"message": message, "type": "error", "param": None, **fields}}, headers or {}


class Toy:
    """A server on the loopback interface, in threads of this process.

    Args:
        behaviour: The answer to a request, given its body and how many came before it.

    Attributes:
        base_url: Where it serves.
        asked: The bodies of the requests.
        keys: What they were authorised by.
        statuses: How they were answered.
    """

    def __init__(self, behaviour: Callable[[dict[str, Any], int], Answer]) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.statuses: Counter[int] = Counter()
        toy, one_at_a_time = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with one_at_a_time:
                    number = len(toy.asked)
                    toy.asked.append(body)
                    toy.keys.add(self.headers["Authorization"])
                    known = self.path == "/v1/completions"
                    status, said, headers = behaviour(body, number) if known else refusal(404, "Not Found")
                    toy.statuses[status] += 1
                packed = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(packed))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(packed)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client that has heard enough hangs up."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the served model's tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    WORDS.save_pretrained(folder)
    return folder


Serve = Callable[[Callable[[dict[str, Any], int], Answer]], tuple[Toy, Student]]


@pytest.fixture
def serve(tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A server that behaves in a given way, and the student behind it; both are ended with the test."""
    monkeypatch.setenv("REFLECTUNE_STUDENT_KEY", "sk-loopback-secret")
    with ExitStack() as running:

        def begun(behaviour: Callable[[dict[str, Any], int], Answer]) -> tuple[Toy, Student]:
            toy = Toy(behaviour)
            running.callback(toy.stop)
            student = open_student(ScoreSettings(student=f"toy@{toy.base_url}", tokenizer=str(tokenizer)))
            running.callback(student.close)
            return toy, student

        yield begun


def test_a_loss_is_the_mean_over_the_scored_tokens(serve: Serve) -> None:
    _, student = serve(plainly)
    assert student.losses(TARGETS) == pytest.approx([expected(target) for target in TARGETS])
    assert student.losses([]) == []


def test_the_tokens_are_sent_as_they_are(serve: Serve) -> None:
    toy, student = serve(plainly)
    student.losses(TARGETS[:1])
    assert toy.asked == [
        {"model": "toy", "prompt": [5, 9, 7, 7, 120], "max_tokens": 1, "prompt_logprobs": 1, "temperature": 0}
    ]
    assert toy.keys == {"Bearer sk-loopback-secret"}
    assert student.name == f"toy@{toy.base_url}"


def test_equal_targets_are_asked_for_once(serve: Serve) -> None:
    toy, student = serve(plainly)
    assert student.losses([*TARGETS, *TARGETS[::-1]]) == pytest.approx(list(map(expected, [*TARGETS, *TARGETS[::-1]])))
    assert len(toy.asked) == len(TARGETS)


def test_rows_are_scored_as_by_any_other_student(serve: Serve) -> None:
    _, student = serve(plainly)
    row = Example("cats", "Why do cats purr?", "It calms them.")
    found = score([row, row], student).scored[0].versions["original"]
    prompt = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        f"\n\n### Instruction:\n{row.instruction}\n\n### Response:"
    )
    begin, *tokens = student.tokenizer(prompt + row.response)["input_ids"]
    alone = (begin, *tokens[-len(row.response) :])
    assert found.response_tokens == len(row.response)
    assert found.response_loss_conditioned == pytest.approx(
        expected(Target((begin, *tokens), 1 + len(tokens) - len(row.response)))
    )
    assert found.response_loss_alone == pytest.approx(expected(Target(alone, 1)))


# what only delays


def test_a_server_that_is_busy_now_and_then_only_delays(serve: Serve) -> None:
    def busy(body: dict[str, Any], number: int) -> Answer:
        return refusal(503, "Overloaded.") if number % 4 == 1 else plainly(body, number)

    toy, student = serve(busy)
    assert student.losses(TARGETS * 3) == pytest.approx(list(map(expected, TARGETS * 3)))
    assert toy.statuses[503] >= 1
    assert toy.statuses[200] == len(TARGETS)


def test_a_server_that_names_a_time_is_left_alone_until_then(serve: Serve) -> None:
    moments: list[float] = []

    def rationed(body: dict[str, Any], number: int) -> Answer:
        moments.append(time.monotonic())
        return refusal(429, "Slow down.", {"Retry-After": "2"}) if number == 0 else plainly(body, number)

    toy, student = serve(rationed)
    assert student.losses(TARGETS[:1]) == pytest.approx([expected(TARGETS[0])])
    assert toy.statuses == {429: 1, 200: 1}
    assert moments[1] - moments[0] > 1.9


@pytest.mark.parametrize("broken", [b'{"choices": [{"prompt_', b""])
def test_a_server_that_is_never_well_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch, broken: bytes) -> None:
    monkeypatch.setattr("reflectune.student.server.MOST_TRIES", 2)
    toy, student = serve(lambda body, number: (502, broken, {}))
    with pytest.raises(OracleError, match="answered 502"):
        student.losses(TARGETS[:1])
    assert toy.statuses == {502: 2}


# what no score may be made of


TOO_LONG = "This model's maximum context length is 40 tokens. However, you requested 58 tokens."


@pytest.mark.parametrize(
    ("message", "reason"), [(TOO_LONG, "context-overflow"), ("Your prompt holds a token twice.", "bad-request")]
)
def test_a_refused_text_has_no_score_and_the_others_have_theirs(serve: Serve, message: str, reason: str) -> None:
    def refusing(body: dict[str, Any], number: int) -> Answer:
        return refusal(400, message, code=400) if len(body["prompt"]) > 40 else plainly(body, number)

    toy, student = serve(refusing)
    *scored, refused = student.losses(TARGETS)
    assert scored == pytest.approx(list(map(expected, TARGETS[:-1])))
    assert isinstance(refused, Unscorable)
    assert refused.reason == reason
    assert message in refused.detail
    assert toy.statuses[400] == 1  # such a text is not asked for again


def test_a_row_that_is_refused_is_a_failure_and_not_a_zero(serve: Serve) -> None:
    _, student = serve(lambda body, number: refusal(400, TOO_LONG, code=400))
    found = score([Example("cats", "Why do cats purr?", "It calms them.")], student)
    assert found.scored[0].versions == {}
    assert {(failure.id, failure.reason) for failure in found.failures} == {("cats", "context-overflow")}


@pytest.mark.parametrize(
    "said",
    [
        {"choices": [{"index": 0, "text": "x"}]},  # it ignores what it does not know
        {"choices": [{"index": 0, "text": "x", "prompt_logprobs": None}]},
        {"choices": []},
        {"object": "error"},
        [],
        None,
        b"<html>A proxy says hello.</html>",
    ],
)
def test_a_server_that_tells_nothing_of_prompts_is_no_student(serve: Serve, said: Any) -> None:
    _, student = serve(lambda body, number: (200, said, {}))
    with pytest.raises(OracleError, match="does not return the log-probabilities of prompts") as told:
        student.losses(TARGETS)
    assert "vLLM" in told.value.mend


def test_a_server_that_tells_of_another_number_of_tokens_is_no_student(serve: Serve) -> None:
    _, student = serve(lambda body, number: answer(said_of(body["prompt"])[:-1]))
    with pytest.raises(OracleError, match="does not return the log-probabilities of prompts"):
        student.losses(TARGETS)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"99": {"logprob": -1.0, "rank": 1}},  # of other tokens than were sent
        {"120": {"logprob": None, "rank": 1}},
        {"120": {"rank": 1}},
        {"120": -1.0},
        {},
        None,
    ],
)
def test_a_server_that_reads_other_tokens_names_the_tokenizer(serve: Serve, spoilt: Any) -> None:
    _, student = serve(lambda body, number: answer([*said_of(body["prompt"])[:-1], spoilt]))
    with pytest.raises(OracleError, match="says nothing of the token 120") as told:
        student.losses(TARGETS[:1])
    assert "--tokenizer" in told.value.mend


@pytest.mark.parametrize(
    ("refused", "mend"),
    [
        (refusal(401, "Incorrect API key provided.", code="invalid_api_key"), "REFLECTUNE_STUDENT_KEY"),
        (refusal(404, "The model `toy` does not exist.", code="model_not_found"), "'toy'"),
        (refusal(404, "Not Found"), "/v1"),
        (refusal(402, "Insufficient credits."), "credit"),
    ],
)
def test_a_server_that_is_of_no_use_stops_the_scoring(serve: Serve, refused: Answer, mend: str) -> None:
    toy, student = serve(lambda body, number: refused)
    with pytest.raises(OracleError) as told:
        student.losses(TARGETS)
    assert mend in told.value.mend
    assert f"{toy.base_url}/completions answered {refused[0]}" in told.value.what


def test_a_served_model_without_a_tokenizer_names_the_mend(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="There is no tokenizer") as told:
        open_student(ScoreSettings(student="toy@http://127.0.0.1:9/v1", tokenizer=str(tmp_path)))
    assert "--tokenizer" in told.value.mend
