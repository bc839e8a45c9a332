"""The words in which a reflection says what was wrong and gives the right step."""

from __future__ import annotations

from random import Random

CORRECTIONS: dict[str, tuple[str, ...]] = {
    "arithmetic": (
        "Let me check that: {sum} is {right}, not {wrong}. {step}",
        "Wait, I miscalculated. {sum} = {right}, so the step is: {step}",
        "That result is off: {sum} comes to {right} rather than {wrong}. Corrected: {step}",
        "Going over the sum again, {sum} gives {right} and not {wrong}. {step}",
        "I made a slip there. {wrong} is not {sum}; the right value is {right}. {step}",
        "Hold on, {sum} does not make {wrong}. It makes {right}: {step}",
        "Checking the calculation, I see an error: {sum} = {right}. It should read: {step}",
    ),
    "dropped-condition": (
        "I left something out: the {missing} in the question counts here too. {step}",
        "Wait, that ignores the {missing}. With it the step is: {step}",
        "That is not complete, because I did not use the {missing} that the question gives. {step}",
        "Looking at the question again, I have skipped the {missing}. The step should be: {step}",
        "I forgot about the {missing}, so {wrong} cannot be right. {step}",
        "The {missing} is missing from this step. Taking it into account: {step}",
    ),
    "wrong-unit": (
        "The number is right but the unit is not: it is {right}, not {wrong}. {step}",
        "Wait, I wrote the wrong unit. This is {right}: {step}",
        "That should be {right} rather than {wrong}. {step}",
        "Checking the units, {wrong} makes no sense here; it is {right}. {step}",
        "I mixed up the units. Not {wrong} but {right}: {step}",
    ),
    "misread-number": (
        "I misread the question: it says {right}, not {wrong}. {step}",
        "Wait, the number in the question is {right} and not {wrong}. The step should be: {step}",
        "Reading the question again, I see {right} where I used {wrong}. {step}",
        "I used {wrong}, but the question gives {right}. Corrected: {step}",
        "That is not the number I was given. With {right} in place of {wrong}: {step}",
    ),
    "misread-asked": (
        'I stopped too early. The question is "{asked}", and {wrong} does not answer it yet. {step}',
        'Wait, {wrong} is only a part of the way. What is asked is: "{asked}" {step}',
        'That does not answer the question, which is "{asked}" {wrong} is a value on the way to it. {step}',
        'Reading the question again: "{asked}" So {wrong} is not the answer. {step}',
        'Let me look at what is asked: "{asked}" I have only found {wrong} so far. {step}',
    ),
    "own": (
        "This led to {wrong}, which is not right. Let me work it out again.\n{step}",
        "Wait, {wrong} cannot be the answer. I will go through it step by step.\n{step}",
        "Something went wrong above, because {wrong} does not fit the question. Again, with care:\n{step}",
        "Checking this against the question, {wrong} is wrong. Here is the right way:\n{step}",
    ),
}
"""Several ways to say each correction."""

CONCLUSIONS = (
    "So the answer is {value}.",
    "That gives the answer: {value}.",
    "Therefore the answer is {value}.",
    "This means the answer is {value}.",
)
"""Ways to end too early."""


def corrected(kind: str, rng: Random, **values: str) -> str:
    """A correction in one of its wordings."""
    return rng.choice(CORRECTIONS[kind]).format(**values)
