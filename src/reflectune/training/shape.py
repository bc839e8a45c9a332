"""How large a decoder is: what a transformers `config.json` says of it, and how many parameters come of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reflectune.errors import SettingsError

_NEEDED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
_BIASED = {"qwen2"}
"""Families whose queries, keys and values have biases without saying so in the configuration."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A dense decoder with gated feed-forward layers, as Llama, Mistral, Qwen 2 and SmolLM2 are.

    Attributes:
        name: What it is called.
        layers: Number of layers.
        hidden: Width of what passes from layer to layer.
        intermediate: Width inside the feed-forward layers.
        heads: Heads of the queries.
        kv_heads: Heads of the keys and values.
        vocabulary: Rows of the embeddings.
        head: Width of a head; by default the width shared by the heads.
        tied: Whether the embeddings are also the head of the model.
        biased: Whether queries, keys and values have biases.
    """

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int
    head: int | None = None
    tied: bool = False
    biased: bool = False

    @property
    def head_width(self) -> int:
        """Width of a head."""
        return self.head or self.hidden // self.heads

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The linear layers of a layer, by name, as (what goes in, what comes out)."""
        queries, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear layers of all layers, which adapters go beside and four bits suit."""
        return self.layers * sum(inside * outside for inside, outside in self.linears.values())

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer: its linear layers, their biases, and the scales of its two norms."""
        biases = (self.heads + 2 * self.kv_heads) * self.head_width if self.biased else 0
        return self.linear_parameters // self.layers + biases + 2 * self.hidden

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embeddings; the head has as many where it is not the same."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All of its parameters: the layers, the embeddings, the head where it is not tied, and the last norm."""
        ends = self.embedding_parameters * (1 if self.tied else 2)
        return self.layers * self.layer_parameters + ends + self.hidden

    def adapter_parameters(self, rank: int, targets: tuple[str, ...] = ()) -> int:
        """Parameters of low-rank adapters: rank x (in + out) for each linear layer that gets one (arXiv 2106.09685).

        Args:
            rank: Their rank.
            targets: Which linear layers; by default every one but the head.

        Raises:
            SettingsError: There is no such linear layer.
        """
        known = self.linears
        if unknown := [target for target in targets if target not in known]:
            raise SettingsError(f"{self.name} has no layer {unknown[0]}.", mend=f"Its layers are: {', '.join(known)}.")
        return self.layers * rank * sum(sum(known[name]) for name in targets or known)

    @classmethod
    def of_config(cls, config: Mapping[str, Any], name: str = "") -> Shape:
        """What a transformers `config.json` says.

        Args:
            config: Its values.
            name: What to call the model; by default as the configuration does.

        Raises:
            SettingsError: It is not the configuration of a dense decoder of this kind.
        """
        named = name or str(config.get("_name_or_path") or config.get("model_type") or "the model")
        if lacking := [key for key in _NEEDED if not isinstance(config.get(key), int)]:
            raise SettingsError(
                f"The configuration of {named} does not say {lacking[0]}.",
                mend="Memory is planned for decoders such as Llama, Mistral, Qwen 2 and SmolLM2.",
            )
        if config.get("num_local_experts") or config.get("num_experts"):
            raise SettingsError(f"{named} is a mixture of experts.", mend="Memory is planned for dense models only.")
        heads = config["num_attention_heads"]
        return cls(
            name=named,
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            intermediate=config["intermediate_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            vocabulary=config["vocab_size"],
            head=config.get("head_dim"),
            tied=bool(config.get("tie_word_embeddings", False)),
            biased=config.get("model_type") in _BIASED,
        )


SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("smollm2-135m", 30, 576, 1_536, 9, 3, 49_152, tied=True),
        Shape("llama-7b", 32, 4_096, 11_008, 32, 32, 32_000),
        Shape("llama-13b", 40, 5_120, 13_824, 40, 40, 32_000),
        Shape("llama-70b", 80, 8_192, 28_672, 64, 8, 128_256),
        Shape("llama-405b", 126, 16_384, 53_248, 128, 8, 128_256),
    )
}
"""Published shapes: SmolLM2-135M, Llama 2 7B and 13B, Llama 3.1 70B and 405B."""
