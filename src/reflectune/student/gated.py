"""The feed-forward layers of Llama and its kin, whose widest numbers are written and read as seldom as can be.

Such a layer is `down(silu(gate(x)) * up(x))`. By itself each step reads and writes all that the step before it wrote,
and on a processor that multiplies fast, memory is what the layer waits for. Here silu, product and halving go over a
few rows at a time, which stay in the cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reflectune.student.linear import EXACT_ENOUGH, Halves, SplitForward, StandIn

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_ROWS_AT_ONCE = 128
_SILU = {"SiLU", "SiLUActivation"}


def join_gated_layers(model: Module) -> int:
    """Let a model's gated layers compute in one go, where their linear layers are split and nothing changes by it.

    Args:
        model: A model whose linear layers were split, as `linear` says.

    Returns:
        How many layers do.
    """
    joined = 0
    for layer in model.modules():
        if _looks_gated(layer) and _agrees(layer):
            layer.forward = GatedForward(layer)
            joined += 1
    return joined


class GatedForward(StandIn):
    """The forward pass of a gated layer.

    Args:
        layer: The layer, with linear layers `gate_proj`, `up_proj` and `down_proj` that are split.
    """

    def __init__(self, layer: Any) -> None:
        self._gate, self._up, self._down = _parts(layer)

    def __call__(self, states: Tensor) -> Tensor:
        """What the layer itself returns: [..., width] to [..., width]."""
        gate, up = (part(states).flatten(0, -2) for part in (self._gate, self._up))
        found: Tensor = self._down.of_halves(_gated(gate, up))
        return found.view(states.shape)


def _gated(gate: Tensor, up: Tensor) -> Halves:
    """The halves of silu(gate) * up, [n, width]. The gate is overwritten."""
    from torch import bfloat16
    from torch.nn.functional import silu

    halves = Halves(*gate.new_empty(2, *gate.shape, dtype=bfloat16))
    for begin in range(0, len(gate), _ROWS_AT_ONCE):
        rows, other, high, low = (part[begin : begin + _ROWS_AT_ONCE] for part in (gate, up, *halves))
        silu(rows, inplace=True).mul_(other)
        high.copy_(rows)
        low.copy_(rows.sub_(high))
    return halves


def _parts(layer: Any) -> list[Any]:
    """How its three linear layers multiply; `None` in place of each that it does not have."""
    return [getattr(getattr(layer, f"{name}_proj", None), "forward", None) for name in ("gate", "up", "down")]


def _looks_gated(layer: Module) -> bool:
    return type(getattr(layer, "act_fn", None)).__name__ in _SILU and all(
        isinstance(part, SplitForward) for part in _parts(layer)
    )


def _agrees(layer: Any) -> bool:
    """Try some states: whether the layer says the same as it does by itself."""
    import torch

    states = torch.randn(3, 2, layer.gate_proj.in_features, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            alone, joined = layer(states), GatedForward(layer)(states)
            return bool((joined - alone).abs().max() <= EXACT_ENOUGH * alone.abs().max())
    except (TypeError, RuntimeError):  # it takes or gives something else
        return False
