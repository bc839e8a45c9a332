"""What is asked, as everything that makes an answer needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reflectune.errors import SettingsError
from reflectune.inference.history import history, opening
from reflectune.language import prompt_language
from reflectune.oracles.engine import Engine
from reflectune.prompts import REFLECT, Language, Prompts
from reflectune.recipe import ChatSettings
from reflectune.records import Example, Message, Request

__all__ = ["Talk", "talk_of"]


@dataclass(frozen=True, slots=True)
class Talk:
    """A question, and how it is to be answered.

    Attributes:
        messages: What the model is sent.
        example: The question with what surrounds it, as a pair that has no response yet.
        language: The language of our prompts.
        prompts: Our prompts.
        settings: How it is to be answered.
        engine: Asks the model.
        stop: Texts before any of which the answer ends.
        sample: Which draw it is.
    """

    messages: tuple[Message, ...]
    example: Example
    language: Language
    prompts: Prompts
    settings: ChatSettings
    engine: Engine
    stop: tuple[str, ...] = ()
    sample: int = 0

    @property
    def tagged(self) -> bool:
        """Whether the model answers in tags."""
        return self.settings.reflecting != "off"

    def request(self, number: int = 0, *, stop: tuple[str, ...] = ()) -> Request:
        """What the model is asked.

        Args:
            number: Which of the draws of this answer it is.
            stop: Texts before any of which it is to end its reply.
        """
        sampling = self.settings.sampling(self.engine.oracle.sampling)
        return Request(self.messages, sampling, sample=self.sample + number, stop=stop)

    def words(self, name: str, **values: str) -> str:
        """One of our sentences, in the language of the question."""
        return self.prompts.sentence(self.language, "chat_words.yaml", name, **values)


def talk_of(
    messages: Sequence[Message],
    engine: Engine,
    settings: ChatSettings,
    stop: tuple[str, ...],
    sample: int,
) -> Talk:
    """Read a conversation.

    Raises:
        SettingsError: It does not end with what a user says.
    """
    if not messages or messages[-1].role not in ("user", "tool"):
        raise SettingsError("The conversation asks nothing.", mend="Let it end with a message of the user's.")
    turns = history(messages)
    language = settings.lang or prompt_language(messages[-1].content)
    prompts = Prompts(settings.prompts)
    ours = prompts.text(language, REFLECT) if settings.reflecting == "prompt" else ""
    systems = [settings.system, *(turn.content for turn in turns if turn.role == "system")]
    example = Example(
        id="chat",
        instruction=turns[-1].content,
        response="",
        system="\n\n".join(filter(None, systems)),
        history=tuple(turn for turn in turns[:-1] if turn.role in ("user", "assistant")),
    )
    return Talk(opening(turns, ours, settings.system), example, language, prompts, settings, engine, stop, sample)
