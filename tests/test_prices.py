"""What tokens cost: public prices, a user's own, and what is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from reflectune.errors import SettingsError
from reflectune.oracles.prices import Price, price_of, read_prices
from reflectune.records import Reply


def test_a_public_price_is_that_of_the_provider() -> None:
    price = price_of("gpt-4o-mini@https://api.openai.com/v1")
    assert price is not None
    assert (price.input, price.output, price.cached_input) == pytest.approx((0.15, 0.60, 0.075))


@pytest.mark.parametrize(
    "oracle", ["gpt-4o-mini@http://127.0.0.1:8000/v1", "no-such-model@https://api.openai.com/v1", "scripted"]
)
def test_an_unknown_price_is_unknown(oracle: str) -> None:
    assert price_of(oracle) is None


def test_a_model_in_this_process_costs_nothing() -> None:
    price = price_of("local:SmolLM2-135M")
    assert price is not None
    assert price.cost(1e6, 1e6) == 0


def test_the_users_own_price_goes_first(tmp_path: Path) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text("gpt-4o-mini: {input: 1, output: 2}\nm@http://h/v1: {input: 3, output: 4}\n")
    own = read_prices(table)
    assert price_of("gpt-4o-mini@https://api.openai.com/v1", own) == Price(input=1, output=2)
    assert price_of("m@http://h/v1", own) == Price(input=3, output=4)
    assert price_of("m@http://other/v1", own) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("m: {input: 1}", "m.output"),
        ("m: {input: -1, output: 1}", "m.input"),
        ("m: {input: 1, output: 1, currency: EUR}", "m.currency"),
        ("[1, 2]", "the file"),
        ("m: {input: 1", "cannot be read"),
    ],
)
def test_a_price_that_does_not_fit_is_named(tmp_path: Path, text: str, told: str) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text(text)
    with pytest.raises(SettingsError, match=told) as caught:
        read_prices(table)
    assert "input: 0.15" in caught.value.mend


def test_a_missing_price_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="There is no price file"):
        read_prices(tmp_path / "none.yaml")


def test_a_reply_costs_less_from_the_cache_and_half_in_a_batch() -> None:
    price = Price(input=2, output=10, cached_input=1)
    reply = Reply(text="", prompt_tokens=1_000_000, completion_tokens=100_000, cached_tokens=400_000)
    assert price.of(reply) == pytest.approx(0.6 * 2 + 0.4 * 1 + 1)
    assert price.of(reply.model_copy(update={"batch": True})) == pytest.approx(1.3)
