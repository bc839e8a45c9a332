"""The tags that models write around their reasoning: one grammar for training, evaluation, chat and pages.

    <thinking> ... <reflection> ... </reflection> ... </thinking> <output> ... </output>

Tags are told in any case, and none inside a fenced code block. `<reflection>` counts inside `<thinking>` and, leniently
so, beside it. The answer is the first `<output>` that stands in nothing else, to its close or to the end of the text. A
`<thinking>` that is never closed goes on to the end, so that there is no answer. Other tags are text.

scanner.py    which tags count: code blocks hide theirs
blocks.py     what the tags enclose, and what is not as it should be
think.py      the `<think>` block that some models begin with
parts.py      what a reply is made of while it is being written
stream.py     a reply that is still being written, as parts
"""

from __future__ import annotations

from reflectune.tags.blocks import Block, Parsed, parse, reflect, write
from reflectune.tags.parts import Part, PartKind, Runs
from reflectune.tags.scanner import Scanner, Span, Tag, TagName
from reflectune.tags.stream import Stream
from reflectune.tags.think import Think, split_think

__all__ = [
    "Block",
    "Parsed",
    "Part",
    "PartKind",
    "Runs",
    "Scanner",
    "Span",
    "Stream",
    "Tag",
    "TagName",
    "Think",
    "parse",
    "reflect",
    "split_think",
    "write",
]
