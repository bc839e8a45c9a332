"""Run the command line with weights split over CPU processes: accelerate itself splits them over accelerators only."""

from __future__ import annotations

from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from reflectune.cli import main
from reflectune.training import fit

_plain_init, _plain_save = AcceleratorState.__init__, fit._save


def _split(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
    _plain_init(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin


def _checked(trainer: Any, *args: Any) -> None:
    """Ensure that the weights are split, so that a test that passes has tested it."""
    from torch.distributed.tensor import DTensor

    weights = list(trainer.model_wrapped.parameters())
    assert trainer.is_fsdp_enabled
    assert all(isinstance(weight, DTensor) for weight in weights), "not every weight is split"
    _plain_save(trainer, *args)


if __name__ == "__main__":
    AcceleratorState.__init__ = _split  # type: ignore[method-assign]
    fit._save = _checked
    main()
