"""Talk to a model that reflects: by itself, by prompt, or because we make it.

parts.py      what an answer is made of, as it streams
forgetful.py  a store for talk, which keeps nothing
"""

from __future__ import annotations

from reflectune.inference.forgetful import Forgetful
from reflectune.inference.parts import Answered, Part, PartKind

__all__ = ["Answered", "Forgetful", "Part", "PartKind"]
