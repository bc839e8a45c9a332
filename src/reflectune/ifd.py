"""IFD and r-IFD: how much one half of a pair helps a student to predict the other. Formulas only.

Losses are mean negative log-likelihoods of the same text, in nats per token: conditioned on the other half, and alone.
"""

from __future__ import annotations

import math


def ifd(conditioned: float, alone: float) -> float:
    """Instruction-following difficulty: the response's perplexity given its instruction, by its perplexity alone.

    Below 1 the instruction helps; the nearer to 1, the less it does, and the more the student has to learn. With the
    losses of an instruction, given the response and alone, this is r-IFD. Source: arXiv 2402.00530, section 2, and
    arXiv 2402.10110, section 3.2.

    Raises:
        ValueError: The ratio is not a finite, positive number.
    """
    try:
        return _finite(math.exp(conditioned - alone))
    except OverflowError:
        return _finite(math.inf)


def loss_ratio(conditioned: float, alone: float) -> float:
    """The older form: the ratio of the losses themselves (arXiv 2308.12032, section 2.2). Never to be mixed with `ifd`.

    Raises:
        ValueError: The ratio is not a finite, positive number.
    """
    return _finite(conditioned / alone if alone else math.inf)


def _finite(ratio: float) -> float:
    if not (math.isfinite(ratio) and ratio > 0):
        raise ValueError(f"The ratio of the losses is {ratio}.")
    return ratio
