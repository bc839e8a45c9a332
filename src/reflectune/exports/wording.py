"""How a row is worded: messages for a chat template, or a prompt and its completion as plain text."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from reflectune.errors import SettingsError
from reflectune.lessons import Lesson
from reflectune.prompts import placed
from reflectune.records import Failure
from reflectune.student.chat_text import LLAMA
from reflectune.student.templates import CHAT, Form, TextTemplate, open_template

STAGE = "export"


@dataclass(frozen=True, slots=True)
class Chat:
    """The tokenizer's chat template, or one that is written beside the data.

    Attributes:
        name: What it is called.
        text: Its Jinja source; empty for the tokenizer's own.
    """

    name: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Plain:
    """A template that is a text: rows are written with it, and the tool adds only what marks begin and end.

    Attributes:
        name: What it is called.
        form: Its texts.
    """

    name: str
    form: Form

    def prompt(self, lesson: Lesson) -> str | Failure:
        """The text that the answer follows, or why there is none."""
        example, form = lesson.example, self.form
        if example.history:
            return lesson.left_out(STAGE, "template", f"{self.name} is text here, and holds no earlier turns")
        if example.system and not form.preamble:
            return lesson.left_out(STAGE, "template", f"the template {self.name} has no place for a system prompt")
        text = form.with_input if example.input.strip() else form.plain
        said = placed(text, {"instruction": example.instruction, "input": example.input})
        return f"{example.system} {said.removeprefix(form.preamble)}" if example.system else said

    def pair(self, lesson: Lesson) -> list[dict[str, Any]] | Failure:
        """A row as `prompt` and `completion`, the answer as it stands after the prompt."""
        prompt = self.prompt(lesson)
        if isinstance(prompt, Failure):
            return prompt
        return [{"prompt": prompt, "completion": self.form.joint + lesson.example.response}]


Wording = Chat | Plain


def wording(name: str | None) -> Wording:
    """How rows are worded in a template.

    Args:
        name: As `reflectune train` takes it; by default the chat template of the tokenizer.

    Raises:
        SettingsError: There is no such template, or it cannot be used.
    """
    if name in {None, CHAT}:
        return Chat(CHAT)
    if name == LLAMA:
        folder = files("reflectune.student").joinpath("chat_templates")
        return Chat(LLAMA, folder.joinpath(f"{LLAMA}.jinja").read_text(encoding="utf-8"))
    path = Path(str(name))
    if path.suffix == ".jinja":
        try:
            return Chat(path.name, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"There is no template {path}: {error}.", mend="Check the path.") from error
    template = open_template(name, None)
    if not isinstance(template, TextTemplate):
        raise TypeError(f"{type(template).__name__} is no template of text")
    return Plain(template.name, template.form)


def messages(lesson: Lesson) -> list[dict[str, str]]:
    """The turns of a row with role and content, oldest first."""
    example = lesson.example
    turns = [{"role": "system", "content": example.system}] if example.system else []
    turns += [{"role": turn.role, "content": turn.content} for turn in example.history]
    turns.append({"role": "user", "content": example.question})
    return [*turns, {"role": "assistant", "content": example.response}]
