"""What the peers' jobs ask for: the JSON that ours asks for when it reflects on a response.

Written out anew: the peers' interpreters do not have reflectune.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Note(BaseModel):
    """A remark and a score for one criterion."""

    remark: str
    score: Literal[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


class Critique(BaseModel):
    """The criteria."""

    helpfulness: Note
    relevance: Note
    accuracy: Note
    detail: Note


class Rewrite(BaseModel):
    """A critique, then the better response."""

    response_critique: Critique
    response: str
