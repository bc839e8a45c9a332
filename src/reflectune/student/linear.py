"""Products in float32 by processors whose matrix units multiply bfloat16 (AMX), which do that many times faster.

A weight that was published as bfloat16 is one exactly. What it is multiplied with is, to within 2^-17 of itself, the
sum of two bfloat16s: the nearest one, and the nearest one to what is left. So two fast products, added up in float32,
are one of float32: on a student of 30 layers the losses differ by 2e-5 nats at most. Rounding to bfloat16 just once
would move them by 1e-2.

torch itself multiplies bfloat16 into bfloat16 only. The library that it brings, MKL, also has `cblas_gemm_bf16bf16f32`,
which keeps the sums in float32; it is called by its documented C interface.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear, Module

EXACT_ENOUGH = 2e-5
"""How far a product may be from that of float32, relative to the largest number in it."""
_ROW_MAJOR, _AS_IT_IS, _TRANSPOSED = 101, 111, 112
"""The numbers of CblasRowMajor, CblasNoTrans and CblasTrans."""


class Halves(NamedTuple):
    """A tensor as the sum of two.

    Attributes:
        high: The nearest bfloat16s, contiguous.
        low: The nearest bfloat16s to what is left, contiguous.
    """

    high: Tensor
    low: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Halves:
        """Take a tensor of float32 apart."""
        rows = rows.contiguous()
        high = rows.bfloat16()
        return cls(high, (rows - high).bfloat16())


class LastHalves:
    """The halves of the tensor that was asked for last: several layers in a row multiply the same one."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, Halves] | None = None

    def of(self, states: Tensor) -> Halves:
        """Take a tensor apart, once."""
        last = self._last  # another thread may change it
        if last is None or last[0] is not states:
            last = self._last = states, Halves.of(states.reshape(-1, states.shape[-1]))
        return last[1]


def split_linear_layers(model: Module) -> bool:
    """Let a model's linear layers multiply in two halves, where this processor gains by it and nothing is lost.

    Their weights are kept as bfloat16 from then on, which takes half the memory. `restore` undoes it.

    Args:
        model: A model in float32 on the CPU.

    Returns:
        Whether any layer does.
    """
    from torch.nn import Linear

    if not _multiplies_bfloat16() or _gemm() is None or not _agrees():
        return False
    layers = [layer for layer in model.modules() if type(layer) is Linear and is_bfloat16(layer.weight)]
    halves = LastHalves()
    for layer in layers:
        layer.forward = SplitForward(layer, halves)  # type: ignore[method-assign, assignment]
    return bool(layers)


def restore(model: Module) -> None:
    """Let a model's layers compute as they did before."""
    from torch.nn import Linear

    for layer in model.modules():
        if isinstance(layer.forward, StandIn):
            del layer.forward
            if type(layer) is Linear:
                layer.weight.data = layer.weight.data.float()


def is_bfloat16(weight: Tensor) -> bool:
    """Whether a float32 tensor holds bfloat16 numbers only."""
    return str(weight.dtype) == "torch.float32" and bool((weight == weight.bfloat16()).all())


def split_product(rows: Halves, weight: Tensor) -> Tensor:
    """The product of `rows` [n, in] with the transpose of `weight` [out, in], in float32: [n, out].

    Args:
        rows: In two halves.
        weight: In bfloat16, contiguous.
    """
    from torch import float32

    found = rows.high.new_empty(len(rows.high), len(weight), dtype=float32)
    _multiply_into(found, rows.high, weight, add=False)
    _multiply_into(found, rows.low, weight, add=True)
    return found


class StandIn:
    """A forward pass that stands in for a layer's own."""


class SplitForward(StandIn):
    """The forward pass of a linear layer whose weight is bfloat16 exactly.

    Args:
        layer: The layer.
        halves: What its neighbours use too.
    """

    def __init__(self, layer: Linear, halves: LastHalves) -> None:
        self._weight = layer.weight.data = layer.weight.detach().bfloat16().contiguous()
        self._bias: Tensor | None = layer.bias
        self._halves = halves

    def __call__(self, states: Tensor) -> Tensor:
        """What the layer itself returns: [..., in] to [..., out]."""
        return self.of_halves(self._halves.of(states)).view(*states.shape[:-1], len(self._weight))

    def of_halves(self, halves: Halves) -> Tensor:
        """The same for rows that are taken apart already: [n, in] to [n, out]."""
        found = split_product(halves, self._weight)
        return found if self._bias is None else found.add_(self._bias)


def _agrees() -> bool:
    """Try a product: whether it is that of float32."""
    import torch

    generator = torch.Generator().manual_seed(0)
    rows, weight = (torch.randn(shape, generator=generator) for shape in ((64, 256), (96, 256)))
    exact = rows.double() @ weight.bfloat16().double().t()
    apart = (split_product(Halves.of(rows), weight.bfloat16()) - exact).abs().max()
    return bool(apart <= EXACT_ENOUGH * exact.abs().max())


def _multiplies_bfloat16() -> bool:
    """Whether the processor has matrix units for bfloat16."""
    import torch

    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16"))


def _multiply_into(found: Tensor, rows: Tensor, weight: Tensor, *, add: bool) -> None:
    multiply = _gemm()
    (count, width), places = rows.shape, len(weight)
    # fmt: off
    multiply(
        _ROW_MAJOR, _AS_IT_IS, _TRANSPOSED, count, places, width,
        1.0, rows.data_ptr(), width, weight.data_ptr(), width, float(add), found.data_ptr(), places,
    )
    # fmt: on


@cache
def _gemm() -> Any:
    """MKL's product of bfloat16 matrices in float32; `None` where torch brings none."""
    import torch

    folder = Path(torch.__file__).parent / "lib"
    try:
        found = ctypes.CDLL(str(folder / "libtorch_cpu.so")).cblas_gemm_bf16bf16f32
    except (OSError, AttributeError):
        return None
    size, number, matrix = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
    found.restype = None
    found.argtypes = [*[size] * 6, number, matrix, size, matrix, size, number, matrix, size]
    return found
