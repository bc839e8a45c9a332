"""How a student is asked: the wording of each template, and data that comes through it unharmed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.errors import SettingsError
from reflectune.records import Example, Message, Version
from reflectune.student.templates import TEMPLATES, Template, TurnsError, open_template
from test_tokens import spelling

ASK = "Count the rivers."
LIST = "Rhine, Danube"
CHAT = (
    "{% for turn in messages %}[{{ turn.role }}]{{ turn.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    f"\n\n### Instruction:\n{ASK}\n\n### Response:"
)
ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
    f"\n\n### Instruction:\n{ASK}\n\n### Input:\n{LIST}\n\n### Response:"
)
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: "
)
FORMS = [
    ("alpaca", ALPACA, ALPACA_INPUT),
    ("vicuna", f"{VICUNA}{ASK} ASSISTANT:", f"{VICUNA}{ASK}\nInput:\n{LIST} ASSISTANT:"),
    ("wizardlm", f"{ASK}\n\n### Response:", f"{ASK}\n{LIST}\n\n### Response:"),
]
TRICKY = [
    "{{instruction}}",
    "{{input}} and {{ input }}",
    "{a} {} {{}} }}{{ {{{{instruction}}}}",
    "{% raw %} {{ messages }} {# no #}",
    r"\1 \g<0> %s $x",
    "  leading and trailing\n\n",
]


def opened(name: str | None, *, chat: str | None = None, published: bool = False) -> Template:
    return open_template(name, spelling(chat=chat), published=published)


def asking(template: Template, instruction: str, material: str = "", **about: Any) -> str:
    """The prompt of a new version of a row whose own texts must not be in it."""
    example = Example("row", "the old instruction", "the old response", "the old input", **about)
    return template.asking(example, Version(instruction=instruction, response="unseen", input=material))


@pytest.mark.parametrize(("name", "plain", "with_input"), FORMS)
def test_a_known_template_is_worded_to_the_letter(name: str, plain: str, with_input: str) -> None:
    template = opened(name)
    assert (template.name, template.special) == (name, True)
    assert asking(template, ASK) == plain
    assert asking(template, ASK, " \n") == plain  # a blank input is none
    assert asking(template, ASK, LIST) == with_input
    assert template.guessing(ASK) == plain


@pytest.mark.parametrize("text", TRICKY)
@pytest.mark.parametrize(("name", "plain", "with_input"), FORMS)
def test_what_looks_like_a_placeholder_in_the_data_is_data(name: str, plain: str, with_input: str, text: str) -> None:
    template = opened(name)
    assert asking(template, text) == plain.replace(ASK, text)
    assert template.guessing(text) == plain.replace(ASK, text)
    before, between, after = with_input.replace(LIST, ASK).split(ASK)
    assert asking(template, text, LIST) == before + text + between + LIST + after
    assert asking(template, ASK, text) == before + ASK + between + text + after


@given(st.text(), st.text().filter(str.strip))
def test_any_instruction_and_input_come_through(instruction: str, material: str) -> None:
    prompt = asking(WIZARD, instruction, material)
    assert prompt == f"{instruction}\n{material}\n\n### Response:"


WIZARD = open_template("wizardlm", None)


@pytest.mark.parametrize(
    ("name", "chat", "published", "expected"),
    [
        (None, CHAT, False, "chat"),
        (None, None, False, "alpaca"),
        (None, CHAT, True, "vicuna"),
        ("chat", CHAT, True, "chat"),
        ("alpaca", CHAT, False, "alpaca"),
    ],
)
def test_which_template_stands_for_no_name(name: str | None, chat: str | None, published: bool, expected: str) -> None:
    assert opened(name, chat=chat, published=published).name == expected


# the tokenizer's own


def test_a_chat_template_has_the_system_prompt_and_the_earlier_turns() -> None:
    template = opened("chat", chat=CHAT)
    history = (Message("user", "Hi."), Message("assistant", "Hello!"))
    assert template.special is False
    assert asking(template, ASK) == f"[user]{ASK}[assistant]"
    assert asking(template, ASK, LIST) == f"[user]{ASK}\n\n{LIST}[assistant]"
    assert asking(template, ASK, system="Be brief.", history=history) == (
        f"[system]Be brief.[user]Hi.[assistant]Hello![user]{ASK}[assistant]"
    )
    assert template.guessing("Guess.") == "[user]Guess.[assistant]"


@pytest.mark.parametrize("text", TRICKY)
def test_a_chat_template_leaves_the_data_alone(text: str) -> None:
    template = opened("chat", chat=CHAT)
    assert asking(template, text, LIST, system=text) == f"[system]{text}[user]{text}\n\n{LIST}[assistant]"
    assert template.guessing(text) == f"[user]{text}[assistant]"


def test_a_chat_template_that_refuses_a_row_names_its_turns() -> None:
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT
    template = opened("chat", chat=strict)
    assert asking(template, ASK) == f"[user]{ASK}[assistant]"
    with pytest.raises(TurnsError, match=r"take its turns \(system, user\): no system role"):
        asking(template, ASK, system="Be brief.")


def test_without_a_chat_template_the_mend_is_named() -> None:
    with pytest.raises(SettingsError, match="has no chat template") as refused:
        opened("chat")
    assert refused.value.mend == "Use --template alpaca or vicuna."


# files


@pytest.mark.parametrize(
    ("text", "plain", "with_input"),
    [
        ("Q: {{instruction}}\nA:", f"Q: {ASK}\nA:", f"Q: {ASK}\n\n{LIST}\nA:"),
        ("Q: {{instruction}}\nI: {{input}}\nA:\n", f"Q: {ASK}\nI: \nA:", f"Q: {ASK}\nI: {LIST}\nA:"),
        ("{{input}}{{instruction}} {{instruction}}", f"{ASK} {ASK}", f"{LIST}{ASK} {ASK}"),
        ("Q: {{ instruction }}\nI: {{  input}}\nA:", f"Q: {ASK}\nI: \nA:", f"Q: {ASK}\nI: {LIST}\nA:"),
        ("{x} {{instruction}}\n\n\n", f"{{x}} {ASK}", f"{{x}} {ASK}\n\n{LIST}"),
    ],
)
def test_a_file_is_a_template(tmp_path: Path, text: str, plain: str, with_input: str) -> None:
    path = tmp_path / "own.txt"
    path.write_text(text)
    template = opened(str(path))
    assert (template.name, template.special) == ("own.txt", True)
    assert asking(template, ASK) == template.guessing(ASK) == plain
    assert asking(template, ASK, LIST) == with_input
    assert asking(template, "{{input}}", "{{instruction}}").count("{{i") == with_input.count(ASK) + 1


def test_a_jinja_file_is_a_chat_template(tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text(CHAT.replace("[", "<").replace("]", ">"))
    template = opened(str(path), chat=CHAT)
    assert (template.name, template.special) == ("own.jinja", False)
    assert asking(template, ASK, system="Be brief.") == f"<system>Be brief.<user>{ASK}<assistant>"
    assert template.guessing("Guess.") == opened(str(path)).guessing("Guess.") == "<user>Guess.<assistant>"


def test_a_broken_jinja_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text("{% for turn in %}")
    with pytest.raises(TurnsError, match="does not take its turns"):
        opened(str(path)).guessing("Guess.")


def test_a_name_that_is_no_template_names_those_there_are(tmp_path: Path) -> None:
    for name in ("alpacca", str(tmp_path / "nowhere.txt"), str(tmp_path)):
        with pytest.raises(SettingsError, match="There is no template") as refused:
            opened(name)
        assert all(known in refused.value.mend for known in TEMPLATES)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_bytes(b"{{instruction}} \xff")
    with pytest.raises(SettingsError, match=r"own\.txt"):
        opened(str(path))


def test_a_file_without_a_place_for_the_instruction_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("Q: {{question}}")
    with pytest.raises(SettingsError, match=r"own\.txt has no place for the instruction") as refused:
        opened(str(path))
    assert "{{instruction}}" in refused.value.mend


# what a score depends on


def test_another_wording_has_another_hash(tmp_path: Path) -> None:
    path, jinja = tmp_path / "own.txt", tmp_path / "own.jinja"
    hashes = [opened(name).hash for name, _, _ in FORMS]
    hashes += [opened("chat", chat=text).hash for text in (CHAT, CHAT + " ")]
    for text in ("{{instruction}}", "{{instruction}}:", "{{instruction}}\n{{input}}"):
        path.write_text(text)
        hashes.append(opened(str(path)).hash)
    jinja.write_text(CHAT + "!")
    hashes.append(opened(str(jinja)).hash)
    assert len(set(hashes)) == len(hashes)


def test_the_same_wording_has_the_same_hash(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.txt").write_text("{{instruction}}" + "\n" * (folder == "a"))
    one, other = (opened(str(tmp_path / folder / "own.txt")).hash for folder in ("a", "b"))
    assert one == other
    assert opened("chat", chat=CHAT).hash == opened(None, chat=CHAT).hash
