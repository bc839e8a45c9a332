"""Talk to a model that reflects: by itself, by prompt, or because we make it.

conversation.py  what was asked and answered so far, and the next question
answering.py     the answer to a conversation, part by part
parts.py         what an answer is made of, as it streams
talk.py          what is asked, as everything that makes an answer needs it
history.py       what a model is sent of a conversation
replying.py      one reply of a model
made.py          an answer that we make a model reflect on
drafts.py        several drafts of it, drawn at once
vote.py          which of them is best
critique.py      what is said of it, and its revision
forgetful.py     a store for talk, which keeps nothing
"""

from __future__ import annotations

from reflectune.inference.answering import answer
from reflectune.inference.conversation import Conversation, Exchange
from reflectune.inference.forgetful import Forgetful
from reflectune.inference.history import history
from reflectune.inference.parts import Answered, Part, PartKind

__all__ = ["Answered", "Conversation", "Exchange", "Forgetful", "Part", "PartKind", "answer", "history"]
