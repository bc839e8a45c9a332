"""A GGUF model inside this process: llama.cpp with continuous batching, no server and no network."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from reflectune.errors import MissingExtraError, OracleBusy, OracleError, RequestRefused
from reflectune.oracles import Piece
from reflectune.oracles.allowance import Allowance
from reflectune.oracles.growing import Growing
from reflectune.oracles.weights import find_weights, fingerprint
from reflectune.records import Reply, Request, Sampling, Schema

__all__ = ["LocalOracle", "LocalSettings"]

SMALL_MODEL = Sampling(temperature=0.2, top_p=0.9, max_tokens=512, repetition_penalty=1.1)
"""Temperature and top_p as SmolLM2's makers advise; the penalty keeps a small model out of loops."""
LONGEST_SOCKET_PATH = 100
_LOOKS = 5
_BETWEEN_LOOKS = 0.02


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """How an embedded model runs.

    Attributes:
        slots: How many requests are decoded together.
        context: Tokens that one request may have, its reply included. The cache for all slots is allocated at once: for
            the embedded model 23 MB for each slot and 1,024 tokens.
        threads: CPU threads; `None` for as many as there are idle processors.
    """

    slots: int = 8
    context: int = 4096
    threads: int | None = None


class LocalOracle:
    """An oracle over llama.cpp.

    Attributes:
        name: `local:`, the weights' file name and a fingerprint of their content; the same on every machine.
        concurrency: The number of slots.
        sampling: Temperature 0.2, top_p 0.9, repetition penalty 1.1, at most 512 new tokens.
        text_limit: The most characters of a string in a JSON reply.
        dialogue: True: a small model fills one field per turn better than a large JSON value.
    """

    text_limit: int | None = 100
    dialogue = True
    allowance: Allowance | None = None

    def __init__(self, weights: Path, settings: LocalSettings) -> None:
        self.name = f"local:{weights.name}:{fingerprint(weights)}"
        self.concurrency: int | None = settings.slots
        self.sampling = SMALL_MODEL
        self._context = settings.context
        self._server = _start(weights, settings)
        self._threads = ThreadPoolExecutor(settings.slots, thread_name_prefix="reflectune-local")

    @classmethod
    def open(cls, model: str = "local", settings: LocalSettings | None = None) -> Self:
        """Load a model.

        Args:
            model: `local` for the embedded weights, `local:FILE.gguf`, or `local:ORG/NAME[:FILE.gguf]` for a hub file.
            settings: How it runs.

        Raises:
            MissingExtraError: A package that it needs is not installed; names the command.
            OracleError: The weights cannot be read or loaded.
            SettingsError: There is no such file.
        """
        load_runtime()  # before the weights: nothing is downloaded or converted in vain
        return cls(find_weights(model), settings or LocalSettings())

    async def complete(self, request: Request) -> Reply:
        """Answer one request.

        Raises:
            OracleBusy: llama.cpp reports a fault of its own.
            RequestRefused: The request does not fit the context, holds NUL characters or a schema that has no grammar.
        """
        given_up = threading.Event()
        try:
            return await self._write(request, _say_nothing, given_up)
        except asyncio.CancelledError:
            given_up.set()
            raise

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Reply]:
        """Answer one request piece by piece; last comes the whole reply. Closing it frees the slot at the next token.

        Raises:
            OracleBusy, RequestRefused: As `complete` does.
        """
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[Piece | None]()
        given_up = threading.Event()

        def say(piece: Piece) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def end(done: asyncio.Future[Reply]) -> None:
            if not done.cancelled():
                done.exception()  # it is told below, unless nobody reads on
            pieces.put_nowait(None)

        writing = asyncio.ensure_future(self._write(request, say, given_up))
        writing.add_done_callback(end)
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            yield await writing
        finally:
            given_up.set()
            writing.cancel()

    async def aclose(self) -> None:
        """Wait for the replies in flight, then free the model's memory."""
        await asyncio.to_thread(self._threads.shutdown)
        self._server = None

    async def _write(self, request: Request, say: Callable[[Piece], None], given_up: threading.Event) -> Reply:
        """Have a reply written in a thread.

        Args:
            request: What is asked.
            say: Told in that thread of each piece.
            given_up: Set when nobody waits for it any more.
        """
        if any("\0" in message.content for message in request.messages):
            raise RequestRefused(
                "The request holds NUL characters.", reason="nul-character", mend="Remove them from the row."
            )
        growing, errors = Growing(), list[dict[str, Any]]()

        def take(chunk: dict[str, Any]) -> bool:
            """Take what was written, and say whether it is enough."""
            if "error" in chunk:
                errors.append(chunk["error"])
            elif not given_up.is_set():
                for piece in growing.take(chunk):
                    say(piece)
                return False
            return True

        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, self._server.handle_chat_completions, _body(request), take)
        except (ValueError, TypeError) as error:  # a schema without a grammar, text that is not Unicode
            raise RequestRefused(f"llama.cpp refused the request: {error}", reason="bad-request") from error
        if errors:
            raise self._fault(errors[0])
        if not growing.ended:
            raise OracleBusy("llama.cpp broke its reply off.", reason="server-error")
        pieces, reply = growing.end()
        for piece in pieces:
            say(piece)
        return reply

    def _fault(self, error: dict[str, Any]) -> OracleError:
        what = f"llama.cpp refused the request: {error.get('message', error)}"
        if error.get("type") == "exceed_context_size_error":
            mend = (
                f"Shorten or leave out the row, or open the model with a context of more than {self._context:,} tokens."
            )
            return RequestRefused(what, reason="context-overflow", mend=mend)
        if int(error.get("code", 500)) >= 500:  # noqa: PLR2004 - HTTP's classes of status
            return OracleBusy(what, reason="server-error")
        return RequestRefused(what, reason="bad-request")


