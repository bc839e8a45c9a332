"""What one look at this machine came to."""

from __future__ import annotations

from typing import Literal

from reflectune.records import Record

__all__ = ["Finding", "Section", "State"]

State = Literal["good", "without", "broken"]
"""`without`: it is not there, and only what needs it cannot be done. `broken`: it is there, or needed, and fails."""


class Finding(Record):
    """What one look at this machine came to.

    Attributes:
        name: What was looked at.
        state: Whether it is good.
        told: What was seen, in a few words. No part of any key.
        mend: The command, or what else helps; empty where nothing has to be done.
    """

    name: str
    state: State
    told: str
    mend: str = ""


class Section(Record):
    """Findings that belong together.

    Attributes:
        title: What they are about.
        findings: What was found.
    """

    title: str
    findings: tuple[Finding, ...]
