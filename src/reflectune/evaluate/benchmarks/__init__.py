"""Benchmarks of models, through lm-eval.

    parts_of(settings) ─► Part ─► ask_and_score(subject, parts, settings, ask, folder) ─► Item ─► figures_of ─► Score
                            │         the model writes: every reply is asked for by the engine      └─► compare
                            └───► weigh(open_weigher(model, ...), parts, run) ─► Score
                                      the model says how likely given answers are

catalogue.py, parts.py                  which benchmarks there are, and what of them is asked
rows.py, local.py, tasks.py             questions from the hub or from files, and the task files that lm-eval reads
harness.py, lm.py, hooks.py             lm-eval, the model that it asks, what it calls to score a reply
scoring.py, ifeval.py, punkt.py         is a reply right: answers, instructions
programs.py, code/                      the program in a reply, and what becomes of it in a sandbox
generative.py, logprob.py               the two forms
items.py, figures.py, comparison.py     scored replies, and what they come to
"""

from reflectune.evaluate.benchmarks.comparison import compare
from reflectune.evaluate.benchmarks.generative import Subject, ask_and_score, figures_of
from reflectune.evaluate.benchmarks.items import Item
from reflectune.evaluate.benchmarks.lm import Ask, Unfinished, ask_with
from reflectune.evaluate.benchmarks.logprob import open_weigher, weigh
from reflectune.evaluate.benchmarks.parts import Part, parts_of

__all__ = [
    "Ask",
    "Item",
    "Part",
    "Subject",
    "Unfinished",
    "ask_and_score",
    "ask_with",
    "compare",
    "figures_of",
    "open_weigher",
    "parts_of",
    "weigh",
]
