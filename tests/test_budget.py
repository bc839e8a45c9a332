"""A budget is never overspent, and is used but for the last replies."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.oracles.budget import Budget, BudgetReached
from reflectune.oracles.prices import Price
from reflectune.records import Message, Reply, Request, Sampling

PRICE = Price(input=1, output=1)


def request_of(size: int, most: int) -> Request:
    return Request((Message("user", "x" * size),), Sampling(max_tokens=most))


async def test_a_request_that_may_cost_too_much_is_not_sent() -> None:
    budget = Budget(10e-6, PRICE)
    with pytest.raises(BudgetReached):
        async with budget.room_for(request_of(0, 11)):
            pass
    async with budget.room_for(request_of(0, 10)):
        pass


async def test_what_was_spent_before_counts() -> None:
    budget = Budget(10e-6, PRICE, spent=5e-6)
    with pytest.raises(BudgetReached):
        async with budget.room_for(request_of(0, 6)):
            pass


async def test_a_request_waits_for_those_in_flight() -> None:
    budget, order = Budget(10e-6, PRICE), []

    async def ask(name: str, tokens: int) -> None:
        async with budget.room_for(request_of(0, 6)):
            order.append(name)
            await asyncio.sleep(0)
            budget.pay(Reply(text="", completion_tokens=tokens))

    await asyncio.gather(ask("first", 2), ask("second", 6))
    assert order == ["first", "second"]
    assert budget.spent == pytest.approx(8e-6)


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 50), st.integers(0, 50), st.integers(0, 3)), max_size=30),
    st.integers(0, 600),
)
def test_no_more_than_the_limit_is_spent(calls: list[tuple[int, int, int, int]], limit: int) -> None:
    async def scene() -> None:
        budget = Budget(limit * 1e-6, PRICE)
        stopped = 0

        async def ask(size: int, most: int, used: int, pauses: int) -> None:
            nonlocal stopped
            try:
                async with budget.room_for(request_of(size, most)):
                    for _ in range(pauses):
                        await asyncio.sleep(0)
                    budget.pay(Reply(text="", prompt_tokens=size // 3, completion_tokens=min(used, most)))
            except BudgetReached:
                stopped += 1

        await asyncio.wait_for(asyncio.gather(*(ask(*call) for call in calls)), 5)
        assert budget.spent <= limit * 1e-6 + 1e-12
        enough = sum(size / 3 + most for size, most, _, _ in calls) * 1e-6
        if enough <= budget.limit:
            assert not stopped

    asyncio.run(scene())
