"""What a server in front of an endpoint costs: the first byte of a stream, memory, streams a second.

    python bench/serving.py

The endpoint is the scripted one of the tests, a process of its own, whose first chunk comes after a few milliseconds
and holds more than an opening tag;
`reflectune serve` stands in front of it and reads the tags. The same client asks both for the same streams, in turn.
The overhead is the difference of the medians of the time to the first byte of the body.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from measure import TESTS, finished, memory_mb, save

LATENCY_MS = 5.0
BETWEEN_MS = 5.0
CHUNKS = 8
ALONE = 400
TOGETHER = 200
ROUNDS = 8
STREAMS = 2000
IN_FLIGHT = 64
BOUND_MS = 5.0
BOUND_MB = 8.0
WARM = 400
_NUMBER = re.compile(r"number (\d+) of many")


class Client:
    """Reads streams of an endpoint, and says when they begin.

    Args:
        session: An aiohttp session.
        base_url: Which endpoint.
    """

    def __init__(self, session: Any, base_url: str) -> None:
        self._session = session
        self._url = f"{base_url}/chat/completions"

    async def first_ms(self, number: int) -> float:
        """Milliseconds to the first byte of a stream, which is read to its end and has to say its number."""
        said = f"number {number} of many"
        body = {"model": "", "stream": True, "messages": [{"role": "user", "content": said}]}
        began = time.perf_counter()
        async with self._session.post(self._url, json=body) as response:
            first = await response.content.readany()
            after = time.perf_counter()
            rest = await response.read()
        whole = first + rest
        if response.status != 200 or not whole.endswith(b"data: [DONE]\n\n") or b"error" in whole:
            raise RuntimeError(f"no whole stream: {response.status} {whole[-300:]!r}")
        if set(_NUMBER.findall(_text(whole))) != {str(number)}:
            raise RuntimeError(f"the answer to another request than number {number}: {whole[-300:]!r}")
        return 1000 * (after - began)


def _text(stream: bytes) -> str:
    """What the deltas of a stream say, reasoning included."""
    events = (line.removeprefix(b"data: ") for line in stream.split(b"\n\n")[:-2])
    deltas = [choice["delta"] for event in events for choice in orjson.loads(event)["choices"]]
    return "".join(delta.get(name) or "" for delta in deltas for name in ("reasoning_content", "content"))


async def alone(clients: list[Client]) -> list[list[float]]:
    """One stream after the other, of the endpoints in turn."""
    told: list[list[float]] = [[] for _ in clients]
    for number in range(ALONE):
        for times, client in zip(told, clients, strict=True):
            times.append(await client.first_ms(number))
    return told


async def together(clients: list[Client]) -> list[list[float]]:
    """Many streams at once, of the endpoints in turn."""
    told: list[list[float]] = [[] for _ in clients]
    for _ in range(ROUNDS):
        for times, client in zip(told, clients, strict=True):
            times.extend(await asyncio.gather(*(client.first_ms(number) for number in range(TOGETHER))))
    return told


async def streams_a_second(client: Client) -> float:
    """How many streams come to their end in a second, with some always in flight."""
    from bare_http import keep_busy

    began = time.perf_counter()
    await keep_busy(client.first_ms, STREAMS, IN_FLIGHT)  # type: ignore[arg-type]  # it adds the milliseconds up
    return STREAMS / (time.perf_counter() - began)


async def measured(direct_url: str, through_url: str, pid: int) -> dict[str, Any]:
    """Everything, in turn."""
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        direct, through = Client(session, direct_url), Client(session, through_url)
        for client in (direct, through):
            await asyncio.gather(*(client.first_ms(number) for number in range(WARM)))
        singly = await _medians(alone, [direct, through])
        sizes = [memory_mb(pid)["VmRSS"]]
        at_once = await _medians(together, [direct, through])
        sizes.append(memory_mb(pid)["VmRSS"])
        rates = {"through": await streams_a_second(through), "direct": await streams_a_second(direct)}
        sizes.append(memory_mb(pid)["VmRSS"])
    return {
        "one_stream_ms": singly,
        f"{TOGETHER}_streams_ms": at_once,
        "streams_a_second": {name: round(rate, 1) for name, rate in rates.items()},
        f"memory_mb_{TOGETHER}_at_once": _grown(*sizes[:2], ROUNDS * TOGETHER),
        "memory_mb": _grown(*sizes[1:], STREAMS),
    }


def _grown(before: float, after: float, streams: int) -> dict[str, float]:
    return {"before": round(before, 1), "after": round(after, 1), "streams_between": streams}


async def _medians(
    work: Callable[[list[Client]], Awaitable[list[list[float]]]], clients: list[Client]
) -> dict[str, float]:
    direct, through = await work(clients)
    medians = statistics.median(direct), statistics.median(through)
    return {
        "direct": round(medians[0], 3),
        "through": round(medians[1], 3),
        "overhead": round(medians[1] - medians[0], 3),
        "overhead_p95": round(_p95(through) - _p95(direct), 3),
    }


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    if parser.parse_args().resume and finished("serving"):
        return
    sys.path.insert(0, str(TESTS))
    from loopback import Loopback
    from serving import UPSTREAM, Serve

    flags = ("--latency-ms", str(LATENCY_MS), "--between-ms", str(BETWEEN_MS), "--chunks", str(CHUNKS))
    with (
        Loopback(*flags, script=UPSTREAM) as upstream,
        Serve(f"echo@{upstream.base_url}", "--max-concurrency", "512", "--queue", "2048") as server,
    ):
        told = asyncio.run(measured(upstream.base_url, server.base_url, server.pid))
    one, many = told["one_stream_ms"], told[f"{TOGETHER}_streams_ms"]
    for what, times, bound in (("one stream", one, f" (bound {BOUND_MS})"), (f"{TOGETHER} at once", many, "")):
        print(f"first byte, {what}: {times['direct']:.2f} ms direct, {times['overhead']:+.2f} ms through{bound}")
    rates = told["streams_a_second"]
    ratio = rates["through"] / rates["direct"]
    print(f"{rates['through']:.0f} streams/s through, {rates['direct']:.0f} direct: {ratio:.2f}")
    met = one["overhead"] < BOUND_MS
    for name, in_flight in ((f"memory_mb_{TOGETHER}_at_once", TOGETHER), ("memory_mb", IN_FLIGHT)):
        before, after, streams = told[name].values()
        grown = after - before
        how = f"after {streams:,} streams, {in_flight} at once (bound {BOUND_MB})"
        print(f"memory {before:.1f} MB, {grown:+.1f} MB {how}")
        met = met and grown < BOUND_MB
    save("serving", met=met, **told, bound_ms=BOUND_MS, bound_mb=BOUND_MB, chunks=CHUNKS, latency_ms=LATENCY_MS)


if __name__ == "__main__":
    main()
