"""How much memory training takes, against published counts and against what PyTorch keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reflectune.errors import SettingsError
from reflectune.recipe import TrainSettings
from reflectune.training.devices import DEVICE_CONFIGS, SIZES, device_config
from reflectune.training.plan import GIB, Setup, amount, fits, offload_of, plan, plan_for
from reflectune.training.shape import SHAPES, Shape

CARD = 80 * GIB
PUBLISHED = {
    "smollm2-135m": 134_515_008,
    "llama-7b": 6_738_415_616,
    "llama-13b": 13_015_864_320,
    "llama-70b": 70_553_706_496,
    "llama-405b": 405_853_388_800,
}
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 320,
}
setups = st.builds(
    Setup,
    method=st.sampled_from(["full", "lora", "qlora"]),
    sharding=st.sampled_from(["none", "fsdp", "zero3"]),
    devices=st.sampled_from([1, 2, 8, 64]),
    tokens=st.integers(1, 65_536),
    checkpointing=st.booleans(),
    precision=st.sampled_from(["bfloat16", "float32"]),
    offload=st.sampled_from(["none", "optimiser", "all"]),
    rank=st.integers(1, 256),
)
shapes = st.sampled_from(list(SHAPES.values()))
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items(), ids=list(PUBLISHED))
def test_parameters_are_as_published(name: str, parameters: int) -> None:
    assert SHAPES[name].parameters == parameters


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_those_of_a_real_model(family: str, *, tied: bool) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(family, **SMALL, tie_word_embeddings=tied, sliding_window=None)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    shape = Shape.of_config(config.to_dict())
    assert shape.parameters == model.num_parameters()
    linears = [module for name, module in model.named_modules() if name.endswith("_proj")]
    assert shape.linear_parameters == sum(linear.weight.numel() for linear in linears)
    assert shape.adapter_parameters(4) == sum(4 * sum(linear.weight.shape) for linear in linears)


@pytest.mark.parametrize(
    ("numbers", "cast"), [("float32", False), ("bfloat16", False), ("float32", True)], ids=["float32", "split", "cast"]
)
def test_activations_are_what_pytorch_keeps(numbers: str, *, cast: bool) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(**SMALL | {"hidden_size": 256, "intermediate_size": 688})
    model = transformers.LlamaModel(config).to(getattr(torch, numbers)).train()
    weights = {weight.untyped_storage().data_ptr(): weight.numel() for weight in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.randint(0, 320, (1, 512))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", enabled=cast):
        model(ids, use_cache=False)
    shape = Shape.of_config(config.to_dict())
    real = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    if cast:
        real -= 2 * shape.linear_parameters  # its copies of the weights, which are counted with the weights
    setup = Setup(
        tokens=512,
        checkpointing=False,
        precision="bfloat16" if cast or numbers == "bfloat16" else "float32",
        sharding="none" if cast or numbers == "float32" else "fsdp",
    )
    assert plan(shape, setup).activations == pytest.approx(real, rel=0.08)


def test_all_weights_of_7b_do_not_fit_one_card_and_fit_eight() -> None:
    whole = plan(SHAPES["llama-7b"], Setup())
    assert not fits(whole, CARD)
    assert fits(plan(SHAPES["llama-7b"], Setup(devices=8, sharding="fsdp")), CARD)
    assert "FSDP) makes it" in whole.verdict(CARD)


def test_adapters_fit_one_card() -> None:
    assert fits(plan(SHAPES["llama-7b"], Setup(method="lora")), CARD)
    assert fits(plan(SHAPES["llama-70b"], Setup(method="qlora")), CARD)
    assert not fits(plan(SHAPES["llama-70b"], Setup(method="lora")), CARD)


@pytest.mark.parametrize(
    ("setup", "each"),
    [
        (Setup(sharding="zero3"), 16),
        (Setup(sharding="fsdp"), 16),
        (Setup(), 18),
        (Setup(precision="float32"), 16),
    ],
)
def test_a_parameter_takes_what_the_papers_say(setup: Setup, each: int) -> None:
    made = plan(SHAPES["llama-7b"], setup)
    assert made.parameters + made.gradients + made.optimiser == each * SHAPES["llama-7b"].parameters


@unhurried
@given(shapes, setups)
def test_the_total_is_the_sum_and_no_part_is_negative(shape: Shape, setup: Setup) -> None:
    made = plan(shape, setup)
    assert made.total == sum(made.parts.values())
    assert min(made.parts.values()) >= 0
    assert made.host >= 0
    assert dict(made.table())["each device"] == amount(made.total)


@unhurried
@given(shapes, setups)
def test_more_tokens_take_more(shape: Shape, setup: Setup) -> None:
    assert plan(shape, setup).total <= plan(shape, replace(setup, tokens=2 * setup.tokens)).total


@unhurried
@given(shapes, setups)
def test_more_devices_never_take_more(shape: Shape, setup: Setup) -> None:
    assert plan(shape, replace(setup, devices=2 * setup.devices)).total <= plan(shape, setup).total


@unhurried
@given(shapes, setups)
def test_computing_again_and_offloading_never_take_more(shape: Shape, setup: Setup) -> None:
    made = plan(shape, setup).total
    assert plan(shape, replace(setup, checkpointing=True)).total <= made + shape.layers * shape.hidden * 4
    assert plan(shape, replace(setup, offload="all")).total <= made


@unhurried
@given(shapes, setups, st.integers(1, 4_000 * GIB))
def test_the_verdict_says_whether_it_fits(shape: Shape, setup: Setup, capacity: int) -> None:
    made = plan(shape, setup)
    said = made.verdict(capacity)
    assert ("it fits" in said) == fits(made, capacity)
    assert "\n" not in said


def test_settings_become_a_plan() -> None:
    seven = SHAPES["llama-7b"]
    one = plan_for(TrainSettings(), seven, 1, CARD)
    assert (one.setup.sharding, one.setup.checkpointing, one.setup.tokens) == ("none", True, 2_048)
    eight = plan_for(TrainSettings(), seven, 8, CARD, 8_192)
    assert (eight.setup.sharding, eight.setup.tokens) == ("fsdp", 8_192)
    small = plan_for(TrainSettings(precision="float32"), SHAPES["smollm2-135m"], 1, CARD)
    assert (small.setup.checkpointing, small.setup.precision) == (False, "float32")
    asked = TrainSettings(deepspeed="ds.json", gradient_checkpointing=True, batch_tokens=4_096)
    assert plan_for(asked, seven, 8, CARD).setup == Setup(sharding="zero3", devices=8)
    adapters = plan_for(TrainSettings(method="lora", lora_rank=8, lora_targets=("q_proj",)), seven, 1, CARD)
    assert adapters.gradients == 4 * 32 * 8 * (4_096 + 4_096)


MACHINES = {"7b": 8, "13b": 8, "70b": 32, "405b": 256}
OFFLOADED = {"zero3-70b": 8, "zero3-405b": 64}
PAGE = (Path(__file__).parents[1] / "docs" / "devices.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DEVICE_CONFIGS)
def test_every_configuration_of_devices_fits_cards_of_80_gb(name: str) -> None:
    kind, _, size = name.partition("-")
    setup = Setup(
        sharding="fsdp" if kind == "fsdp2" else "zero3",
        devices=OFFLOADED.get(name, MACHINES[size]),
        offload="none" if kind == "fsdp2" else offload_of(device_config(name)),
    )
    made = plan(SHAPES[f"llama-{size}"], setup)
    assert (made.host > 0) == (name in OFFLOADED)
    assert fits(made, 80 * 10**9), made.verdict(80 * 10**9)
    (row,) = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{name}`" in line]
    assert f"| {setup.devices}, " in row
    assert f"| {amount(made.total)} |" in row
    assert not made.host or f"| {amount(made.host)} |" in row


def test_what_deepspeed_keeps_in_the_hosts_memory(tmp_path: Path) -> None:
    assert [offload_of(device_config(f"zero3-{size}")) for size in SIZES] == ["none", "none", "optimiser", "all"]
    for text in ("no", "[]", "{}", '{"zero_optimization": {"offload_optimizer": {"device": "none"}}}'):
        (tmp_path / "ds.json").write_text(text)
        assert offload_of(tmp_path / "ds.json") == "none"
    assert offload_of(tmp_path / "nowhere.json") == "none"
    asked = TrainSettings(deepspeed=device_config("zero3-70b"))
    assert plan_for(asked, SHAPES["llama-70b"], 8, CARD).setup.offload == "optimiser"


def test_what_is_no_such_model_is_refused() -> None:
    with pytest.raises(SettingsError, match="does not say hidden_size"):
        Shape.of_config({"model_type": "gpt2"})
    with pytest.raises(SettingsError, match="mixture of experts"):
        Shape.of_config(SMALL | {"num_local_experts": 8})
    with pytest.raises(SettingsError, match="no layer c_attn"):
        SHAPES["llama-7b"].adapter_parameters(8, ("c_attn",))
    assert Shape.of_config({name: size for name, size in SMALL.items() if "key_value" not in name}).kv_heads == 4


def test_nothing_helps_where_only_the_runtime_fits() -> None:
    least = plan(SHAPES["smollm2-135m"], Setup("qlora", "fsdp", 256, tokens=1, offload="all"))
    assert "nothing helps" in least.verdict(10)
    assert amount(2**20) == "1.0 MiB"
