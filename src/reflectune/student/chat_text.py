"""Every template as a chat template in Jinja: what a student is trained with is saved with it, and served with it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from reflectune.errors import SettingsError
from reflectune.student.templates import CHAT, TEMPLATES, ChatTemplate, Form, TextTemplate, open_template
from reflectune.student.tokens import added_before

LLAMA = "llama-3.1"
_PLACE = re.compile(r"\{\{(instruction|input)\}\}")


@dataclass(frozen=True, slots=True)
class ChatText:
    """A chat template.

    Attributes:
        name: What it is called.
        text: Its Jinja source.
        takes_input: Whether it has a place for a user's `input` beside the `content`; elsewhere both are one text.
    """

    name: str
    text: str
    takes_input: bool = False


def chat_text(name: str | None, tokenizer: Any) -> ChatText:
    """The chat template that a name stands for.

    Args:
        name: `chat` (the tokenizer's own, as for no name), `llama-3.1`, `alpaca`, `vicuna`, `wizardlm`, or a file, as
            `open_template` has it.
        tokenizer: The student's tokenizer.

    Raises:
        SettingsError: There is no such template, or the tokenizer has none of its own.
    """
    if name == LLAMA:
        return _llama(tokenizer)
    if name in {None, CHAT} and not tokenizer.chat_template:
        others = ", ".join((LLAMA, *(one for one in TEMPLATES if one != CHAT)))
        raise SettingsError(
            "The student's tokenizer has no chat template.", mend=f"Say which it is to learn with --template: {others}."
        )
    template = open_template(name, tokenizer, others=(LLAMA,))
    if isinstance(template, ChatTemplate):
        return ChatText(template.name, template.text)
    if isinstance(template, TextTemplate):
        begin = "".join(tokenizer.convert_ids_to_tokens(list(added_before(tokenizer))))
        return ChatText(template.name, jinja_of(template.form, begin), takes_input=True)
    raise TypeError(f"{type(template).__name__} is no template of text")


def jinja_of(form: Form, begin: str = "") -> str:
    """A form as a chat template, which writes the end token after each response.

    Args:
        form: The texts.
        begin: The special tokens that the tokenizer puts before a text, as text.
    """
    many = bool(form.preamble)
    refused = "raise_exception('This template takes one instruction and its response')"
    said = [_literal(begin) if begin else "''"]
    if many:
        system = "messages[0]['content'] + ' ' if messages and messages[0]['role'] == 'system' else "
        said.append(f"({system}{_literal(form.preamble)})")
    lines = [
        "{{- " + " + ".join(said) + " -}}",
        "{%- for message in messages -%}",
        "{%- if message['role'] == 'user' -%}",
        "" if many else "{%- if not loop.first -%}{{- " + refused + " -}}{%- endif -%}",
        "{%- if message['input'] -%}",
        "{{- " + _expression(form.with_input.removeprefix(form.preamble)) + " -}}",
        "{%- else -%}",
        "{{- " + _expression(form.plain.removeprefix(form.preamble)) + " -}}",
        "{%- endif -%}",
        "{%- elif message['role'] == 'assistant' -%}",
        "{{- " + (f"{_literal(form.joint)} + " if form.joint else "") + "message['content'] + eos_token -}}",
        "{%- elif not (loop.first and message['role'] == 'system') -%}" if many else "{%- else -%}",
        "{{- " + refused + " -}}",
        "{%- endif -%}",
        "{%- endfor -%}",
    ]
    return "".join(lines)


def _expression(text: str) -> str:
    places = {"instruction": "message['content']", "input": "message['input']"}
    pieces = _PLACE.split(text)
    said = [places[piece] if number % 2 else _literal(piece) for number, piece in enumerate(pieces) if piece]
    return " + ".join(said)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _llama(tokenizer: Any) -> ChatText:
    known = tokenizer.get_vocab()
    if lacking := [token for token in ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>") if token not in known]:
        raise SettingsError(
            f"The student's tokenizer has no token {lacking[0]}, which the template {LLAMA} is made of.",
            mend="Use --template chat, vicuna or alpaca.",
        )
    text = files("reflectune.student").joinpath("chat_templates", f"{LLAMA}.jinja").read_text(encoding="utf-8")
    return ChatText(LLAMA, text)
