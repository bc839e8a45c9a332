"""The head and the loss for trained tokens only, a piece of them at a time.

Scores over the vocabulary are the largest thing that training makes: 49,152 numbers for each token of SmolLM2, several
times over. Here they exist for a few hundred tokens at once, and are computed again on the way back. On a GPU TRL has a
fused kernel for the same.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

from reflectune.student.runtime import torch_and_transformers

_CHANGED = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
"""What a model may do to its scores that is not done here."""
_PIECE = 256
"""Tokens whose scores exist at once."""


def is_plain(config: Any) -> bool:
    """Whether the scores are the product with the head as it is, neither scaled nor capped."""
    text = config.get_text_config()
    return not any(getattr(text, name, None) for name in _CHANGED)


def add_head(model: Any) -> None:
    """Let a causal language model give the loss of chosen tokens: `model(..., trained=places, targets=tokens)`.

    Without `trained`, its forward pass is what it was. It is looked up by the wrappers of adapters and of many devices
    on each call, so it may be added before them.
    """
    plain = model.forward

    def forward(self: Any, *args: Any, trained: Any = None, targets: Any = None, **rest: Any) -> Any:
        if trained is None:
            return plain(*args, **rest)
        hidden = self.base_model(*args, **rest, use_cache=False).last_hidden_state[0, trained]
        return _loss(self.get_output_embeddings(), hidden, targets)

    model.forward = MethodType(forward, model)
    model.gives_loss = True


def _loss(head: Any, hidden: Any, targets: Any) -> Any:
    """The sum of the targets' negative log-likelihoods, in nats.

    Args:
        head: The output embeddings.
        hidden: Of shape (tokens, width).
        targets: Of shape (tokens,).
    """
    torch, _ = torch_and_transformers()

    def piece(states: Any, wanted: Any) -> Any:
        return torch.nn.functional.cross_entropy(head(states).float(), wanted, reduction="sum")

    total = hidden.sum() * 0.0  # joined to the model where no token carries loss
    for states, wanted in zip(hidden.split(_PIECE), targets.split(_PIECE), strict=True):
        if len(wanted):
            total = total + torch.utils.checkpoint.checkpoint(piece, states, wanted, use_reentrant=False)
    return total
