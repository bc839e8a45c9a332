"""Rows that are read one after the other do not see each other.

On a GPU, FlashAttention takes the rows' borders. Elsewhere each row is attended to by itself, which costs what the rows
cost alone; torch's own attention would compute the whole square of a pack and throw most of it away.
"""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from typing import Any

from reflectune.student.runtime import torch_and_transformers

ROW_BY_ROW = "reflectune_row_by_row"
_PLAIN_ONLY = ("sliding_window", "attn_logit_softcapping", "attention_chunk_size")
"""What a model's attention may have that the one here does not compute."""
_NOISE = 0.05
"""How far logits in bfloat16 may differ, in their standard deviations."""


def attentions(config: Any, *, gpu: bool, bfloat16: bool) -> list[str]:
    """The names of the attentions that may keep rows apart, for transformers, the best first.

    A model need not support the first: whoever loads it tries the next.

    Args:
        config: The model's configuration.
        gpu: Whether it runs on one.
        bfloat16: Whether products are computed in bfloat16, which FlashAttention needs.

    Returns:
        FlashAttention where it is installed; on a CPU the one of this module, for models whose attention is plain; then
        torch's, which takes a mask made of the positions; then the plainest.
    """
    others = ["sdpa", "eager"]
    if gpu:
        return ["flash_attention_2", *others] if bfloat16 and importlib.util.find_spec("flash_attn") else others
    text = config.get_text_config()
    if any(getattr(text, name, None) for name in _PLAIN_ONLY):
        return others
    _, transformers = torch_and_transformers()
    transformers.AttentionInterface.register(ROW_BY_ROW, row_by_row)
    return [ROW_BY_ROW, *others]


def mixes_rows(model: Any, vocabulary: int) -> bool:
    """Whether a row that is read after another one comes out otherwise than alone.

    So it does in models that carry a state from token to token, and in those whose layers do not hand on the borders.

    Args:
        model: A model whose weights are whole.
        vocabulary: How many tokens there are to draw rows from.
    """
    torch, _ = torch_and_transformers()
    drawn = torch.Generator().manual_seed(0)
    rows = [torch.randint(vocabulary, (count,), generator=drawn) for count in (7, 9)]
    tokens = torch.cat(rows)[None].to(model.device)
    positions = torch.cat([torch.arange(len(row)) for row in rows])[None].to(model.device)
    borders = torch.tensor([0, 7, 16], dtype=torch.int32, device=model.device)
    where = {"cu_seq_lens_q": borders, "cu_seq_lens_k": borders, "max_length_q": 9, "max_length_k": 9}
    trains = model.training
    model.eval()
    try:
        with torch.no_grad():
            together = model(input_ids=tokens, position_ids=positions, use_cache=False, **where).logits[0, 7:].float()
            alone = model(input_ids=rows[1][None].to(model.device), use_cache=False).logits[0].float()
    except (TypeError, ValueError):  # it takes no positions
        return True
    finally:
        model.train(trains)
    return bool((together - alone).square().mean().sqrt() > _NOISE * alone.std())


def row_by_row(  # noqa: PLR0913, PLR0917 - transformers calls it so
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: Any = None,
    **_: Any,
) -> tuple[Any, None]:
    """Causal attention within each row of a pack.

    Args:
        module: The attention layer.
        query: Of shape (1, heads, tokens, width).
        key: Of shape (1, key-value heads, tokens, width).
        value: As `key`.
        attention_mask: Not used: a pack has no padding.
        scaling: What the scores are multiplied by.
        dropout: The share of the weights that is dropped.
        cu_seq_lens_q: Where the rows begin, and where the last one ends; without it, all is one row.

    Returns:
        The result, of shape (1, tokens, heads, width), and no weights.

    Raises:
        ValueError: A mask is given, or more than one sequence.
    """
    torch, _transformers = torch_and_transformers()
    if attention_mask is not None or query.shape[0] != 1:
        raise ValueError("rows are read one after the other here, in one sequence without a mask")
    borders = [0, query.shape[2]] if cu_seq_lens_q is None else cu_seq_lens_q.tolist()
    if query.shape[2] != key.shape[2]:
        raise ValueError("a pack is read as a whole, without a cache")
    attend = torch.nn.functional.scaled_dot_product_attention
    if query.shape[1] != key.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
    results = [
        attend(
            query[:, :, begin:end],
            key[:, :, begin:end],
            value[:, :, begin:end],
            dropout_p=dropout if module.training else 0.0,
            scale=scaling,
            is_causal=True,
        )
        for begin, end in pairwise(borders)
    ]
    return torch.cat(results, dim=2).transpose(1, 2).contiguous(), None
