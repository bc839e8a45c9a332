"""Talk to a model that reflects: by itself, by prompt, or because we make it.

parts.py    what an answer is made of, as it streams
"""

from __future__ import annotations

from reflectune.inference.parts import Answered, Part, PartKind

__all__ = ["Answered", "Part", "PartKind"]
