"""Every dialect of rate-limit headers is read, and a limit for a day is not taken for one for a minute."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from reflectune.oracles.allowance import Allowance, read_allowance

NOW = 1_770_000_000.0  # 2026-02-02T02:40:00Z


def openai(kind: str, limit: object, remaining: object, reset: object) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{kind}": str(limit),
        f"x-ratelimit-remaining-{kind}": str(remaining),
        f"x-ratelimit-reset-{kind}": str(reset),
    }


def plain(limit: object, remaining: object, reset: object, prefix: str = "X-RateLimit") -> dict[str, str]:
    return {f"{prefix}-Limit": str(limit), f"{prefix}-Remaining": str(remaining), f"{prefix}-Reset": str(reset)}


def anthropic(kind: str, limit: int, remaining: int, reset: str) -> dict[str, str]:
    names = ("limit", "remaining", "reset")
    return {
        f"anthropic-ratelimit-{kind}-{name}": str(value)
        for name, value in zip(names, (limit, remaining, reset), strict=True)
    }


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Content-Type": "application/json", "Retry-After": "3"}, None),
        (openai("requests", 600, 599, "100ms"), Allowance(rpm=600)),
        (openai("requests", 5000, 4999, "12ms") | openai("tokens", 160000, 159976, "9ms"), Allowance(5000, 160000)),
        (openai("tokens", 90000, 45000, "30s"), Allowance(tpm=90000)),
        # What cannot be used in one go says nothing of the time: then a minute is meant.
        (openai("requests", 600, 9, "100ms"), Allowance(rpm=600, sure=False)),
        # A limit for a day is no pace.
        (openai("requests", 200, 199, "7m12s"), Allowance()),
        (openai("requests", 14400, 14370, "2m59.56s") | openai("tokens", 18000, 17997, "10ms"), Allowance(tpm=18000)),
        ({"x-ratelimit-limit-requests-day": "14400", "x-ratelimit-limit-tokens-minute": "60000"}, Allowance(tpm=60000)),
        # A bucket of ten that fills up within a second.
        (openai("requests", 10, 9, "0.1s"), Allowance(rpm=600)),
        ({"x-ratelimit-limit-requests": "60"}, Allowance(rpm=60, sure=False)),
        (plain(600, 500, 10), Allowance(rpm=600)),
        (plain(60, 0, int(NOW) + 30), Allowance(rpm=60, wait=30, sure=False)),
        (plain(60, 0, int(NOW + 30) * 1000), Allowance(rpm=60, wait=30, sure=False)),
        (plain(20, 19, 41, "ratelimit"), Allowance(rpm=20)),
        (plain(50, 0, 3600), Allowance(wait=3600, sure=False)),
        (plain("100, 100;w=60, 10000;window=86400", 98, 3, "RateLimit"), Allowance(rpm=100)),
        (plain(5, 4, 1) | {"RateLimit-Policy": "5;w=1"}, Allowance(rpm=300)),
        (
            {"RateLimit": '"m";r=0;t=30', "RateLimit-Policy": '"m";q=100;w=60, "day";q=5000;w=86400'},
            Allowance(rpm=100, wait=30),
        ),
        ({"RateLimit": "limit=100, remaining=0, reset=5", "RateLimit-Policy": "100;w=10"}, Allowance(600, wait=5)),
        ({"RateLimit": '"tokens";r=9;t=3', "RateLimit-Policy": '"tokens";q=1000;w=60'}, Allowance(tpm=1000)),
        ({"RateLimit-Policy": '"burst";q=5;w=1, "minute";q=120;w=60'}, Allowance(rpm=120)),
        ({"RateLimit-Policy": '"open";q=5;qu="concurrent-requests";w=60'}, None),
        (
            anthropic("requests", 50, 49, "2026-02-02T02:40:01Z")
            | anthropic("tokens", 80000, 0, "2026-02-02T02:40:31.5Z"),
            Allowance(50, 80000),
        ),
    ],
)
def test_dialects(headers: dict[str, str], expected: Allowance | None) -> None:
    assert read_allowance(CIMultiDict(headers), NOW) == expected


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("30", 30),
        ("30.5s", 30.5),
        ("1m2s", 62),
        ("2500ms", 2.5),
        ("1h0m3s", 3603),
        ("2026-02-02T02:40:30Z", 30),
        ("Mon, 02 Feb 2026 02:40:30 GMT", 30),
        ("2026-02-02T02:39:00Z", 0),
        ("soon", 0),
        ("", 0),
    ],
)
def test_resets(reset: str, seconds: float) -> None:
    allowance = read_allowance(CIMultiDict(plain(600, 0, reset)), NOW)
    assert allowance is not None
    assert allowance.wait == pytest.approx(seconds)


NAMES = [*plain(1, 1, 1), *openai("requests", 1, 1, 1), "RateLimit", "RateLimit-Policy"]


@given(st.dictionaries(st.sampled_from(NAMES), st.text(st.sampled_from('0123456789.,;=wqrtms"eE-+ :TZ'), max_size=30)))
def test_no_header_breaks_it(headers: dict[str, str]) -> None:
    allowance = read_allowance(CIMultiDict(headers), NOW)
    if allowance is not None:
        assert all(pace is None or pace > 0 for pace in (allowance.rpm, allowance.tpm))
        assert allowance.wait >= 0


@given(st.integers(1, 100_000), st.floats(0, 1), st.floats(0.001, 60))
def test_a_limit_is_never_taken_to_be_less_than_that_for_a_minute(limit: int, left: float, reset: float) -> None:
    remaining = int(limit * left)
    allowance = read_allowance(CIMultiDict(openai("requests", limit, remaining, f"{reset}s")), NOW)
    assert allowance is not None
    assert allowance.rpm is not None
    assert allowance.rpm >= limit


def test_reading_is_cheap() -> None:
    headers = CIMultiDict(openai("requests", 600, 599, "100ms") | openai("tokens", 150000, 149984, "6ms"))
    started = time.process_time()
    for _ in range(1000):
        read_allowance(headers, NOW)
    assert time.process_time() - started < 0.1  # ten times what it takes
