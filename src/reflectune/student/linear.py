"""Products in float32 by processors whose matrix units multiply bfloat16 (AMX), which do that many times faster.

A weight that was published as bfloat16 is one exactly. What it is multiplied with is, to within 2^-17 of itself, the
sum of two bfloat16s: the nearest one, and the nearest one to what is left. So two fast products, added up in float32,
are one of float32: on a student of 30 layers the losses differ by 2e-5 nats at most. Rounding to bfloat16 just once
would move them by 1e-2.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear, Module

_PRECISION_IS_SET = Lock()
"""The precision of products is a setting of the whole process: one thread at a time changes it and puts it back."""
_EXACT_ENOUGH = 2e-5
"""How far a product may be from that of float32, relative to the largest number in it."""


def split_linear_layers(model: Module) -> bool:
    """Let a model's linear layers multiply in two halves, where this processor gains by it and nothing is lost.

    Args:
        model: A model in float32 on the CPU.

    Returns:
        Whether any layer does.
    """
    from torch.nn import Linear

    if not _multiplies_bfloat16() or not _agrees():
        return False
    layers = [layer for layer in model.modules() if type(layer) is Linear and is_bfloat16(layer.weight)]
    halves = Halves()
    for layer in layers:
        layer.forward = SplitForward(layer, halves)  # type: ignore[method-assign, assignment]
    return bool(layers)


def is_bfloat16(weight: Tensor) -> bool:
    """Whether a float32 tensor holds bfloat16 numbers only."""
    return str(weight.dtype) == "torch.float32" and bool((weight == weight.bfloat16()).all())


def split_product(rows: Tensor, low: Tensor, weight: Tensor) -> Tensor:
    """The product of `rows` [n, in] with the transpose of `weight` [out, in], in float32: [n, out].

    Args:
        rows: In float32.
        low: What is left of `rows` when they are rounded to bfloat16, as `what_is_left` tells it.
        weight: Numbers that are bfloat16 exactly.
    """
    setting = _precision()
    with _PRECISION_IS_SET:
        before = setting.fp32_precision
        setting.fp32_precision = "bf16"
        try:
            return rows.mm(weight.t()).addmm_(low, weight.t())
        finally:
            setting.fp32_precision = before


def what_is_left(rows: Tensor) -> Tensor:
    """What rounding to bfloat16 takes away."""
    return rows - rows.bfloat16().float()


class Halves:
    """What is left of the tensor that was asked for last: several layers in a row multiply the same one."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, Tensor] | None = None

    def left(self, states: Tensor) -> Tensor:
        """What rounding to bfloat16 takes away of it."""
        last = self._last  # another thread may change it
        if last is None or last[0] is not states:
            last = self._last = states, what_is_left(states)
        return last[1]


class SplitForward:
    """The forward pass of a linear layer whose weight is bfloat16 exactly.

    Args:
        layer: The layer.
        halves: What its neighbours use too.
    """

    def __init__(self, layer: Linear, halves: Halves) -> None:
        self._weight = layer.weight
        self._bias: Tensor | None = layer.bias
        self._halves = halves

    def __call__(self, states: Tensor) -> Tensor:
        """What the layer itself returns: [..., in] to [..., out]."""
        width = states.shape[-1]
        low = self._halves.left(states).reshape(-1, width)
        found = split_product(states.reshape(-1, width), low, self._weight)
        if self._bias is not None:
            found += self._bias
        return found.view(*states.shape[:-1], -1)


def _multiplies_bfloat16() -> bool:
    """Whether the processor has matrix units for bfloat16, and this version of torch can be told to use them."""
    import torch

    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16")) and hasattr(_precision(), "fp32_precision")


def _precision() -> Any:
    """What says how float32 matrices are multiplied; newer versions of torch have it."""
    import torch

    return getattr(torch.backends.mkldnn, "matmul", None)


def _agrees() -> bool:
    """Try a product: whether it is that of float32."""
    import torch

    generator = torch.Generator().manual_seed(0)
    rows, weight = (torch.randn(shape, generator=generator) for shape in ((64, 256), (96, 256)))
    weight = weight.bfloat16().float()
    exact = rows.double() @ weight.double().t()
    apart = (split_product(rows, what_is_left(rows), weight) - exact).abs().max()
    return bool(apart <= _EXACT_ENOUGH * exact.abs().max())
