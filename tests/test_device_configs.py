"""The configurations for many devices, read by the tools that they are for."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from reflectune.errors import SettingsError
from reflectune.training.devices import DEVICE_CONFIGS, SIZES, device_config

FSDP = [f"fsdp2-{size}" for size in SIZES]
ZERO = [f"zero3-{size}" for size in SIZES]


def test_every_file_is_there_and_nothing_else_is() -> None:
    folder = device_config("fsdp2-7b").parent
    assert {path.name for path in folder.glob("*.*") if path.suffix != ".py"} == set(DEVICE_CONFIGS.values())
    assert all(device_config(name).is_file() for name in DEVICE_CONFIGS)
    assert device_config("zero3-7b.json") == device_config("zero3-7b")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="fsdp2-7b, fsdp2-13b"):
        device_config("fsdp2-8b")


@pytest.mark.parametrize("name", FSDP)
def test_accelerate_reads_what_fsdp_is_to_do(name: str) -> None:
    config_args = pytest.importorskip("accelerate.commands.config.config_args")
    config = config_args.load_config_from_file(str(device_config(name)))
    assert type(config) is config_args.ClusterConfig
    assert (str(config.distributed_type), config.mixed_precision) == ("DistributedType.FSDP", "bf16")
    assert config.num_processes == 8 * config.num_machines
    assert (config.num_machines > 1) == (config.main_process_ip is not None)


@pytest.mark.parametrize("name", FSDP)
def test_fsdp_splits_all_of_the_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = pytest.importorskip("accelerate.commands.launch")
    utils = pytest.importorskip("accelerate.utils")
    words = ["--config_file", str(device_config(name)), "--num_machines", "1", "--num_processes", "8", "train.py"]
    arguments, _, _ = launch._validate_launch_command(launch.launch_command_parser().parse_args(words))
    for key, value in utils.launch.prepare_multi_gpu_env(arguments).items():
        if key.startswith(("FSDP", "ACCELERATE")):
            monkeypatch.setenv(key, value)
    plugin = utils.FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.cpu_ram_efficient_loading is True
    assert plugin.activation_checkpointing is False  # the trainer computes activations again itself
    assert type(plugin.cpu_offload).__name__ == "OffloadPolicy"  # which keeps everything on the device
    assert "FULL_STATE_DICT" in str(plugin.state_dict_type)  # or transformers' Trainer would save no model


@pytest.mark.parametrize("name", FSDP)
def test_accelerate_knows_every_setting_of_fsdp(name: str) -> None:
    launch = pytest.importorskip("accelerate.commands.launch")
    known = {action.dest for action in launch.launch_command_parser()._actions}
    settings = yaml.safe_load(device_config(name).read_text())
    assert set(settings["fsdp_config"]) <= known


def filled(path: Path) -> dict[str, Any]:
    """A DeepSpeed configuration, with what is "auto" in it filled as transformers' Trainer does."""
    transformers = pytest.importorskip("transformers")
    deepspeed = pytest.importorskip("transformers.integrations.deepspeed")

    no = dict.fromkeys(("save_on_each_node", "fp16", "fp16_full_eval", "bf16_full_eval"), False)
    rows = {"world_size": 1, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 8}
    adam = {"learning_rate": 2e-5, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "weight_decay": 0.0}
    arguments = SimpleNamespace(bf16=True, max_grad_norm=1.0, get_warmup_steps=lambda steps: 3, **no, **rows, **adam)
    model = SimpleNamespace(config=transformers.LlamaConfig(hidden_size=4_096))
    config = deepspeed.HfTrainerDeepSpeedConfig(json.loads(path.read_text()))
    config.trainer_config_process(arguments)
    config.trainer_config_finalize(arguments, model, 100)
    values: dict[str, Any] = config.config
    return values


@pytest.fixture
def deepspeed_config() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, on a machine without a GPU
        module = pytest.importorskip("deepspeed.runtime.config", reason="deepspeed is not installed")
        yield module.DeepSpeedConfig


@pytest.mark.parametrize("name", ZERO)
def test_deepspeed_reads_what_zero_is_to_do(name: str, deepspeed_config: Any) -> None:
    config = deepspeed_config(filled(device_config(name)))
    zero = config.zero_config
    assert int(zero.stage) == 3
    assert config.train_batch_size == 32
    assert config.gradient_clipping == 1.0
    assert config.bfloat16_config.enabled
    assert zero.gather_16bit_weights_on_model_save
    assert zero.reduce_bucket_size == 4_096 * 4_096
    away = {part for part in ("optimizer", "param") if getattr(zero, f"offload_{part}") is not None}
    assert away == {"zero3-70b": {"optimizer"}, "zero3-405b": {"optimizer", "param"}}.get(name, set())
    known = set(type(zero).model_fields) | {field.alias for field in type(zero).model_fields.values() if field.alias}
    values = filled(device_config(name))
    assert set(values["zero_optimization"]) <= known
    assert "auto" not in json.dumps(values)
