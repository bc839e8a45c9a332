"""Products in float32 by processors whose matrix units multiply bfloat16 (AMX), which do that many times faster.

A weight that was published as bfloat16 is one exactly. What it is multiplied with is, to within 2^-17 of itself, the sum
of two bfloat16s: the nearest one, and the nearest one to what is left. So two fast products, added up in float32, are one
of float32: on a student of 30 layers the losses differ by 2e-5 nats at most. Rounding to bfloat16 just once would move
them by 1e-2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear, Module
from torch.nn.functional import linear

_EXACT_ENOUGH = 2e-5
"""How far a product may be from that of float32, relative to the largest number in it."""


def split_linear_layers(model: Module) -> bool:
    """Let a model's linear layers multiply in two halves, where this processor gains by it and nothing is lost.

    Args:
        model: A model in float32 on the CPU.

    Returns:
        Whether any layer does.
    """
    if not _multiplies_bfloat16() or not _agrees():
        return False
    halves = Halves()
    changed = False
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is Linear and is_bfloat16(layer.weight):
                setattr(parent, name, SplitLinear(layer, halves))
                changed = True
    return changed


def is_bfloat16(weight: Tensor) -> bool:
    """Whether a float32 tensor holds bfloat16 numbers only."""
    return weight.dtype == torch.float32 and torch.equal(weight, weight.bfloat16().float())


def split_product(rows: Tensor, low: Tensor, weight: Tensor) -> Tensor:
    """The product of `rows` [n, in] with the transpose of `weight` [out, in], in float32: [n, out].

    Args:
        rows: In float32.
        low: What is left of `rows` when they are rounded to bfloat16, as `what_is_left` tells it.
        weight: Numbers that are bfloat16 exactly.
    """
    setting: Any = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        return torch.mm(rows, weight.t()).addmm_(low, weight.t())
    finally:
        setting.fp32_precision = before


def what_is_left(rows: Tensor) -> Tensor:
    """What rounding to bfloat16 takes away."""
    return rows - rows.bfloat16().float()


class Halves:
    """What is left of the tensor that was asked for last: several layers in a row multiply the same one."""

    def __init__(self) -> None:
        self._of: Tensor | None = None
        self._left = torch.empty(0)

    def left(self, states: Tensor) -> Tensor:
        """What rounding to bfloat16 takes away of it."""
        if states is not self._of:
            self._of, self._left = states, what_is_left(states)
        return self._left


class SplitLinear(Module):
    """A linear layer whose weight is bfloat16 exactly.

    Args:
        layer: The layer that it stands for.
        halves: What its neighbours use too.
    """

    def __init__(self, layer: Linear, halves: Halves) -> None:
        super().__init__()
        self.weight = layer.weight
        self.bias = layer.bias
        self._halves = halves

    def forward(self, states: Tensor) -> Tensor:
        """As the layer that it stands for: [..., in] to [..., out]."""
        width = states.shape[-1]
        low = self._halves.left(states).reshape(-1, width)
        found = split_product(states.reshape(-1, width), low, self.weight)
        if self.bias is not None:
            found += self.bias
        return found.view(*states.shape[:-1], -1)


def _multiplies_bfloat16() -> bool:
    """Whether the processor has matrix units for bfloat16, and this version of torch can be told to use them."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    setting = getattr(torch.backends.mkldnn, "matmul", None)
    return bool(capabilities.get("amx_bf16")) and hasattr(setting, "fp32_precision")


def _agrees() -> bool:
    """Try a product: whether it is that of float32."""
    generator = torch.Generator().manual_seed(0)
    rows, weight = (torch.randn(shape, generator=generator) for shape in ((64, 256), (96, 256)))
    weight = weight.bfloat16().float()
    exact = linear(rows.double(), weight.double())
    apart = (split_product(rows, what_is_left(rows), weight) - exact).abs().max()
    return bool(apart <= _EXACT_ENOUGH * exact.abs().max())
