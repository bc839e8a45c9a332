"""From a model's name to the endpoint that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from reflectune.errors import SettingsError
from reflectune.oracles.naming import Address, open_oracle, settings_of


@pytest.fixture(autouse=True)
def _nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["m@", "m@ "])
def test_an_address_that_is_empty_is_not_openais(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    for address in (Address(), Address(base_url="http://127.0.0.1:9/v1")):
        with pytest.raises(SettingsError, match="has no address after the @") as caught:
            open_oracle(name, address)
        assert "m@URL" in caught.value.mend
    assert settings_of("m", Address()).base_url == "https://api.openai.com/v1"
    assert settings_of("m@http://127.0.0.1:9/v1", Address()).base_url == "http://127.0.0.1:9/v1"


def test_a_name_that_is_empty_or_lacks_its_key_is_refused() -> None:
    with pytest.raises(SettingsError, match="names no model"):
        open_oracle("@http://127.0.0.1:9/v1")
    with pytest.raises(SettingsError, match="the variable OWN is not set") as caught:
        open_oracle("m", Address(key_env="OWN"))
    assert "export OWN=..." in caught.value.mend
    assert "or name the model local" in caught.value.mend
    assert "--oracle" not in caught.value.mend


@pytest.mark.parametrize("name", ["typo.gguf", "runs/studnt", "./studnt", "~/studnt", "hf:org/name", "C:\\studnt"])
def test_a_name_like_a_files_is_not_asked_of_openai(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(SettingsError, match="is named like a file") as caught:
        open_oracle(name)
    assert "local:FILE.gguf" in caught.value.mend
    assert settings_of(name, Address(base_url="http://127.0.0.1:9/v1")).model == name  # servers name models so
