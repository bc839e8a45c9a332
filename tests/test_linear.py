"""Products in two halves, and the head that reads the vocabulary part by part."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.model
torch = pytest.importorskip("torch")

from reflectune.student import linear as split  # noqa: E402
from reflectune.student.head import Head  # noqa: E402


def layer(*, exact: bool, bias: bool = False) -> torch.nn.Linear:
    torch.manual_seed(3)
    made = torch.nn.Linear(96, 64, bias=bias)
    if exact:
        made.weight.data = made.weight.data.bfloat16().float()
    return made.eval()


multiplies = pytest.mark.skipif(split._gemm() is None, reason="this torch comes without MKL")


@multiplies
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_in_two_halves_is_that_of_float32(bias: bool) -> None:
    plain = layer(exact=True, bias=bias)
    states = torch.randn(2, 40, 96)
    with torch.inference_mode():
        wanted = torch.nn.functional.linear(
            states.double(), plain.weight.double(), plain.bias.double() if bias else None
        )
        found = split.SplitForward(plain, split.LastHalves())(states)
    assert found.shape == (2, 40, 64)
    assert (found - wanted).abs().max() < 2e-5 * wanted.abs().max()


@multiplies
@pytest.mark.parametrize("rows", [torch.randn(40, 200)[:, 104:], torch.randn(96, 40).t(), torch.randn(96, 1).t()])
def test_rows_may_lie_in_memory_in_any_way(rows: torch.Tensor) -> None:
    plain = layer(exact=True)
    with torch.inference_mode():
        wanted = torch.nn.functional.linear(rows.double(), plain.weight.double())
        found = split.SplitForward(plain, split.LastHalves())(rows)
    assert (found - wanted).abs().max() < 2e-5 * wanted.abs().max()


def test_halves_add_up_to_what_was_taken_apart() -> None:
    last = split.LastHalves()
    for _ in range(3):
        states = torch.randn(5, 8, 16)
        halves = last.of(states)
        whole = (halves.high.float() + halves.low.float()).view(5, 8, 16)
        assert ((whole - states).abs() <= 2.0**-17 * states.abs()).all()
        assert last.of(states) is halves
        assert last.of(states.clone()) is not halves


@multiplies
def test_no_rows_are_no_rows() -> None:
    assert split.SplitForward(layer(exact=True, bias=True), split.LastHalves())(torch.zeros(0, 96)).shape == (0, 64)


@multiplies
def test_what_was_split_can_be_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "_multiplies_bfloat16", lambda: True)
    model, states = torch.nn.Sequential(layer(exact=True)), torch.randn(3, 96)
    before = model(states)
    assert split.split_linear_layers(model)
    assert model[0].weight.dtype == torch.bfloat16
    split.restore(model)
    assert torch.equal(model(states), before)


@multiplies
@pytest.mark.parametrize("units", [True, False])
def test_only_exact_weights_are_split_and_only_where_it_is_faster(units: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "_multiplies_bfloat16", lambda: units)
    model = torch.nn.Sequential(layer(exact=True), layer(exact=False))
    assert split.split_linear_layers(model) is units
    assert isinstance(model[0].forward, split.SplitForward) is units
    assert not isinstance(model[1].forward, split.SplitForward)


def test_a_processor_whose_products_differ_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(split, "_gemm", lambda: print)
    monkeypatch.setattr(split, "split_product", lambda rows, weight: 2 * (rows.high.float() @ weight.float().t()))
    model = torch.nn.Sequential(layer(exact=True))
    assert not split.split_linear_layers(model)
    assert not isinstance(model[0].forward, split.SplitForward)


def test_a_torch_that_brings_no_such_product_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(split, "_gemm", lambda: None)
    assert not split.split_linear_layers(torch.nn.Sequential(layer(exact=True)))


@pytest.mark.parametrize("halved", [False, pytest.param(True, marks=multiplies)])
@pytest.mark.parametrize("words", [100, 5000])
def test_the_head_says_what_cross_entropy_says(words: int, halved: bool) -> None:
    torch.manual_seed(5)
    last = torch.nn.Linear(32, words)
    last.weight.data = last.weight.data.bfloat16().float()
    shape = {"logit_scale": 3.0, "logits_scaling": 0.5, "final_logit_softcapping": 20.0}
    model = SimpleNamespace(get_output_embeddings=lambda: last, config=SimpleNamespace(**shape))
    hidden, said = torch.randn(70, 32) * 4, torch.randint(0, words, (70,))
    with torch.inference_mode():
        logits = (last(hidden) * 3.0 / 0.5 / 20.0).tanh() * 20.0
        wanted = torch.nn.functional.cross_entropy(logits, said, reduction="none")
        found = Head(model, split=halved).losses(hidden, said)
    assert (found - wanted).abs().max() < 1e-4


def test_halves_of_the_precision_never_make_a_loss_negative() -> None:
    torch.manual_seed(6)
    weight = torch.randn(3000, 64).bfloat16()
    said = torch.randint(0, 3000, (80,))
    hidden = (weight[said].float() * 0.3).bfloat16()  # the word that comes is the likeliest by far
    model = SimpleNamespace(
        get_output_embeddings=lambda: SimpleNamespace(weight=weight, bias=None), config=SimpleNamespace()
    )
    with torch.inference_mode():
        found = Head(model, split=False).losses(hidden, said)
        logits = (hidden @ weight.t()).float()
        wanted = torch.nn.functional.cross_entropy(logits, said, reduction="none")
    assert found.min() > -1e-6
    assert (found - wanted).abs().max() < 1e-5


@multiplies
def test_threads_may_multiply_together() -> None:
    weight = layer(exact=True).weight.detach().bfloat16()
    many = [torch.randn(64, 96) for _ in range(50)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda rows: split.split_product(split.Halves.of(rows), weight), many))
    for rows, product in zip(many, found, strict=True):
        assert (product - rows @ weight.float().t()).abs().max() < 1e-4
