"""What one request costs: our oracle, a bare aiohttp loop and the openai SDK, each in its own process.

    python bench/bare_http.py --requests 2000 --concurrency 256

All three send the same requests to the same loopback server and read the text and the token counts of each reply.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from measure import TESTS, in_child, save

Work = Callable[[], Awaitable[int]]
Client = Callable[[Any], Awaitable[int]]

RUBRIC = "You improve instruction data. Criticise the pair by each criterion, then write a better one. " * 15
ROW = "Instruction {row}: explain how the {row}th river of the list got its name.\n\nResponse: From a word for water."
NOTE = {
    "type": "object",
    "properties": {"remark": {"type": "string"}, "score": {"enum": list(range(1, 11))}},
    "required": ["remark", "score"],
    "additionalProperties": False,
}
CRITERIA = ("complexity", "detail", "knowledge", "ambiguity", "reasoning")
SCHEMA = {
    "type": "object",
    "properties": {**dict.fromkeys(CRITERIA, NOTE), "instruction": {"type": "string"}, "response": {"type": "string"}},
    "required": [*CRITERIA, "instruction", "response"],
    "additionalProperties": False,
}
MODEL = "loopback"


def payload(row: int) -> dict[str, Any]:
    """The body of one request."""
    return {
        "model": MODEL,
        "messages": [{"role": "system", "content": RUBRIC}, {"role": "user", "content": ROW.format(row=row)}],
        "max_tokens": 2048,
        "temperature": 0.0,
        "top_p": 1.0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "pair", "strict": True, "schema": SCHEMA}},
    }


async def keep_busy(ask: Client, rows: int, concurrency: int) -> int:
    """Ask for every row with so many requests in flight; returns the tokens received."""
    left = iter(range(rows))

    async def worker() -> int:
        return sum([await ask(row) for row in left])

    return sum(await asyncio.gather(*(worker() for _ in range(concurrency))))


def bare_aiohttp(base_url: str, requests: int, concurrency: int) -> Work:
    """The floor: aiohttp and orjson alone."""
    import aiohttp
    import orjson

    async def run() -> int:
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"Content-Type": "application/json", "Authorization": "Bearer k"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

            async def ask(row: int) -> int:
                body = orjson.dumps(payload(row))
                async with session.post(f"{base_url}/chat/completions", data=body) as response:
                    reply = orjson.loads(await response.read())
                text = reply["choices"][0]["message"]["content"]
                return int(reply["usage"]["completion_tokens"]) if text else 0

            return await keep_busy(ask, requests, concurrency)

    return run


def api_oracle(base_url: str, requests: int, concurrency: int) -> Work:
    """Our oracle, without engine and store."""
    from reflectune.oracles.api import ApiOracle, ApiSettings
    from reflectune.records import Message, Request, Sampling, Schema

    schema = Schema("pair", SCHEMA)
    rubric = Message("system", RUBRIC)

    async def run() -> int:
        oracle = ApiOracle(ApiSettings(MODEL, base_url, key="k"))

        async def ask(row: int) -> int:
            reply = await oracle.complete(Request((rubric, Message("user", ROW.format(row=row))), Sampling(), schema))
            return reply.completion_tokens if reply.text else 0

        try:
            return await keep_busy(ask, requests, concurrency)
        finally:
            await oracle.aclose()

    return run


def openai_sdk(base_url: str, requests: int, concurrency: int) -> Work:
    """The official SDK's asynchronous client."""
    from openai import AsyncOpenAI

    async def run() -> int:
        async with AsyncOpenAI(base_url=base_url, api_key="k", max_retries=0) as client:

            async def ask(row: int) -> int:
                reply = await client.chat.completions.create(**payload(row))
                return reply.usage.completion_tokens if reply.choices[0].message.content else 0

            return await keep_busy(ask, requests, concurrency)

    return run


CLIENTS = (bare_aiohttp, api_oracle, openai_sdk)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--latency-ms", type=float, default=200.0)
    flags = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    from loopback import Loopback

    with Loopback("--latency-ms", str(flags.latency_ms)) as server:
        results = {
            client.__name__: in_child(client, server.base_url, flags.requests, flags.concurrency) for client in CLIENTS
        }
    floor = results["bare_aiohttp"]
    if len({measured.value for measured in results.values()}) != 1:
        raise SystemExit("the clients did not get the same replies")
    print(f"{flags.requests} requests, {flags.concurrency} in flight, {flags.latency_ms:g} ms latency")
    for name, measured in results.items():
        cpu, ratio = measured.per(flags.requests), measured.cpu_s / floor.cpu_s
        print(
            f"{name:14} {cpu:7.3f} ms CPU a request ({ratio:5.2f} x bare), "
            f"{measured.wall_s:6.2f} s ({measured.wall_s / floor.wall_s:4.2f} x bare), {measured.peak_rss_mb:5.1f} MB"
        )
    save("oracle_http", met=True, **vars(flags), **results)


if __name__ == "__main__":
    main()
