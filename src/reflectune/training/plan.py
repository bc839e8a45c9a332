"""How much memory training takes on each device, before anything is loaded. Arithmetic only.

Weights, gradients and optimiser states follow the ZeRO paper (arXiv 1910.02054, section 3.1), activations the counting
of Korthikanti et al. (arXiv 2205.05198, section 4) done for gated feed-forward layers, RMS norms and fused attention,
which keeps no square of the length.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from reflectune.recipe import TrainSettings
from reflectune.recipe.train import Method
from reflectune.training.shape import Shape

Sharding = Literal["none", "fsdp", "zero3"]
Offload = Literal["none", "optimiser", "all"]

GIB = 2**30
CHUNK = 1_024
"""Tokens whose scores over the vocabulary are held at once: the loss is computed piece by piece."""
OVERHEAD = GIB
"""What the device's runtime and its libraries take before the first tensor: an allowance, not a formula."""
_FOUR_BITS = (4 + 0.127) / 8
"""Bytes of a weight in NF4 with doubly quantised constants (arXiv 2305.14314, section 3)."""
_FLOAT = 4
_BYTES = {"zero3": (2, 2, 12), "fsdp": (4, 4, 8), "none": (2, 4, 12), "float32": (4, 4, 8)}
_NAMES = {
    "parameters": "weights",
    "gradients": "gradients",
    "optimiser": "optimiser states",
    "activations": "activations",
    "buffers": "weights gathered for a moment",
    "logits": "scores over the vocabulary",
    "overhead": "runtime of the device",
}


@dataclass(frozen=True, slots=True)
class Setup:
    """How a model is trained, as far as memory is concerned.

    Attributes:
        method: All weights, adapters, or adapters over weights in four bits.
        sharding: Whether weights, gradients and optimiser states are split over the devices.
        devices: How many there are.
        tokens: Tokens that a device reads at once.
        checkpointing: Whether activations are computed again.
        precision: bfloat16 products over float32 master weights, or float32 throughout.
        offload: What of the split parts lies in the host's memory: nothing, gradients and optimiser states, or all.
        rank: Rank of the adapters.
        targets: The linear layers that get one; by default all.
    """

    method: Method = "full"
    sharding: Sharding = "none"
    devices: int = 1
    tokens: int = 4_096
    checkpointing: bool = True
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    offload: Offload = "none"
    rank: int = 16
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What each device holds, in bytes.

    Attributes:
        shape: The model.
        setup: How it is trained.
        parameters: Its weights as they are computed with.
        gradients: Of the weights that are learnt.
        optimiser: Master weights where they differ from those computed with, and the two moments of Adam.
        activations: What the way back needs of the way there.
        buffers: Weights that are whole for a moment.
        logits: Scores over the vocabulary, for a piece of the tokens.
        overhead: What the device's runtime takes.
        host: What lies in the host's memory instead, for each device.
    """

    shape: Shape
    setup: Setup
    parameters: int
    gradients: int
    optimiser: int
    activations: int
    buffers: int
    logits: int
    overhead: int
    host: int = 0

    @property
    def total(self) -> int:
        """Bytes of a device at the peak."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, int]:
        """What the total is made of."""
        values = asdict(self)
        return {name: values[name] for name in _NAMES}

    def table(self) -> list[tuple[str, str]]:
        """Rows for the terminal: what it is, and how much of it."""
        rows = [(_NAMES[name], amount(size)) for name, size in self.parts.items() if size]
        rows.append(("each device", amount(self.total)))
        return [*rows, ("host memory for each device", amount(self.host))] if self.host else rows

    def verdict(self, capacity: int) -> str:
        """Whether it fits, and which change helps most where it does not.

        Args:
            capacity: Bytes of a device.
        """
        said = f"{self.shape.name} takes {amount(self.total)} on each device of {amount(capacity)}"
        if fits(self, capacity):
            return f"{said}: it fits, with {amount(capacity - self.total)} to spare."
        tried = [(what, plan(self.shape, setup)) for what, setup in _changes(self.setup)]
        helping = [(what, one) for what, one in tried if one.total < self.total]
        for what, one in helping:
            if fits(one, capacity):
                return f"{said}: it does not fit. {what} makes it {amount(one.total)}, which fits."
        if not helping:
            return f"{said}: it does not fit, and nothing helps but larger devices."
        what, one = min(helping, key=lambda change: change[1].total)
        return f"{said}: it does not fit. {what} helps most and makes it {amount(one.total)}: more is needed."


