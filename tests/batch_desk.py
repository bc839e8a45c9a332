"""The loopback server's files and batches, as OpenAI's protocol has them.

A batch is validated, worked on for a while and ends as the server's flags say; its replies come in another order than
its requests. Requests of it go wrong the first time, whole batches end before their time, calls fail or lose their
reply, as the flags say.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from faulty import cut

_ENDPOINT = "/v1/chat/completions"
_OK = 200
_KEYS = {"custom_id", "method", "url", "body"}
_ERRORS: dict[str, tuple[int, str, str | None]] = {
    "500": (500, "The server had an error.", None),
    "429": (429, "Rate limit reached for requests.", None),
    "quota": (429, "You exceeded your current quota.", "insufficient_quota"),
}
LINE_FAULTS = ("expired", "missing", "broken-content", *_ERRORS)
"""How single requests of a batch go wrong."""


class RefusedCallError(Exception):
    """A call that is answered with an error.

    Args:
        status: The HTTP status.
        message: What is wrong.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Job:
    """A batch."""

    id: str
    input: str
    metadata: dict[str, Any]
    lines: list[dict[str, Any]] = field(default_factory=list)
    status: str = "validating"
    output: str | None = None
    faults: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    completed: int = 0
    failed: int = 0
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def plain(self) -> dict[str, Any]:
        """The batch as the server describes it."""
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": _ENDPOINT,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output,
            "error_file_id": self.faults,
            "created_at": 0,
            "request_counts": {"total": len(self.lines), "completed": self.completed, "failed": self.failed},
            "metadata": self.metadata,
        }


@dataclass(frozen=True)
class DeskFlags:
    """How the desk behaves.

    Attributes:
        seconds: How long a batch is worked on.
        most: The most requests in a batch.
        tokens: The most tokens that may wait in all open batches; 0 for no limit.
        ends: How the first batches end, in turn; later ones are completed.
        faults: The share of requests that go wrong the first time.
        call_faults: The share of calls that fail the first time, half of them after they have done their work.
    """

    seconds: float
    most: int
    tokens: int
    ends: tuple[str, ...]
    faults: float
    call_faults: float


