"""Prompt templates: how a student is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from reflectune.errors import SettingsError
from reflectune.prompts import PLACEHOLDER, placed
from reflectune.records import Example, Version, digest

CHAT = "chat"


class TurnsError(Exception):
    """A template does not take the turns of a row."""


class Template(Protocol):
    """Makes a prompt of an instruction.

    Attributes:
        name: What it is called.
        hash: What tells its wording from others.
        special: Whether the tokenizer is to add its special tokens; a chat template writes them itself.
    """

    name: str
    hash: str
    special: bool

    def asking(self, example: Example, version: Version) -> str:
        """The prompt that a version's response follows; raises `TurnsError` where the row's turns are not taken."""
        ...

    def guessing(self, request: str) -> str:
        """The prompt that a guessed instruction follows: a request without an input, by itself."""
        ...


@dataclass(frozen=True, slots=True)
class Form:
    """A template as text, for instructions without an input and with one.

    Attributes:
        plain: The prompt of an instruction.
        with_input: The prompt of an instruction with an input.
        preamble: What both begin with that is said once in a conversation, and gives way to a system prompt. A form
            without one takes neither a system prompt nor earlier turns.
        joint: What stands before a response that is trained on.
    """

    plain: str
    with_input: str
    preamble: str = ""
    joint: str = ""


# The wording is part of each format: a student that was trained on one knows it to the letter.
_ALPACA = "Below is an instruction that describes a task"
_ALPACA_ENDS = "Write a response that appropriately completes the request.\n\n### Instruction:\n{{instruction}}\n\n"
_VICUNA_BEGINS = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. "
)
_VICUNA = f"{_VICUNA_BEGINS}USER: {{{{instruction}}}}"
_FORMS = {
    "alpaca": Form(
        f"{_ALPACA}. {_ALPACA_ENDS}### Response:",
        f"{_ALPACA}, paired with an input that provides further context. {_ALPACA_ENDS}"
        "### Input:\n{{input}}\n\n### Response:",
    ),
    "vicuna": Form(f"{_VICUNA} ASSISTANT:", f"{_VICUNA}\nInput:\n{{{{input}}}} ASSISTANT:", _VICUNA_BEGINS, joint=" "),
    "wizardlm": Form("{{instruction}}\n\n### Response:", "{{instruction}}\n{{input}}\n\n### Response:"),
}
TEMPLATES = (CHAT, *_FORMS)


class TextTemplate:
    """A template that is a text with placeholders. It has no place for a system prompt or earlier turns.

    Args:
        name: What it is called.
        form: Its texts.
    """

    special = True

    def __init__(self, name: str, form: Form) -> None:
        self.name = name
        self.form = form
        self.hash = digest([form.plain, form.with_input])[:16]

    def asking(self, example: Example, version: Version) -> str:  # noqa: ARG002 - the chat template's are asked for it
        """The prompt that a version's response follows."""
        if version.input.strip():
            return placed(self.form.with_input, {"instruction": version.instruction, "input": version.input})
        return self.guessing(version.instruction)

    def guessing(self, request: str) -> str:
        """The prompt that a guessed instruction follows."""
        return placed(self.form.plain, {"instruction": request})


class ChatTemplate:
    """A tokenizer's own template, with the row's system prompt and earlier turns.

    Args:
        tokenizer: A tokenizer of transformers that has a chat template, or takes the one given.
        text: Another template than its own, as Jinja.
        name: What it is called.
    """

    special = False

    def __init__(self, tokenizer: Any, text: str | None = None, name: str = CHAT) -> None:
        self.name = name
        self._tokenizer = tokenizer
        self.text: str = tokenizer.get_chat_template(text)  # its default one, where it has several
        self.hash = digest(str(self.text))[:16]

    def asking(self, example: Example, version: Version) -> str:
        """The prompt that a version's response follows."""
        turns = [{"role": "system", "content": example.system}] if example.system else []
        turns += [{"role": turn.role, "content": turn.content} for turn in example.history]
        return self._rendered([*turns, {"role": "user", "content": version.question}])

    def guessing(self, request: str) -> str:
        """The prompt that a guessed instruction follows."""
        return self._rendered([{"role": "user", "content": request}])

    def _rendered(self, turns: list[dict[str, str]]) -> str:
        try:
            prompt: str = self._tokenizer.apply_chat_template(
                turns, chat_template=self.text, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # Jinja's own, and what a template raises for turns that it does not take
            raise TurnsError(
                f"the chat template does not take its turns ({', '.join(turn['role'] for turn in turns)}): {error}"
            ) from error
        return prompt


def open_template(
    name: str | None, tokenizer: Any, *, published: bool = False, others: tuple[str, ...] = ()
) -> Template:
    """The template that a name stands for.

    Args:
        name: `chat`, `alpaca`, `vicuna`, `wizardlm` or a file: a chat template in Jinja (`.jinja`), or a text with the
            placeholder `{{instruction}}` and, where the input is to stand apart, `{{input}}`.
        tokenizer: The student's tokenizer.
        others: Further names that the caller knows, for the error.
        published: Whether `vicuna` is what stands for no name, as in the released scripts.

    Raises:
        SettingsError: There is no such template, or it cannot be used.
    """
    if name is None:
        name = "vicuna" if published else CHAT if tokenizer.chat_template else "alpaca"
    if name in _FORMS:
        return TextTemplate(name, _FORMS[name])
    if name == CHAT:
        if not tokenizer.chat_template:
            raise SettingsError(
                "The student's tokenizer has no chat template.", mend="Use --template alpaca or vicuna."
            )
        return ChatTemplate(tokenizer)
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"There is no template {name}: {error.strerror if isinstance(error, OSError) else 'it is no text'}.",
            mend=f"Name one of {', '.join((*TEMPLATES, *others))}, or a text file.",
        ) from error
    if path.suffix == ".jinja" and text.strip():
        return ChatTemplate(tokenizer, text, path.name)
    return _of_file(path, text.rstrip("\n"))


def _of_file(path: Path, text: str) -> TextTemplate:
    text = PLACEHOLDER.sub(r"{{\1}}", text)
    if "{{instruction}}" not in text:
        raise SettingsError(
            f"The template {path} has no place for the instruction.", mend="Write {{instruction}} where it belongs."
        )
    if strange := set(PLACEHOLDER.findall(text)) - {"instruction", "input"}:
        raise SettingsError(
            f"The template {path} has the placeholder {', '.join(sorted(strange))}, which nothing is put into.",
            mend="Write {{instruction}} and {{input}}, and no others.",
        )
    apart = "{{input}}" in text
    plain = text.replace("{{input}}", "")
    with_input = text if apart else text.replace("{{instruction}}", "{{instruction}}\n\n{{input}}")
    return TextTemplate(path.name, Form(plain, with_input))