def fits(plan: MemoryPlan, capacity: int) -> bool:
    """Whether a plan fits devices of so many bytes."""
    return plan.total <= capacity


def plan(shape: Shape, setup: Setup) -> MemoryPlan:
    """What each device holds when a model of this shape is trained so.

    A parameter that is learnt takes, in bytes of weight, gradient and optimiser (`_BYTES`):

    - 2 + 2 + 12 with ZeRO-3 in mixed precision: the optimiser keeps float32 weights and two moments, K = 12 of the
      ZeRO paper; 4 + 4 + 8 with FSDP, whose weights are float32 and cast as they are gathered.
    - 2 + 4 + 12 on devices that hold it whole: PyTorch casts float32 weights as it goes and keeps the copies.
    - 4 + 4 + 8 in float32. Adapters are always float32.

    A frozen one takes 2 bytes, or 4 in float32, or 0.516 in four bits, where only linear layers are. What is split over
    N devices is divided by N (ZeRO stage 3, or FSDP that reshards after the forward pass).
    """
    width = _width(setup)
    frozen, learnt, states = 0, shape.parameters, _BYTES[setup.sharding if width < _FLOAT else "float32"]
    if setup.method != "full":
        four = shape.linear_parameters if setup.method == "qlora" else 0
        frozen = round(four * _FOUR_BITS) + (shape.parameters - four) * width
        learnt, states = shape.adapter_parameters(setup.rank, setup.targets), _BYTES["float32"]
    share = setup.devices if setup.sharding != "none" else 1
    split = [-(-size // share) for size in (frozen + learnt * states[0], learnt * states[1], learnt * states[2])]
    away = {"none": 0, "optimiser": 2, "all": 3}[setup.offload] if setup.sharding != "none" else 0
    parameters, gradients, optimiser = split[: 3 - away] + [0] * away
    return MemoryPlan(
        shape=shape,
        setup=setup,
        parameters=parameters,
        gradients=gradients,
        optimiser=optimiser,
        activations=_activations(shape, setup),
        buffers=_buffers(shape, setup),
        logits=min(setup.tokens, CHUNK) * shape.vocabulary * (width + 2 * _FLOAT),
        overhead=OVERHEAD,
        host=sum(split[3 - away :]),
    )


def plan_for(
    settings: TrainSettings, shape: Shape, devices: int, capacity: int, batch_tokens: int | None = None
) -> MemoryPlan:
    """What `reflectune train` would hold on each device with these settings.

    What they leave open is decided as training does: activations are computed again only where it would not fit
    otherwise, and weights are split over several devices only where one does not hold them all, or where DeepSpeed
    is asked for.

    Args:
        settings: How the student is trained.
        shape: The student.
        devices: How many devices there are.
        capacity: Bytes of a device.
        batch_tokens: Tokens that a device reads at once, where the settings do not say.
    """
    asked = Setup(
        method=settings.method,
        devices=devices,
        tokens=settings.batch_tokens or batch_tokens or settings.max_length,
        precision=settings.precision or "bfloat16",
        rank=settings.lora_rank,
        targets=settings.lora_targets,
    )
    shardings: list[Sharding] = ["none", "fsdp"] if devices > 1 else ["none"]
    if settings.deepspeed is not None:
        shardings, asked = ["zero3"], replace(asked, offload=offload_of(settings.deepspeed))
    again = [False, True] if settings.gradient_checkpointing is None else [settings.gradient_checkpointing]
    plans = [
        plan(shape, replace(asked, sharding=sharding, checkpointing=checkpointing))
        for sharding in shardings
        for checkpointing in again
    ]
    return next((one for one in plans if fits(one, capacity)), plans[-1])


def offload_of(path: Path) -> Offload:
    """What a DeepSpeed configuration keeps in the host's memory; nothing where there is no such file to read."""
    try:
        zero = json.loads(path.read_text(encoding="utf-8"))["zero_optimization"]
        away = [zero.get(f"offload_{part}", {}).get("device", "none") != "none" for part in ("optimizer", "param")]
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return "none"
    return "all" if all(away) else "optimiser" if away[0] else "none"


def amount(size: int) -> str:
    """Bytes as people read them, in binary units."""
    return f"{size / GIB:,.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:,.1f} MiB"


def _width(setup: Setup) -> int:
    """Bytes of a number that is computed with."""
    return 2 if setup.precision == "bfloat16" else _FLOAT


def _activations(shape: Shape, setup: Setup) -> int:
    """What the way back needs, over all layers.

    Of each token a layer keeps, in elements: of its two norms the input and the attention's normalisers in float32,
    the normalised input and what they put out; queries, keys and values; the attention's output; and gate, up, the
    activated gate and their product. That is `2 x queries + 2 x keys + 4 x intermediate` and six times the hidden
    width. With activations computed again a layer keeps its input only, and one layer at a time all of this.
    """
    width = _width(setup)
    casts = width < _FLOAT and setup.method == "full" and setup.sharding == "none"
    stream = _FLOAT if casts else width  # casting float32 weights as it goes leaves what passes the layers in float32
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    reads = 5 if casts else 2  # each linear layer then casts for itself what it reads of a norm
    kept = width * (reads * shape.hidden + 2 * queries + 2 * keys + 4 * shape.intermediate)
    kept += 2 * stream * shape.hidden + _FLOAT * (2 * shape.hidden + shape.heads)
    if setup.method != "full":
        targets = setup.targets or tuple(shape.linears)
        kept += width * setup.rank * len(targets)
    if setup.checkpointing:
        return setup.tokens * (shape.layers * stream * shape.hidden + kept)
    return setup.tokens * shape.layers * kept


def _buffers(shape: Shape, setup: Setup) -> int:
    """Weights that are whole for a moment.

    Split weights are gathered a layer at a time, with the next one under way, and the gradients of one are whole until
    they are split; the embeddings are a unit of their own. Weights in four bits are unpacked a matrix at a time.
    """
    width = _width(setup)
    unpacked = width * max(inside * outside for inside, outside in shape.linears.values())
    if setup.sharding == "none":
        return unpacked if setup.method == "qlora" else 0
    unit = max(shape.layer_parameters, shape.embedding_parameters)
    if setup.method == "qlora":
        layer = round(shape.layer_parameters * _FOUR_BITS)
        return 2 * max(layer, shape.embedding_parameters * width) + unpacked
    return width * unit * (3 if setup.method == "full" else 2)


def _changes(setup: Setup) -> Iterable[tuple[str, Setup]]:
    """What could be changed, the least first."""
    if not setup.checkpointing:
        yield "Computing activations again (gradient_checkpointing)", replace(setup, checkpointing=True)
    setup = replace(setup, checkpointing=True)
    if setup.tokens > CHUNK:
        yield "Reading half as many tokens at once (batch_tokens)", replace(setup, tokens=setup.tokens // 2)
    if setup.devices > 1 and setup.sharding == "none":
        yield "Splitting the model over the devices (FSDP or ZeRO-3)", replace(setup, sharding="fsdp")
    for devices in (8, 16, 32, 64, 128, 256):
        if devices > setup.devices:
            split: Sharding = "fsdp" if setup.sharding == "none" else setup.sharding
            yield f"Splitting it over {devices} devices (FSDP)", replace(setup, sharding=split, devices=devices)
            break
    if setup.sharding != "none" and setup.offload != "all":
        yield "Keeping the split parts in the host's memory (offload)", replace(setup, offload="all")
    if setup.method == "full":
        yield "Learning adapters only (method: lora)", replace(setup, method="lora")
    if setup.method != "qlora":
        yield "Adapters over weights in four bits (method: qlora)", replace(setup, method="qlora")