class Desk:
    """The files and batches.

    Args:
        flags: How it behaves.
        answer: The status and the body of the answer to a request.
        tokens: How many tokens a body has.
    """

    def __init__(
        self,
        flags: DeskFlags,
        answer: Callable[[dict[str, Any]], tuple[int, dict[str, Any]]],
        tokens: Callable[[Any], int],
    ) -> None:
        self._flags = flags
        self._answer = answer
        self._tokens = tokens
        self._files: dict[str, bytes] = {}
        self._numbers = itertools.count(1)
        self._jobs: dict[str, Job] = {}
        self._ends = list(flags.ends)
        self._calls: Counter[str] = Counter()
        self._failed_calls = 0
        self._seen: set[bytes] = set()
        self._answered: Counter[bytes] = Counter()
        self._requests = 0
        self._largest = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def stats(self) -> dict[str, Any]:
        """What was asked so far."""
        return {
            "batches": [job.status for job in self._jobs.values()],
            "batch_sizes": [len(job.lines) for job in self._jobs.values()],
            "batch_requests": self._requests,
            "batch_distinct": len(self._seen),
            "batch_answered_twice": sum(count > 1 for count in self._answered.values()),
            "batch_largest_file": self._largest,
            "failed_calls": self._failed_calls,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a call about files or batches."""
        fault = self._call_fault(request)
        if fault in {"503", "cut-before"}:
            return cut(request) if fault == "cut-before" else _error(503, "Try again.")
        try:
            response = await self._route(request)
        except RefusedCallError as refusal:
            return _error(refusal.status, str(refusal))
        return cut(request) if fault == "cut-after" else response

    def _call_fault(self, request: web.BaseRequest) -> str:
        """How a call goes wrong; the same one goes wrong once, however often it is made."""
        what = f"{request.method} {request.path} {len(self._jobs) if request.method == 'POST' else ''}"
        self._calls[what] += 1
        draw = random.Random(what)
        if self._calls[what] > 1 or draw.random() >= self._flags.call_faults:
            return ""
        self._failed_calls += 1
        return draw.choice(("503", "cut-before", "cut-after", "cut-after"))

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.method, *request.path.removeprefix("/v1/").split("/"):
            case "POST", "files":
                return _json(await self._upload(request))
            case "GET", "files", name, "content":
                if name not in self._files:
                    raise RefusedCallError(404, f"No such File object: {name}")
                return web.Response(body=self._files[name], content_type="application/octet-stream")
            case "POST", "batches":
                return _json(self._create(orjson.loads(await request.read())))
            case "GET", "batches":
                return _json(self._list(dict(request.query)))
            case "GET", "batches", name:
                if name not in self._jobs:
                    raise RefusedCallError(404, f"No batch found with id '{name}'.")
                return _json(self._jobs[name].plain())
            case "POST", "batches", name, "cancel":
                self._jobs[name].status = "cancelling"
                self._jobs[name].cancelled.set()
                return _json(self._jobs[name].plain())
        raise RefusedCallError(404, "Not Found")

    async def _upload(self, request: web.BaseRequest) -> dict[str, Any]:
        fields: dict[str, bytes] = {}
        async for part in await request.multipart():
            chunks = []
            while chunk := await part.read_chunk(1 << 20):
                chunks.append(bytes(chunk))
            fields[part.name or ""] = b"".join(chunks)
        if fields.get("purpose") != b"batch" or "file" not in fields:
            raise RefusedCallError(400, "A file for a batch is expected.")
        name = self._keep(fields["file"])
        return {"id": name, "object": "file", "bytes": len(fields["file"]), "purpose": "batch", "status": "processed"}

    def _keep(self, content: bytes) -> str:
        name = f"file-{next(self._numbers)}"
        self._files[name] = content
        return name

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked.get("endpoint") != _ENDPOINT or asked.get("completion_window") != "24h":
            raise RefusedCallError(400, "Invalid endpoint or completion_window.")
        if asked.get("input_file_id") not in self._files:
            raise RefusedCallError(400, "Invalid input_file_id.")
        job = Job(f"batch_{len(self._jobs) + 1}", asked["input_file_id"], asked.get("metadata") or {})
        self._jobs[job.id] = job
        task = asyncio.create_task(self._work(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job.plain()

    def _list(self, query: dict[str, str]) -> dict[str, Any]:
        newest = list(reversed(self._jobs.values()))
        after = query.get("after")
        start = next((place + 1 for place, job in enumerate(newest) if job.id == after), 0)
        page = newest[start : start + int(query.get("limit", "20"))]
        return {
            "object": "list",
            "data": [job.plain() for job in page],
            "has_more": start + len(page) < len(newest),
        }

    async def _work(self, job: Job) -> None:
        content = self._files[job.input]
        self._largest = max(self._largest, len(content))
        await asyncio.sleep(self._flags.seconds / 4)
        job.lines = [orjson.loads(line) for line in content.splitlines()]
        job.errors = self._faults_of(job)
        if job.errors:
            job.status = "failed"
            return
        job.status = "in_progress"
        await asyncio.wait([asyncio.ensure_future(job.cancelled.wait())], timeout=self._flags.seconds / 2)
        end = self._ends.pop(0) if self._ends else "completed"
        end = "cancelled" if job.cancelled.is_set() else end
        job.status = "finalizing"
        await self._answer_all(job, end)
        await asyncio.sleep(self._flags.seconds / 4)
        del self._files[job.input]
        job.status = end

    def _faults_of(self, job: Job) -> list[dict[str, Any]]:
        names = [line.get("custom_id") for line in job.lines]
        if len(job.lines) > self._flags.most:
            return [{"code": "too_many_tasks", "message": f"At most {self._flags.most} requests.", "line": None}]
        if any(line.keys() != _KEYS or line["url"] != _ENDPOINT or line["method"] != "POST" for line in job.lines):
            return [{"code": "invalid_request", "message": "A line does not fit.", "line": 1}]
        if len(set(names)) < len(names):
            return [{"code": "duplicate_custom_id", "message": "The custom_id is not unique.", "line": 2}]
        waiting = [job, *(other for other in self._jobs.values() if other.status in {"in_progress", "finalizing"})]
        tokens = sum(self._tokens(line["body"]) for other in waiting for line in other.lines)
        if self._flags.tokens and tokens > self._flags.tokens:
            message = f"Enqueued token limit reached. Limit: {self._flags.tokens} enqueued tokens."
            return [{"code": "token_limit_exceeded", "message": message, "line": None}]
        return []

    async def _answer_all(self, job: Job, end: str) -> None:
        """Write the files: all requests answered, or a half of them where the batch ended before its time."""
        order = list(job.lines)
        random.Random(job.id).shuffle(order)
        reached = order if end == "completed" else order[: len(order) // 2]
        replies, faults = [], []
        for number, line in enumerate(reached):
            if number % 500 == 0:
                await asyncio.sleep(0)
            self._requests += 1
            reply, fault = self._outcome(line)
            replies += [reply] if reply else []
            faults += [fault] if fault else []
        if end == "expired":
            faults += [_fault(line, "batch_expired") for line in order[len(reached) :]]
        job.completed, job.failed = len(replies), len(faults)
        job.output = self._keep(b"".join(replies)) if replies else None
        job.faults = self._keep(b"".join(faults)) if faults else None

    def _outcome(self, line: dict[str, Any]) -> tuple[bytes | None, bytes | None]:
        """What a request comes to: a line of the output file, one of the error file, or neither."""
        body = line["body"]
        mark = hashlib.blake2b(orjson.dumps(body), digest_size=16).digest()
        first = mark not in self._seen
        self._seen.add(mark)
        draw = random.Random(mark)
        kind = draw.choice(LINE_FAULTS) if first and draw.random() < self._flags.faults else ""
        if kind == "missing":
            return None, None
        if kind == "expired":
            return None, _fault(line, "batch_expired")
        if kind in _ERRORS:
            status, message, code = _ERRORS[kind]
            return None, _line(line, status, {"error": {"message": message, "type": "server_error", "code": code}})
        status, answer = self._answer(body)
        if status != _OK:
            return None, _line(line, status, answer)
        if kind == "broken-content":
            answer["choices"] = []
        else:
            self._answered[mark] += 1
        return _line(line, status, answer), None


def _line(line: dict[str, Any], status: int, body: dict[str, Any]) -> bytes:
    response = {"status_code": status, "request_id": "r", "body": body}
    return orjson.dumps({"id": "x", "custom_id": line["custom_id"], "response": response, "error": None}) + b"\n"


def _fault(line: dict[str, Any], code: str) -> bytes:
    error = {"code": code, "message": "This request could not be executed before the completion window expired."}
    return orjson.dumps({"id": "x", "custom_id": line["custom_id"], "response": None, "error": error}) + b"\n"


def _json(body: Any) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")


def _error(status: int, message: str) -> web.Response:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
