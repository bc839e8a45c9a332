"""The protocol of OpenAI's batches: files up, batches made and watched, files down."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any, BinaryIO

import aiohttp
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from reflectune.errors import OracleError, RequestRefused
from reflectune.oracles.endpoint import ApiSettings
from reflectune.oracles.faults import error_of, meaning_of, read_complaint, retry_after
from reflectune.oracles.wire import HttpRefusal, Wire

__all__ = ["ENDPOINT", "Batch", "BatchWire"]

ENDPOINT = "/v1/chat/completions"
"""What the requests of a batch ask for: OpenAI's own path, also where another provider's has another prefix."""
_WINDOW = "24h"
_ENDED = {"completed", "failed", "expired", "cancelled"}
_MARK = "reflectune"
_GONE = 404
_LOOKS_FOR_A_FILE = 5
_SUCCESS = range(200, 300)
_PAGES = 20
"""Of a hundred batches each, the newest first: the one that is looked for was made a moment ago."""

_log = logging.getLogger(__name__)


class Batch(BaseModel):
    """A batch as its provider describes it; what we do not need is passed over.

    Attributes:
        id: The provider's name for it.
        status: `validating`, `in_progress`, `finalizing` and `cancelling`, or how it ended: `completed`, `failed` (it
            was not taken at all), `expired` or `cancelled`.
        output_file_id: The file of the replies.
        error_file_id: The file of what went wrong with single requests.
        errors: Why it was not taken.
        request_counts: How many requests were completed and how many failed, so far.
        metadata: What its maker wrote on it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: Any = None
    request_counts: dict[str, int | None] | None = None
    metadata: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in _ENDED

    @property
    def answered(self) -> int:
        """How many of its requests were answered so far, well or not."""
        counts = self.request_counts or {}
        return sum(counts.get(name) or 0 for name in ("completed", "failed"))

    @property
    def complaint(self) -> str:
        """Why it was not taken, with the codes and lines that the provider names."""
        errors = self.errors.get("data") if isinstance(self.errors, dict) else self.errors
        return "; ".join(map(_told, errors if isinstance(errors, list) else [errors])) or "it does not say why"


class BatchWire:
    """Speaks with an endpoint about files and batches.

    Args:
        settings: The endpoint.
        wire: The connections to it.
    """

    def __init__(self, settings: ApiSettings, wire: Wire) -> None:
        self._settings = settings
        self._wire = wire
        self._missing: Counter[str] = Counter()

    async def upload(self, file: BinaryIO, name: str) -> str:
        """Send a file of requests.

        Returns:
            The endpoint's name for it.
        """
        with os.fdopen(os.dup(file.fileno()), "rb") as again:  # of its own: it is closed once it is sent
            again.seek(0)
            form = aiohttp.FormData()
            form.add_field("purpose", "batch")
            form.add_field("file", again, filename=name, content_type="application/jsonl")
            body = await self._call("POST", "/files", data=form)
        return self._text(body, "id")

    async def create(self, file_id: str, mark: str) -> Batch:
        """Have a file of requests answered.

        Args:
            file_id: The file.
            mark: Our own name for the batch, by which `find` finds it.
        """
        asked = {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": _WINDOW}
        return self._batch(await self._call("POST", "/batches", json=asked | {"metadata": {_MARK: mark}}))

    async def look(self, name: str) -> Batch:
        """How far a batch has come."""
        return self._batch(await self._call("GET", f"/batches/{name}"))

    async def find(self, mark: str) -> Batch | None:
        """The batch that we call so; `None` where there is none."""
        after = ""
        for _ in range(_PAGES):
            body = await self._call("GET", f"/batches?limit=100{after}")
            batches = [self._batch(entry) for entry in body.get("data") or ()]
            for batch in batches:
                if (batch.metadata or {}).get(_MARK) == mark:
                    return batch
            if not batches or not body.get("has_more"):
                break
            after = f"&after={batches[-1].id}"
        return None

    async def outcomes(self, file_id: str) -> AsyncIterator[tuple[str, bytes]]:
        """What a file says of each request: its `custom_id`, and the whole line. None where the file is gone."""
        path = f"/files/{file_id}/content"
        try:
            async for line in self._wire.lines(self._settings.under(path)):
                if line.strip():
                    yield self._outcome(line)
        except HttpRefusal as refusal:
            if refusal.status != _GONE:
                raise self._error(refusal.status, refusal.headers, refusal.raw, path) from None
            self._missing[file_id] += 1  # it may only not be there yet
            if self._missing[file_id] < _LOOKS_FOR_A_FILE:
                raise self._wire.busy("bad-reply", "is not there", url=self._settings.under(path)) from None
            _log.warning("The provider has no file %s any more: what it held is asked again.", file_id)

    def _outcome(self, line: bytes) -> tuple[str, bytes]:
        try:
            outcome = orjson.loads(line)
        except orjson.JSONDecodeError as error:  # it ends in the middle: it will be fetched again
            raise self._wire.busy("bad-reply", f"sent a broken line: {error}") from None
        return str(outcome.get("custom_id")) if isinstance(outcome, dict) else "", line

    async def _call(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        status, headers, raw = await self._wire.send(method, self._settings.under(path), **how)
        if status not in _SUCCESS:
            raise self._error(status, headers, raw, path)
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise self._wire.busy("bad-reply", "sent what is no JSON object", url=self._settings.under(path))
        return body

    def _error(self, status: int, headers: Mapping[str, str], raw: bytes, path: str) -> OracleError:
        complaint = read_complaint(status, raw)
        url = self._settings.under(path)
        if meaning_of(complaint) == "address":
            whole = path.partition("?")[0] in {"/files", "/batches"}
            mend = (
                "Leave out --batch: this endpoint offers no batches."
                if whole
                else "Use the key that the batch was made with, or leave out --batch to ask directly."
            )
            return OracleError(self._settings.scrub(f"{url} answered {status}: {complaint.message}"), mend=mend)
        error = error_of(complaint, self._settings, retry_after(headers), url=url)
        return OracleError(error.what, mend=error.mend) if isinstance(error, RequestRefused) else error

    def _batch(self, body: Any) -> Batch:
        try:
            return Batch.model_validate(body)
        except ValidationError as error:
            raise self._wire.busy("bad-reply", f"sent what is no batch: {error.errors()[0]['msg']}") from None

    def _text(self, body: dict[str, Any], name: str) -> str:
        if not isinstance(value := body.get(name), str):
            raise self._wire.busy("bad-reply", f"sent a file without `{name}`")
        return value


def _told(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error or "")
    line = f" (line {error['line']})" if error.get("line") else ""
    return f"{error.get('code')}: {error.get('message')}{line}"
