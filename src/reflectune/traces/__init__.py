"""Traces: data that teaches a model to notice a mistake of its own and to correct it.

    Questions(FILE).rows() ─► Question ─► plant_traces(...)          mistakes by rule, no model
                                      └─► ask_traces(..., engine)    a model's own samples, or an oracle's drafts
                                               │
                             Trace | Failure ◄─┘   checked: the mistake is one, the answer is right, the tags are sound

reading.py, questions.py, solutions.py                questions, the steps of their solutions
mistakes.py, slips.py, units.py, wording.py           mistakes by rule, and the words that correct them
planting.py, sampling.py, drafting.py                 where mistakes come from: a rule, a model's samples, an oracle
asking.py, asker.py                                   how a model is asked
trace.py                                              the row that is written, and how it is checked
"""

from reflectune.traces.asking import ask_traces, requests_per_question
from reflectune.traces.planting import plant_traces
from reflectune.traces.questions import STAGE, Question
from reflectune.traces.reading import Questions
from reflectune.traces.trace import Trace, TraceFacts, Turn

__all__ = [
    "STAGE",
    "Question",
    "Questions",
    "Trace",
    "TraceFacts",
    "Turn",
    "ask_traces",
    "plant_traces",
    "requests_per_question",
]
