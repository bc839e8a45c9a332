from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.criteria import INSTRUCTION_CRITERIA, RESPONSE_CRITERIA
from reflectune.errors import SettingsError
from reflectune.prompts import Prompts, _shipped


def test_both_languages_have_the_same_prompts() -> None:
    names = {language: {p.split("/")[1] for p in _shipped() if p.startswith(language)} for language in ("en", "zh")}
    assert names["en"] == names["zh"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_rubrics_name_the_criteria_that_replies_must_hold(language: str) -> None:
    prompts = Prompts()
    instruction = prompts.text(language, "structured_instruction.txt")  # type: ignore[arg-type]
    response = prompts.text(language, "structured_response.txt")  # type: ignore[arg-type]
    assert all(f"{name}:" in instruction or f"{name}：" in instruction for name in INSTRUCTION_CRITERIA)
    assert all(
        f"{name}:" in text or f"{name}：" in text for name in RESPONSE_CRITERIA for text in (instruction, response)
    )


@given(st.text())
def test_what_is_put_in_comes_through_untouched(text: str) -> None:
    rendered = Prompts().render("en", "structured_retry.txt", reason=text)
    frame = Prompts().render("en", "structured_retry.txt", reason="|")
    before, after = frame.split("|")
    assert rendered == before + text + after


def test_placeholders_are_replaced_in_one_pass(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "structured_retry.txt").write_text("{{reason}} and {{ reason }} {reason}\n")
    prompts = Prompts(tmp_path)
    assert prompts.render("en", "structured_retry.txt", reason="{{reason}}") == "{{reason}} and {{reason}} {reason}"


@pytest.mark.parametrize("text", ["no placeholder", "{{reason}} {{other}}"])
def test_a_prompt_with_the_wrong_placeholders(tmp_path: Path, text: str) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "structured_retry.txt").write_text(text)
    with pytest.raises(SettingsError, match=r"en/structured_retry\.txt"):
        Prompts(tmp_path).render("en", "structured_retry.txt", reason="x")


def test_a_file_that_replaces_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "structured_retyr.txt").write_text("x")
    with pytest.raises(SettingsError, match="replaces no prompt") as caught:
        Prompts(tmp_path)
    assert "Did you mean en/structured_retry.txt?" in caught.value.mend


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no prompt folder"):
        Prompts(tmp_path / "nothing")


def test_the_hash_changes_with_the_prompts_that_it_covers_only(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "structured_retry.txt").write_text("{{reason}}")
    assert Prompts(tmp_path).hash("structured_") != Prompts().hash("structured_")
    assert Prompts(tmp_path).hash("dialogue_") == Prompts().hash("dialogue_")


def test_a_reason_without_wording_is_its_name() -> None:
    assert Prompts().reason("en", "copy") != "copy."
    assert Prompts().reason("en", "something-new") == "something-new."
