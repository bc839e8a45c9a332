"""One answer as clients read it: what goes into `content`, what into `reasoning_content`, and what is told beside."""

from __future__ import annotations

from typing import Any

from reflectune.inference import Answered, Part
from reflectune.oracles.stopping import Stops
from reflectune.web.api.asked import Tags
from reflectune.web.api.settings import WithoutOutput

__all__ = ["Choice"]

_BETWEEN = "\n\n"
"""Stands between two parts in `reasoning_content`, where nothing else tells them apart."""


class Choice:
    """Makes the deltas of one answer while it comes.

    Args:
        index: Which of the answers to the same request it is.
        tags: How tags are told.
        reflects: Whether the answer comes in tags, so that text in none is no part of it.
        without_output: What `content` is where there is no output.
        stop: Texts before any of which content ends that is no output, and so was not ended already.
    """

    def __init__(
        self, index: int, tags: Tags, *, reflects: bool, without_output: WithoutOutput, stop: tuple[str, ...] = ()
    ) -> None:
        self.index = index
        self.answered: Answered | None = None
        self._tags = tags
        self._reflects = reflects
        self._without_output = without_output
        self._stops = Stops(stop)
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._gap = False

    def delta(self, part: Part) -> dict[str, Any] | None:
        """What a part adds to the answer; `None` where it adds nothing that is told."""
        if self._tags == "raw":
            return self._add(self._until_stop(part))
        shown = part.kind == "output" or (part.kind == "text" and not self._reflects)
        text = part.text if shown else self._apart(part)
        (self._content if shown else self._reasoning).append(text)
        field = "content" if shown else "reasoning_content"
        if self._tags == "parts":
            return {field: text, "part": part.kind, "begins": part.begins} if text or part.begins else None
        return {field: text} if text else None

    def end(self, answered: Answered) -> dict[str, Any] | None:
        """Note the end of the answer, and tell what is still to be added; `None` where that is nothing."""
        self.answered = answered
        whole = self._without_output == "whole" and self._tags == "" and answered.output is None
        rest = self._stops.feed(answered.raw) if whole else ""
        return self._add(rest + self._stops.end())

    @property
    def kinds(self) -> tuple[bool, bool]:
        """Whether there is content, and whether there is reasoning."""
        return any(self._content), any(self._reasoning)

    @property
    def message(self) -> dict[str, Any]:
        """The whole answer."""
        reasoning = "".join(self._reasoning)
        return {
            "role": "assistant",
            "content": "".join(self._content),
            **({"reasoning_content": reasoning} if reasoning else {}),
            "refusal": None,
        }

    @property
    def ending(self) -> dict[str, Any]:
        """Why the answer ended, and what is not as it should be in it."""
        if self.answered is None:
            return {"finish_reason": None}
        faults = {"reflectune": {"faults": list(self.answered.faults)}} if self.answered.faults else {}
        return {"finish_reason": "stop" if self._stops.reached else self.answered.finish_reason, **faults}

    def _add(self, content: str) -> dict[str, Any] | None:
        self._content.append(content)
        return {"content": content} if content else None

    def _until_stop(self, part: Part) -> str:
        """What of a raw part comes before a stop: text outside of all tags ends there, thinking does not."""
        if self._stops.reached:
            return ""
        if part.kind == "text":
            return self._stops.feed(part.raw)
        return self._stops.end() + part.raw

    def _apart(self, part: Part) -> str:
        """The text of a part of the reasoning, set apart from the one before it."""
        self._gap = self._gap or part.begins
        if not part.text or self._tags == "parts":
            return part.text
        apart = _BETWEEN if self._gap and any(self._reasoning) else ""
        self._gap = False
        return apart + part.text
