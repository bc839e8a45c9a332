"""An oracle behind any OpenAI-compatible `/chat/completions`."""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import orjson

from reflectune.errors import OracleBusy, OracleError, RequestRefused
from reflectune.oracles import Piece
from reflectune.oracles.allowance import Allowance, read_allowance
from reflectune.oracles.capabilities import Capabilities, is_wrapped
from reflectune.oracles.endpoint import ApiSettings
from reflectune.oracles.faults import Complaint, error_of, meaning_of, read_complaint, retry_after
from reflectune.oracles.growing import Growing
from reflectune.oracles.incoming import Incoming, is_done
from reflectune.oracles.replies import json_text, read_reply, unwrapped
from reflectune.oracles.wire import Wire
from reflectune.records import Reply, Request, Sampling, Schema

__all__ = ["ApiOracle", "ApiSettings", "Capabilities"]

_MODELS_SHOWN = 12
_SUCCESS = range(200, 300)

_log = logging.getLogger(__name__)

T = TypeVar("T")


class _FieldRefused(Exception):  # noqa: N818 - never leaves this module
    """The endpoint refuses the request, perhaps only for the way in which it is put."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.message)
        self.complaint = complaint


class ApiOracle:
    """An oracle behind an OpenAI-compatible endpoint, asked in the fullest way that it takes.

    What the endpoint refuses is found out by the first request that is put in a new way, which goes alone; the others
    wait for it and then run freely.

    Args:
        settings: The model, its address and its key.
        capabilities: What an earlier process found out about the endpoint, so that nothing of it is asked again.
    """

    concurrency: int | None = None
    text_limit: int | None = None
    dialogue = False

    def __init__(self, settings: ApiSettings, capabilities: Capabilities | None = None) -> None:
        self.name = f"{settings.model}@{settings.base_url}"
        self.sampling = Sampling()
        self.allowance: Allowance | None = None
        self.settings = settings
        self.wire = Wire(settings)
        self._probing = asyncio.Lock()
        self._trial: Capabilities | None = None
        self._capabilities = capabilities or Capabilities()
        self._accepted = frozenset(self._capabilities.accepted)

    def __repr__(self) -> str:
        return f"ApiOracle({self.name!r})"

    @property
    def capabilities(self) -> Capabilities:
        """What the endpoint was found to take so far."""
        return self._capabilities

    async def complete(self, request: Request) -> Reply:
        """Answer one request.

        Raises:
            OracleBusy: The endpoint cannot answer now but may later; reason `rate-limit`, `server-error`, `timeout`,
                `connection` or `bad-reply`.
            RequestRefused: It will never answer this request; reason `context-overflow`, `content-filter` or
                `bad-request`.
            OracleError: It cannot be used at all: key, model, address or credit.
        """
        return await self._put(request, lambda payload: self._ask(payload, request.schema))

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Reply]:
        """Answer one request piece by piece; last comes the whole reply. Closing it closes the connection.

        What cannot be streamed comes in one piece: every reply of an endpoint that refuses to, and a reply to a schema
        that the endpoint does not enforce.

        Raises:
            OracleBusy, RequestRefused, OracleError: As `complete` does; also in the middle of a reply.
        """
        incoming = None
        if self._capabilities.can_stream(request.schema):
            incoming = await self._put(request, self._open, stream=True)
        if incoming is None:
            reply = await self.complete(request)
            yield Piece(reply.text, reply.reasoning or "")
            yield reply
            return
        try:
            async with aclosing(self._pieces(incoming, request)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            incoming.close()

    def knows(self, request: Request) -> bool:
        """Whether the endpoint has answered a request before that was put as this one would be."""
        return self._accepted.issuperset(self.body(request))

    def body(self, request: Request) -> dict[str, Any]:
        """The body of a chat completion, as the endpoint takes it as far as that is known."""
        return self._capabilities.payload(self.settings.model, request)

    async def read(self, request: Request, status: int, body: Any) -> Reply:
        """Read what a batch brought back for a request.

        Args:
            request: What was asked.
            status: The HTTP status of the reply.
            body: The reply's body, parsed.

        Raises:
            OracleBusy, RequestRefused, OracleError: As `complete` does.
        """
        if status in _SUCCESS:
            return await self._reply(body, {}, self.body(request), request.schema)
        error = await self._error(read_complaint(status, orjson.dumps(body)), {})
        raise self._refusal(error) if isinstance(error, _FieldRefused) else error

    async def aclose(self) -> None:
        """Close the connections."""
        await self.wire.aclose()

    async def _put(self, request: Request, ask: Callable[[dict[str, Any]], Awaitable[T]], *, stream: bool = False) -> T:
        """Put a request in the fullest way that the endpoint takes."""
        while True:
            known = self._capabilities
            payload = known.payload(self.settings.model, request, stream=stream)
            if self._accepted.issuperset(payload):
                try:
                    return await ask(payload)
                except _FieldRefused as refusal:
                    # Where nothing can be put in another way, the fault is this request's own.
                    if known.stepped_down(refusal.complaint, payload) is None:
                        raise self._refusal(refusal) from None
            async with self._probing:
                # Whoever held the lock before us may have found out what the endpoint takes.
                if self._capabilities is known:
                    return await self._probe(request, ask, stream=stream)

    async def _probe(self, request: Request, ask: Callable[[dict[str, Any]], Awaitable[T]], *, stream: bool) -> T:
        """Put a request whose form is new to the endpoint, stepping down until it takes it."""
        tried: list[Capabilities] = []
        trial = self._trial or self._capabilities
        while True:
            # Kept between calls: an endpoint that is busy halfway down need not be asked from the top again.
            self._trial = trial
            tried.append(trial)
            payload = trial.payload(self.settings.model, request, stream=stream)
            try:
                reply = await ask(payload)
            except _FieldRefused as refusal:
                lower = trial.stepped_down(refusal.complaint, payload)
                if lower is None or lower in tried:
                    self._trial = None
                    raise self._refusal(refusal) from None
                trial = lower
                continue
            new_schema = "response_format" in payload and "response_format" not in self._accepted
            if new_schema and isinstance(reply, Reply) and _ignores(reply, request):
                trial = trial.without_schema_mode()
                continue
            self._keep(trial if reply is None else trial.having_accepted(payload))
            return reply

    def _keep(self, found: Capabilities) -> None:
        """Use from now on what a request has just been answered with."""
        before, self._capabilities, self._trial = self._capabilities, found, None
        self._accepted = frozenset(found.accepted)
        for name in sorted({*found.omitted} - {*before.omitted}):
            _log.warning("%s does not take `%s`: it is left out.", self.name, name)
        if found.schema_mode != before.schema_mode:
            _log.warning("%s does not enforce a JSON schema: asked by %s instead.", self.name, found.schema_mode)

    async def _ask(self, payload: dict[str, Any], schema: Schema | None) -> Reply:
        """Send one body and read the reply."""
        status, headers, raw = await self.wire.post(_packed(payload))
        self.allowance = read_allowance(headers, time.time())
        if status not in _SUCCESS:
            raise await self._error(read_complaint(status, raw), headers)
        return await self._reply(self._parsed(raw), headers, payload, schema)

    async def _open(self, payload: dict[str, Any]) -> Incoming | None:
        """Send one body whose reply is read while it is written; nothing where the endpoint refuses to stream."""
        if "stream" not in payload:
            return None
        incoming = await self.wire.open(_packed(payload))
        try:
            self.allowance = read_allowance(incoming.headers, time.time())
            if incoming.status not in _SUCCESS:
                raise await self._error(read_complaint(incoming.status, await incoming.read()), incoming.headers)
        except BaseException:
            incoming.close()
            raise
        return incoming

    async def _pieces(self, incoming: Incoming, request: Request) -> AsyncGenerator[Piece | Reply]:
        """What comes in, and last the whole reply."""
        if incoming.whole:
            body = self._parsed(await incoming.read())
            reply = await self._reply(body, incoming.headers, self.body(request), request.schema)
            yield Piece(reply.text, reply.reasoning or "")
            yield reply
            return
        growing, done = Growing(), False
        async with aclosing(incoming.events()) as events:
            async for event in events:
                if done := is_done(event):
                    break
                for piece in await self._taken(growing, event, incoming):
                    yield piece
        if not (done or growing.ended):
            raise self.wire.busy("bad-reply", "ended its reply in the middle")
        pieces, reply = growing.end()
        for piece in pieces:
            yield piece
        yield reply
        await incoming.drain()

    async def _taken(self, growing: Growing, event: bytes, incoming: Incoming) -> list[Piece]:
        """What an event brings."""
        chunk = self._parsed(event)
        try:
            if isinstance(chunk, dict) and chunk.get("error"):
                raise await self._error(_hidden(chunk), incoming.headers)
            return growing.take(chunk)
        except _FieldRefused as refusal:
            raise self._refusal(refusal) from None
        except ValueError as error:
            raise self._no_completion(error) from None

    def _parsed(self, raw: bytes) -> Any:
        try:
            return orjson.loads(raw)
        except ValueError as error:
            raise self._no_completion(error) from None

    async def _reply(
        self, body: Any, headers: Mapping[str, str], payload: dict[str, Any], schema: Schema | None
    ) -> Reply:
        """The reply in the body of a chat completion."""
        if isinstance(body, dict) and body.get("error") and not body.get("choices"):
            raise await self._error(_hidden(body), headers)
        try:
            reply = read_reply(body)
        except ValueError as error:
            raise self._no_completion(error) from None
        if schema is None or reply.finish_reason == "refusal":
            return reply
        wrapped = is_wrapped(schema) and "response_format" in payload
        if reply.text.startswith("{") and not wrapped:
            return reply  # no code fence to look into
        text = json_text(reply.text)
        return reply.model_copy(update={"text": unwrapped(text) if wrapped else text})

    async def _error(self, complaint: Complaint, headers: Mapping[str, str]) -> Exception:
        """The error for a complaint; for an unknown model, with the models that there are."""
        meaning = meaning_of(complaint)
        if meaning == "bad-request":
            return _FieldRefused(complaint)
        error = error_of(complaint, self.settings, retry_after(headers))
        if meaning not in {"model", "address"}:
            return error
        if location := headers.get("Location"):
            what = self.wire.said(f"is elsewhere: it points to {location}")
            return OracleError(
                what, mend="Name that address with --base-url; a key is not sent to where a reply points."
            )
        offered = await self.wire.models()
        if not offered or self.settings.model in offered:
            return error
        close = difflib.get_close_matches(self.settings.model, offered, n=_MODELS_SHOWN, cutoff=0.4)
        shown = list(dict.fromkeys([*close, *offered]))[:_MODELS_SHOWN]
        more = f" and {len(offered) - len(shown)} more" if len(offered) > len(shown) else ""
        what = f"{self.settings.base_url} has no model {self.settings.model!r}."
        return OracleError(what, mend=f"It offers {', '.join(shown)}{more}: name one of them.")

    def _no_completion(self, error: ValueError) -> OracleBusy:
        return self.wire.busy("bad-reply", f"sent what is no chat completion: {error}")

    def _refusal(self, refusal: _FieldRefused) -> OracleError:
        return error_of(refusal.complaint, self.settings)


def _packed(payload: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(payload)
    except (TypeError, orjson.JSONEncodeError) as error:
        raise RequestRefused(f"The request cannot be written as JSON: {error}", reason="bad-request") from None


def _hidden(body: dict[str, Any]) -> Complaint:
    """An error that came with status 200, as routers send them."""
    error = body["error"]
    code = error.get("code") if isinstance(error, dict) else None
    return read_complaint(code if isinstance(code, int) and 400 <= code < 600 else 500, orjson.dumps(body))  # noqa: PLR2004


def _ignores(reply: Reply, request: Request) -> bool:
    """Whether a finished reply shows that the endpoint took a schema but does not enforce it."""
    if request.schema is None or reply.finish_reason != "stop":
        return False
    try:
        value = orjson.loads(reply.text)
    except orjson.JSONDecodeError:
        return True
    required = request.schema.body.get("required", ())
    return bool(required) and not (isinstance(value, dict) and value.keys() >= set(required))
