"""What a run has cost, and what the rest of it will."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from reflectune.cli.money import Range, budget_of, cost_of, dollars, own_prices, projection
from reflectune.errors import SettingsError
from reflectune.recipe import Recipe
from reflectune.records import Message, Reply, Request
from reflectune.runs import Maker, RunDir

ORACLE = "m@http://127.0.0.1:1/v1"
MAKER = Maker("f:", ORACLE, "p")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    prices = tmp_path / "prices.yaml"
    prices.write_text("m: {input: 1.0, output: 10.0, cached_input: 0.5}")
    return Recipe(data="rows.json", oracle=ORACLE, prices=prices)


async def keep(run: RunDir, replies: list[Reply], oracle: str = ORACLE) -> None:
    request = Request((Message("user", "q"),))
    run.made_by("recycle", Maker("f:", oracle, "p"))
    await asyncio.gather(
        *(run.store.keep_reply(f"{oracle} {number}", request, oracle, reply) for number, reply in enumerate(replies))
    )


def test_two_standard_errors_hold_the_truth_nearly_always(tmp_path: Path, recipe: Recipe) -> None:
    """Rows of a known mean, two replies each, long ones with long ones: the range must hold the mean of all rows."""
    draw = random.Random(1)
    mean, hits, rounds, measured = 400.0, 0, 100, 30
    for round_ in range(rounds):
        replies = []
        for _ in range(measured):
            tokens = round(draw.expovariate(1 / mean))
            replies += [Reply(text="", completion_tokens=tokens), Reply(text="", completion_tokens=tokens)]
        with RunDir(tmp_path / str(round_)) as run:
            asyncio.run(keep(run, replies))
            told = projection(run, recipe, MAKER, measured=measured, rows=1000)
        assert told is not None
        assert told.requests == 2000
        hits += told.completion_tokens.low <= 2 * mean * 1000 <= told.completion_tokens.high
    assert (
        88 <= hits < rounds
    )  # two standard errors are 95%, a little less for few and skewed rows; 100 would be too wide


def test_a_projection_weighs_every_kind_of_token(tmp_path: Path, recipe: Recipe) -> None:
    with RunDir(tmp_path / "run") as run:
        assert projection(run, recipe, MAKER, measured=0, rows=10) is None
        asyncio.run(keep(run, [Reply(text="", prompt_tokens=1000, cached_tokens=400, completion_tokens=100)] * 4))
        told = projection(run, recipe, MAKER, measured=2, rows=10)
        assert told is not None
        each = (600 * 1.0 + 400 * 0.5 + 100 * 10.0) / 1e6
        assert told.cost == Range(pytest.approx(20 * each), pytest.approx(20 * each), pytest.approx(20 * each))
        half = projection(run, recipe.model_copy(update={"batch": True}), MAKER, measured=2, rows=10)
        assert half is not None
        assert half.cost is not None
        assert half.cost.likely == pytest.approx(10 * each)
        assert cost_of(run.spent(), own_prices(recipe)) == pytest.approx(4 * each)


def test_what_was_asked_under_other_settings_projects_nothing(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "run").mkdir()
    with RunDir(tmp_path / "run") as run:
        run.made_by("recycle", MAKER)
        asyncio.run(keep(run, [Reply(text="", completion_tokens=100)] * 4))
        run.confirm("recycle")
    other = Maker("g:", ORACLE, "p")
    with RunDir(tmp_path / "run") as run:
        run.made_by("recycle", other)
        request = Request((Message("user", "q"),))
        asyncio.run(run.store.keep_reply("new", request, ORACLE, Reply(text="", completion_tokens=7)))
        run.confirm("recycle")
        told = projection(run, recipe, other, measured=1, rows=10)
        assert told is not None
        assert (told.requests, told.completion_tokens.likely) == (10, 70)
        assert run.taken(MAKER, (0.0, 0.0, 1.0)).count == 4


def test_what_was_spent_before_counts(tmp_path: Path, recipe: Recipe) -> None:
    with RunDir(tmp_path / "run") as run:
        asyncio.run(keep(run, [Reply(text="", completion_tokens=1000)] * 3))
        budget = budget_of(run, recipe.model_copy(update={"budget": 1.0}), ORACLE)
        assert budget is not None
        assert (budget.spent, budget.limit) == (pytest.approx(0.03), 1.0)
        asyncio.run(keep(run, [Reply(text="")], oracle="unheard-of@http://127.0.0.1:1/v1"))
        assert cost_of(run.spent(), own_prices(recipe)) is None
        with pytest.raises(SettingsError, match=r"unheard-of@.*a part of this run"):
            budget_of(run, recipe.model_copy(update={"budget": 1.0}), ORACLE)
        assert budget_of(run, recipe, ORACLE) is not None
        assert budget_of(run, recipe, "unheard-of@http://127.0.0.1:1/v1") is None


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0, "$0.00"),
        (0.0000123, "$0.000012"),
        (0.019, "$0.019"),
        (0.1, "$0.10"),
        (5, "$5.00"),
        (12345.678, "$12,345.68"),
    ],
)
def test_money_is_said_to_the_cent_and_finer_where_it_is_little(amount: float, said: str) -> None:
    assert dollars(amount) == said
