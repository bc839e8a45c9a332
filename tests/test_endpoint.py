"""Addresses and keys."""

from __future__ import annotations

import pytest

from reflectune.errors import SettingsError
from reflectune.oracles.endpoint import ApiSettings

KEY = "sk-very-secret-1234"


@pytest.mark.parametrize(
    ("given", "base", "chat"),
    [
        ("http://h:1/v1", "http://h:1/v1", "http://h:1/v1/chat/completions"),
        (" http://h:1/v1/ ", "http://h:1/v1", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/chat/completions", "http://h:1/v1", "http://h:1/v1/chat/completions"),
        ("http://h:1/v1/chat/completions/", "http://h:1/v1", "http://h:1/v1/chat/completions"),
        ("https://h", "https://h", "https://h/chat/completions"),
        ("https://h/d?api-version=1#x", "https://h/d?api-version=1", "https://h/d/chat/completions?api-version=1"),
    ],
)
def test_addresses_are_normalised(given: str, base: str, chat: str) -> None:
    settings = ApiSettings("m", given)
    assert (settings.base_url, settings.chat_url) == (base, chat)
    assert settings.models_url == chat.replace("/chat/completions", "/models")


@pytest.mark.parametrize(
    "url", ["", "localhost:8000/v1", "ftp://h/v1", "http://", "http://h:port/v1", "http://[::1/v1"]
)
def test_what_is_no_address_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(SettingsError, match="http://localhost:8000/v1"):
        ApiSettings("m", url)


@pytest.mark.parametrize(
    "url", [f"https://user:{KEY}@h/v1", f"https://h/v1?key={KEY}", f"https://h/v1?a=1&API_KEY={KEY}"]
)
def test_a_secret_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match="MY_KEY") as caught:
        ApiSettings("m", url, key_env="MY_KEY")
    assert KEY not in str(caught.value)


def test_the_key_is_in_no_representation() -> None:
    settings = ApiSettings("m", "http://h/v1", key=f" {KEY}\n")
    assert settings.key == KEY
    assert KEY not in repr(settings)
    assert settings.scrub(f"you sent {KEY}!") == "you sent ***!"


def test_a_key_that_no_header_can_carry_is_refused() -> None:
    with pytest.raises(SettingsError, match="MY_KEY") as caught:
        ApiSettings("m", "http://h/v1", key="sk-\nsecret-part", key_env="MY_KEY")
    assert "secret-part" not in str(caught.value)


def test_a_blank_key_is_none() -> None:
    assert ApiSettings("m", "http://h/v1", key=" \n").key is None


def test_placeholders_for_a_key_do_not_garble_messages() -> None:
    assert ApiSettings("m", "http://h/v1", key="x").scrub("maximum context") == "maximum context"
