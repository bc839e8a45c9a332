"""Configurations for training on many devices: FSDP 2 for accelerate, ZeRO-3 for DeepSpeed. docs/devices.md has why."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from reflectune.errors import SettingsError

SIZES = ("7b", "13b", "70b", "405b")
DEVICE_CONFIGS: dict[str, str] = {
    **{f"fsdp2-{size}": f"fsdp2-{size}.yaml" for size in SIZES},
    **{f"zero3-{size}": f"zero3-{size}.json" for size in SIZES},
}
"""The files, by name."""


def device_config(name: str) -> Path:
    """The file of a configuration, such as `fsdp2-7b` (for `accelerate launch`) or `zero3-70b` (for `--deepspeed`).

    Args:
        name: One of `DEVICE_CONFIGS`, with or without the file's ending.

    Raises:
        SettingsError: There is no such configuration.
    """
    file = DEVICE_CONFIGS.get(name.removesuffix(".yaml").removesuffix(".json"))
    if file is None:
        known = ", ".join(DEVICE_CONFIGS)
        raise SettingsError(f"There is no configuration {name} for devices.", mend=f"There are: {known}.")
    return Path(str(files("reflectune.training.devices").joinpath(file)))
