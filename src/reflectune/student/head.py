"""From hidden states to the negative log-likelihood of words, without ever holding a place's logits all at once."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from reflectune.student.linear import Halves, is_bfloat16, split_product

if TYPE_CHECKING:
    from torch import Tensor

_WORDS_AT_ONCE = 1536
"""How much of the vocabulary is computed at a time: of 1,024 places that is 6 MB, which stay in the cache.

It is no power of two: adding to a product whose rows are 2,048 long takes twice as long.
"""


class Head:
    """The last layer of a causal language model.

    Args:
        model: The model, as transformers loads it.
        split: Whether products are made in two halves, as `linear` says.
    """

    def __init__(self, model: Any, *, split: bool) -> None:
        layer = model.get_output_embeddings()
        self._weight: Tensor = layer.weight
        self._bias: Tensor | None = getattr(layer, "bias", None)
        self._config = model.config
        self._split = split and is_bfloat16(self._weight)
        if self._split:
            self._weight = self._weight.detach().bfloat16().contiguous()

    def losses(self, hidden: Tensor, words: Tensor) -> Tensor:
        """How unlikely each word is.

        Args:
            hidden: The last hidden states, [places, width].
            words: The word that comes at each, [places].

        Returns:
            Negative log-likelihoods in nats, float32 [places].
        """
        halves = Halves.of(hidden) if self._split else None
        said = hidden.new_zeros(len(words)).float()
        highest, total = said - inf, said.clone()
        for begin in range(0, len(self._weight), _WORDS_AT_ONCE):
            logits = self._capped(self._logits(hidden, halves, begin))
            here = (words - begin).clamp(0, logits.shape[1] - 1)
            said = said.where(here + begin != words, logits.gather(1, here[:, None])[:, 0])
            higher = highest.maximum(logits.amax(1))
            total = total * (highest - higher).exp() + logits.sub_(higher[:, None]).exp_().sum(1)
            highest = higher
        return total.log() + highest - said

    def _logits(self, hidden: Tensor, halves: Halves | None, begin: int) -> Tensor:
        """The logits of some words, float32 [places, words]."""
        weight = self._weight[begin : begin + _WORDS_AT_ONCE]
        found = split_product(halves, weight) if halves else (hidden @ weight.t()).float()
        return found if self._bias is None else found.add_(self._bias[begin : begin + _WORDS_AT_ONCE])

    def _capped(self, logits: Tensor) -> Tensor:
        """Scaled and capped as some models' own forward pass does it."""
        if scale := getattr(self._config, "logit_scale", None):
            logits = logits * scale
        if divisor := getattr(self._config, "logits_scaling", None):
            logits = logits / divisor
        if cap := getattr(self._config, "final_logit_softcapping", None):
            logits = (logits / cap).tanh_().mul_(cap)
        return logits
