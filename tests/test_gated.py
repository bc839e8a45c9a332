"""Gated layers that compute in one go say what they say by themselves."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.model
torch = pytest.importorskip("torch")

from reflectune.student import linear as split  # noqa: E402
from reflectune.student.gated import GatedForward, join_gated_layers  # noqa: E402


class Gated(torch.nn.Module):
    """As Llama has it."""

    def __init__(self, *, bias: bool = False, activation: Any = torch.nn.SiLU) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.gate_proj = torch.nn.Linear(48, 96, bias=bias)
        self.up_proj = torch.nn.Linear(48, 96, bias=bias)
        self.down_proj = torch.nn.Linear(96, 48, bias=bias)
        self.act_fn = activation()
        for layer in (self.gate_proj, self.up_proj, self.down_proj):
            layer.weight.data = layer.weight.data.bfloat16().float()

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.down_proj(self.act_fn(self.gate_proj(states)) * self.up_proj(states))
        return found


class Doubled(Gated):
    """Looks like it, and is not."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(states)


@pytest.fixture(autouse=True)
def units(monkeypatch: pytest.MonkeyPatch) -> None:
    if split._gemm() is None:
        pytest.skip("this torch comes without MKL")
    monkeypatch.setattr(split, "_multiplies_bfloat16", lambda: True)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 300, 48), (2, 5, 48), (7, 48)])
def test_a_joined_layer_says_what_it_says_by_itself(bias: bool, shape: tuple[int, ...]) -> None:
    layer, states = Gated(bias=bias), torch.randn(shape)
    with torch.inference_mode():
        wanted = layer.double()(states.double())
        layer.float()
        assert split.split_linear_layers(layer)
        assert join_gated_layers(layer) == 1
        kept = states.clone()
        found = layer(states)
    assert isinstance(layer.forward, GatedForward)
    assert found.shape == shape
    assert (found - wanted).abs().max() < 5e-5 * wanted.abs().max()
    assert torch.equal(states, kept)


class Telling(Gated):
    """Gives more than its states."""

    def forward(self, states: torch.Tensor) -> Any:
        return super().forward(states), "more"


@pytest.mark.parametrize("other", [Doubled, Telling, lambda: Gated(activation=torch.nn.GELU)])
def test_a_layer_that_is_otherwise_stays_as_it_is(other: Any) -> None:
    layer = other()
    split.split_linear_layers(layer)
    assert join_gated_layers(layer) == 0
    assert not isinstance(layer.forward, GatedForward)


def test_a_layer_that_is_not_split_stays_as_it_is() -> None:
    assert join_gated_layers(Gated()) == 0
