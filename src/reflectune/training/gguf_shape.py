"""What llama.cpp must know of a Llama model besides its weights: its sizes and how positions are rotated."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from reflectune.errors import SettingsError

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM")
OTHERS = "llama.cpp's own convert_hf_to_gguf.py knows many more kinds of models."
_ABSENT_IN_MISTRAL = {"num_key_value_heads": 8, "sliding_window": 4096, "max_position_embeddings": 131072}
"""What transformers takes where the configuration of a Mistral says nothing."""


class Rope(BaseModel):
    """How positions are rotated.

    Attributes:
        theta: The base of the frequencies.
        kind: How they are stretched to a longer context.
        factor: By how much.
        low_freq_factor: Of `llama3`: wavelengths longer than the original context over this are stretched in full.
        high_freq_factor: Of `llama3`: wavelengths shorter than the original context over this are not.
        original_max_position_embeddings: The context before it was stretched.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    theta: float
    kind: Literal["default", "linear", "llama3"]
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192

    def divisors(self, head: int) -> list[float] | None:
        """By what the frequency of each pair of a head's numbers is divided; `None` where by nothing.

        Source: the scaling of Llama 3.1 as transformers computes it (`_compute_llama3_parameters`).

        Args:
            head: How many numbers a head has.
        """
        if self.kind != "llama3":
            return None
        context = self.original_max_position_embeddings
        found = []
        for pair in range(head // 2):
            turns = context / (2 * math.pi * self.theta ** (2 * pair / head))
            share = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
            share = min(1.0, max(0.0, share))
            found.append(1 / ((1 - share) / self.factor + share))
        return found


class Shape(BaseModel):
    """The sizes of a Llama model, by the names of its `config.json`; what it does not say is as in transformers."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    sliding_window: int | None = None
    rope: Rope

    @property
    def key_heads(self) -> int:
        """How many heads the keys have."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head(self) -> int:
        """How many numbers a head has."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The name and the shape of each tensor that the model consists of, as transformers saves them."""
        yield "model.embed_tokens.weight", (self.vocab_size, self.hidden_size)
        for layer in range(self.num_hidden_layers):
            yield from ((f"model.layers.{layer}.{name}", shape) for name, shape in self._of_a_layer())
        yield "model.norm.weight", (self.hidden_size,)
        if not self.tie_word_embeddings:
            yield "lm_head.weight", (self.vocab_size, self.hidden_size)

    def _of_a_layer(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        wide, inner = self.hidden_size, self.intermediate_size
        queries, keys = self.num_attention_heads * self.head, self.key_heads * self.head
        attention = {
            "q_proj": (queries, wide),
            "k_proj": (keys, wide),
            "v_proj": (keys, wide),
            "o_proj": (wide, queries),
        }
        network = {"gate_proj": (inner, wide), "up_proj": (inner, wide), "down_proj": (wide, inner)}
        yield "input_layernorm.weight", (wide,)
        yield "post_attention_layernorm.weight", (wide,)
        for part, linear, biased in (("self_attn", attention, self.attention_bias), ("mlp", network, self.mlp_bias)):
            for name, shape in linear.items():
                yield f"{part}.{name}.weight", shape
                if biased:
                    yield f"{part}.{name}.bias", shape[:1]

    def describe(self, writer: Any, gguf: Any) -> None:
        """Tell a GGUF writer the sizes.

        Args:
            writer: The writer.
            gguf: The package.
        """
        writer.add_context_length(self.max_position_embeddings)
        writer.add_embedding_length(self.hidden_size)
        writer.add_block_count(self.num_hidden_layers)
        writer.add_feed_forward_length(self.intermediate_size)
        writer.add_head_count(self.num_attention_heads)
        writer.add_head_count_kv(self.key_heads)
        writer.add_key_length(self.head)
        writer.add_value_length(self.head)
        writer.add_layer_norm_rms_eps(self.rms_norm_eps)
        writer.add_vocab_size(self.vocab_size)
        writer.add_rope_dimension_count(self.head)
        writer.add_rope_freq_base(self.rope.theta)
        if self.rope.kind == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(self.rope.factor)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model folder; empty where there is no such file.

    Raises:
        SettingsError: It cannot be read, or is no object.
    """
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.", mend="Save the model again.") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path} is no JSON object.", mend="Save the model again.")
    return values


def read_shape(folder: Path) -> Shape:
    """The sizes of the model in a folder.

    Raises:
        SettingsError: It is no model folder, or of a kind that is not written as GGUF here.
    """
    config = read_json(folder / "config.json")
    if not config:
        adapters = (folder / "adapter_config.json").is_file()
        what = "holds adapters only" if adapters else "is no model folder: it has no config.json"
        mend = "Merge the adapters into a model first." if adapters else "Name the folder of a saved model."
        raise SettingsError(f"{folder} {what}.", mend=mend)
    kind = next(iter(config.get("architectures") or ()), config.get("model_type", "an unknown kind"))
    if kind not in ARCHITECTURES:
        raise SettingsError(f"{folder}: a {kind} is not written as GGUF here, only a Llama is.", mend=OTHERS)
    if kind == "MistralForCausalLM":
        config = _ABSENT_IN_MISTRAL | config
    try:
        shape = Shape.model_validate(config | {"rope": _rope(config)})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{folder}/config.json: {where} does not fit: {first['msg']}.", mend=OTHERS) from error
    _checked(shape, config, folder)
    return shape


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """The rotation, which older configurations say in two places and newer ones in one."""
    told = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = told.get("rope_theta", config.get("rope_theta", 10000.0))
    return {**told, "theta": theta, "kind": told.get("rope_type", told.get("type", "default"))}


def _checked(shape: Shape, config: dict[str, Any], folder: Path) -> None:
    rope = config.get("rope_parameters") or {}
    window = shape.sliding_window
    hindrances = {
        "its weights are quantised": "quantization_config" in config,
        f"its activation is {shape.hidden_act}": shape.hidden_act != "silu",
        f"its attention sees {window} tokens only": window is not None and window < shape.max_position_embeddings,
        "a part of each head only is rotated": rope.get("partial_rotary_factor", 1.0) != 1.0,
    }
    for hindrance, there in hindrances.items():
        if there:
            raise SettingsError(f"{folder} is not written as GGUF here: {hindrance}.", mend=OTHERS)
