"""Attention over a packed forest, registered with transformers under a name of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reflectune.student.forest import Segment

if TYPE_CHECKING:
    import torch

NAME = "reflectune_forest"


def register() -> str:
    """Make it known to transformers; returns the name under which a model asks for it."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, forest_attention)
    return NAME


def forest_attention(  # noqa: PLR0913, PLR0917 - transformers says what it takes
    module: torch.nn.Module,  # noqa: ARG001
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001
    segments: Sequence[Segment] | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Let each segment attend to itself and to what its texts begin with.

    Args:
        module: The attention layer.
        query: [1, heads, tokens, width].
        key: [1, key heads, tokens, width]; a key head serves several heads.
        value: As `key`.
        attention_mask: Not used: segments say who sees whom.
        segments: The pack's segments; without them the input is one text.
        scaling: What scores are multiplied by.
        sliding_window: How far back a token sees; by default to the beginning.
        rest: What other implementations take.

    Returns:
        [1, tokens, heads, width], and no weights.

    Raises:
        NotImplementedError: The model caps its attention scores, as Gemma 2 does, or has attention sinks.
    """
    from torch import empty_like
    from torch.nn.functional import scaled_dot_product_attention

    if rest.get("softcap") is not None or rest.get("s_aux") is not None:
        raise NotImplementedError("Capped scores and attention sinks are not computed in packs.")
    result = empty_like(query)
    several = key.shape[1] != query.shape[1]
    for segment in segments or (Segment(0, query.shape[2], ()),):
        own = (segment.begin, segment.end)
        runs = _joined((*segment.before, own))
        keys, values = (_gathered(states, runs) for states in (key, value))
        length, seen = segment.end - segment.begin, keys.shape[2]
        again = seen < 2 * length  # asking for the short beginning again costs less than a mask does
        mask = _mask(seen if again else length, seen, sliding_window, query.device)
        found = scaled_dot_product_attention(
            _gathered(query, runs if again else (own,)),
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None,
            scale=scaling,
            enable_gqa=several,
        )
        result[:, :, segment.begin : segment.end] = found[:, :, -length:]
    return result.transpose(1, 2), None


def _joined(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs of which none begins where the one before it ends."""
    joined = [runs[0]]
    for begin, end in runs[1:]:
        if begin == joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def _gathered(states: torch.Tensor, runs: Sequence[tuple[int, int]]) -> torch.Tensor:
    from torch import cat

    parts = [states[:, :, begin:end] for begin, end in runs]
    return parts[0] if len(parts) == 1 else cat(parts, dim=2)


def _mask(asking: int, seen: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Which of the keys each query sees, [queries, keys]; `None` where plain causality says it."""
    from torch import arange

    if asking == seen and (window is None or window >= seen):
        return None
    back = arange(seen - asking, seen, device=device)[:, None] - arange(seen, device=device)
    return (back >= 0) if window is None else (back >= 0) & (back < window)
