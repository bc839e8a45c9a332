"""A token-bucket endpoint in virtual time, and how the engine fares with it."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from reflectune.errors import OracleBusy
from reflectune.oracles.allowance import Allowance, read_allowance
from reflectune.oracles.engine import Engine
from reflectune.oracles.pacing import Pace
from reflectune.records import Message, Reply, Request, Sampling
from reflectune.testing import MemoryStore
from virtual_time import run

LATENCIES = {"5 ms": 0.005, "50 ms": 0.05, "200 ms": 0.2, "2 s": 2.0}


@dataclass
class Behaviour:
    """How the endpoint behaves.

    Attributes:
        rpm: Requests a minute that it grants.
        capacity: How many it grants in one go.
        latency: Seconds that a reply takes.
        spread: By what share of it latency varies.
        retry_after: What a refusal asks for: `exact`, `whole` seconds, or nothing.
        headers: Which dialect of headers it speaks; none by default.
        refuse_late: Whether a refusal takes as long as a reply.
        tokens: Tokens that a reply takes.
        stray: The share of requests that are refused for no reason.
    """

    rpm: float = 600.0
    capacity: float = 10.0
    latency: float = 0.2
    spread: float = 0.0
    retry_after: str = ""
    headers: str = ""
    refuse_late: bool = False
    tokens: int = 100
    stray: float = 0.0
    seed: int = 1


@dataclass
class Bucket:
    """An oracle that grants what its bucket holds."""

    behaviour: Behaviour
    name: str = "bucket@virtual"
    concurrency: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    text_limit: int | None = None
    dialogue: bool = False
    allowance: Allowance | None = None

    def __post_init__(self) -> None:
        self.level = self.behaviour.capacity
        self.filled_at = asyncio.get_running_loop().time()
        self.began = self.filled_at
        self.granted: list[float] = []
        self.refused: list[float] = []
        self.answered: list[float] = []
        self.most_in_flight = self.in_flight = 0
        self.random = random.Random(self.behaviour.seed)

    async def complete(self, request: Request) -> Reply:
        loop, how = asyncio.get_running_loop(), self.behaviour
        now = loop.time()
        self.level = min(how.capacity, self.level + (now - self.filled_at) * how.rpm / 60)
        self.filled_at = now
        granted = self.level >= 1 - 1e-9 and self.random.random() >= how.stray
        if granted:
            self.level -= 1
        missing = max(0.0, 1 - self.level) * 60 / how.rpm
        headers = self._headers()
        (self.granted if granted else self.refused).append(now - self.began)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if granted or how.refuse_late:
                await asyncio.sleep(how.latency * (1 + how.spread * self.random.uniform(-1, 1)))
            else:
                await asyncio.sleep(0.005)
        finally:
            self.in_flight -= 1
        self.allowance = read_allowance(headers, 1e9 + 1) if headers else None
        if not granted:
            after = {"exact": missing, "whole": float(math.ceil(missing)), "": None}[how.retry_after]
            raise OracleBusy("slow down", reason="rate-limit", retry_after=after)
        self.answered.append(loop.time() - self.began)
        half = how.tokens // 2
        return Reply(text="x", prompt_tokens=half, completion_tokens=how.tokens - half)

    async def aclose(self) -> None:
        pass

    def _headers(self) -> dict[str, str]:
        how, left = self.behaviour, int(self.level)
        full = (how.capacity - self.level) * 60 / how.rpm
        if how.headers == "openai":
            return {
                "x-ratelimit-limit-requests": f"{how.rpm:.0f}",
                "x-ratelimit-remaining-requests": str(left),
                "x-ratelimit-reset-requests": f"{full * 1000:.0f}ms",
            }
        if how.headers == "openai-capacity":
            return {
                "x-ratelimit-limit-requests": f"{how.capacity:.0f}",
                "x-ratelimit-remaining-requests": str(left),
                "x-ratelimit-reset-requests": f"{full:.3f}s",
            }
        if how.headers == "plain":
            return {
                "x-ratelimit-limit": f"{how.rpm:.0f}",
                "x-ratelimit-remaining": str(left),
                "x-ratelimit-reset": f"{math.ceil(full)}",
            }
        if how.headers == "ietf":
            return {
                "ratelimit": f'"m";r={left};t={math.ceil(full)}',
                "ratelimit-policy": f'"m";q={how.rpm:.0f};w=60',
            }
        return {}


@dataclass
class Fared:
    """How it went.

    Attributes:
        share: Replies over what the rate allows in the time.
        refused: The share of requests after 20 s that were refused.
        reasons: How many rows failed, by reason.
    """

    share: float
    refused: float
    reasons: Counter[str]
    oracle: Any
    pace: Pace


def fare(behaviour: Behaviour, *, ceiling: int = 32, seconds: float = 180.0, **limits: Any) -> Fared:
    """Ask the endpoint for as much as it gives, for some minutes of virtual time."""

    random.seed(behaviour.seed)  # of the jitter in back-offs

    async def scene() -> Fared:
        oracle = Bucket(behaviour)
        pace = Pace(ceiling, **limits)
        engine = Engine(oracle, MemoryStore(), pace)
        reasons: Counter[str] = Counter()

        async def do(number: int) -> str:
            outcome = await engine.ask(Request((Message("user", str(number)),)), lambda reply: reply.text)
            return getattr(outcome, "reason", "")

        asyncio.get_running_loop().call_later(seconds, engine.stop)
        async for reason in engine.work(range(10**9), do):
            if reason:
                reasons[reason] += 1
        answered = sum(moment <= seconds for moment in oracle.answered)
        late, granted = (sum(moment > 20 for moment in times) for times in (oracle.refused, oracle.granted))
        share = answered / (behaviour.rpm / 60 * seconds)
        return Fared(share, late / max(1, late + granted), reasons, oracle, pace)

    return run(scene())