def _say_nothing(_: Piece) -> None:
    pass


def load_runtime() -> ModuleType:
    """The library that runs the embedded model.

    Raises:
        MissingExtraError: It is not installed.
        OracleError: It cannot be loaded.
    """
    # llama.cpp's OpenMP threads spin for work: by default so long that they starve a busy machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        import xllamacpp
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "The embedded model needs the package xllamacpp.", mend="Run: pip install 'reflectune[local]'"
        ) from error
    except (ImportError, OSError) as error:
        mend = "Run: apt-get install libgomp1" if "libgomp" in str(error) else "Reinstall xllamacpp."
        raise OracleError(f"xllamacpp cannot be loaded: {error}", mend=mend) from error
    return xllamacpp


def _start(weights: Path, settings: LocalSettings) -> Any:
    runtime = load_runtime()
    params = runtime.CommonParams()
    params.model.path = str(weights)
    params.n_parallel = settings.slots
    params.n_ctx = settings.slots * settings.context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads or _idle_cpus()
    params.cache_ram_mib = 0  # prefixes are reused inside the slots; copies of them would grow to 8 GiB
    params.verbosity = 0
    params.warmup = False
    params.api_keys = [secrets.token_urlsafe(32)]
    # The library always listens for HTTP. A socket in a private folder that is gone a moment later leaves no way in;
    # where there are no such sockets, the key that nobody knows does.
    with tempfile.TemporaryDirectory(prefix="reflectune-") as folder:
        socket = f"{folder}/closed.sock"
        params.hostnames = [socket if os.name == "posix" and len(socket) < LONGEST_SOCKET_PATH else "127.0.0.1"]
        try:
            return runtime.Server(params)
        except RuntimeError as error:
            raise OracleError(
                f"{weights} cannot be loaded: {error}",
                mend="Check that the file is whole and of a kind that llama.cpp knows, and that its memory suffices.",
            ) from error


def _idle_cpus() -> int:
    """How many of the processors that this process may use are idle; at least one.

    The threads wait for each other many times a token. One that has to share its processor holds up all the others: two
    threads beside another busy process were slower than one alone.
    """
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    idle = (os.cpu_count() or 1) - _others_running()
    return min(mine, max(1, idle))


def _others_running() -> int:
    """How many other threads run or are ready to, where the system says so: the median of a few looks."""
    state = Path("/proc/loadavg")
    if not state.is_file():
        return 0
    looks = []
    for _ in range(_LOOKS):
        looks.append(int(state.read_text().split()[3].partition("/")[0]) - 1)
        time.sleep(_BETWEEN_LOOKS)
    return int(statistics.median(looks))


def _body(request: Request) -> dict[str, Any]:
    sampling = request.sampling
    wanted = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "repeat_penalty": sampling.repetition_penalty,
        **_constraint(request.schema),
    }
    return {
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "max_tokens": sampling.max_tokens,
        "stream": True,  # a reply that nobody waits for any more can be broken off
        "stream_options": {"include_usage": True},
        "seed": (sampling.seed or 0) + request.sample,
        **({"stop": list(request.stop)} if request.stop else {}),
        **({"logprobs": True, "top_logprobs": request.top_logprobs} if request.top_logprobs else {}),
        **{name: value for name, value in wanted.items() if value is not None},
    }


def _constraint(schema: Schema | None) -> dict[str, Any]:
    if schema is None:
        return {}
    if schema.body.keys() <= {"type", "enum"} and "enum" in schema.body:
        # The grammar made of a schema lets white space follow the value, and a small model goes on with that.
        choices = (json.dumps(json.dumps(value, ensure_ascii=False)) for value in schema.body["enum"])
        return {"grammar": f"root ::= {' | '.join(choices)}"}
    return {"json_schema": schema.body}
