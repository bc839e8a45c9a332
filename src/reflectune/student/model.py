"""A Hugging Face causal LM as a student: the losses of texts, computed many at a time."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from reflectune.errors import OracleError, SettingsError
from reflectune.recipe import ScoreSettings
from reflectune.student.attention import register
from reflectune.student.forest import Forest, common
from reflectune.student.gated import join_gated_layers
from reflectune.student.head import Head
from reflectune.student.linear import restore, split_linear_layers
from reflectune.student.runtime import torch_and_transformers
from reflectune.student.tokens import Target, Unscorable
from reflectune.student.weights import Found

_log = logging.getLogger(__name__)

_TOKENS_AT_ONCE = {"cpu": 2048, "cuda": 16384}
_ASKED = "Name three fruits that grow in a warm country, and say of each what it tastes like.\n"
_PROBES = (f"{_ASKED}Apple, banana, cherry.", f"{_ASKED}The sky is blue because air scatters light.")
"""They begin with more tokens alike than `forest.SHORTEST`, so that a shared beginning is tried too."""
_WINDOW_IN_MASK = {"phimoe", "qwen2_moe", "doge"}
"""Models whose attention is not told of their sliding window."""
_SAME = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02}
"""How far the losses of packed texts may be from those of the texts by themselves, in nats, for packing to be used."""


class LocalStudent:
    """A model in this process.

    Args:
        found: Where it is.
        settings: What it computes with, where, and how much at once.

    Attributes:
        tokenizer: Its tokenizer.
        longest: The most tokens that it reads.
        packed: Whether texts are computed in packs. It is tried when the model is loaded; a model whose packed losses
            are not those of its texts by themselves (recurrent layers, another kind of positions) reads text by text.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        OracleError: The model cannot be loaded.
        SettingsError: There is no such device.
    """

    def __init__(self, found: Found, settings: ScoreSettings) -> None:
        torch, transformers = torch_and_transformers()
        self._torch = torch
        self.device = _device(torch, settings.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype: str = settings.dtype or ("float32" if self.device.type == "cpu" else "bfloat16")
        self.batch_tokens = settings.batch_tokens or _TOKENS_AT_ONCE.get(self.device.type, 4096)
        load = transformers.AutoModelForCausalLM.from_pretrained
        try:
            self._model = load(found.folder, dtype=getattr(torch, self.dtype)).to(self.device).eval()
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(found.folder)
        except Exception as error:  # whatever a model's own code raises
            raise OracleError(
                f"The student {found.name} cannot be loaded: {str(error).strip().partition(chr(10))[0]}",
                mend="Name a folder, a GGUF file or a hub id of a causal language model.",
            ) from error
        self.name = found.name
        self.revision = found.revision or getattr(self._model.config, "_commit_hash", None) or ""
        self.longest: int | None = getattr(self._model.config, "max_position_embeddings", None)
        self._whole = False  # whether losses are taken of the model's own logits, in all places
        self._head: Any = None
        with self._out_of_memory_told():
            self.packed = self._can_pack()

    def losses(self, targets: Sequence[Target]) -> list[float | Unscorable]:
        """The mean negative log-likelihood of each target's scored tokens, in nats, or why there is none.

        Equal targets are computed once, and those that begin alike together.
        """
        torch = self._torch
        known: dict[Target, float] = {}
        alike = sorted(set(targets), key=lambda target: target.tokens)
        with torch.inference_mode(), self._out_of_memory_told():
            for pack in _packs(alike, self.batch_tokens if self.packed else 0):
                known |= zip(pack, self._losses_of(pack), strict=True)
        return [_finite(known[target]) for target in targets]

    def close(self) -> None:
        """Free the model's memory."""
        del self._model, self._head

    @contextmanager
    def _out_of_memory_told(self) -> Iterator[None]:
        try:
            yield
        except self._torch.OutOfMemoryError as error:
            raise OracleError(
                f"{self.name} does not fit into the memory of {self.device} with {self.batch_tokens:,} tokens at once.",
                mend=f"Give it fewer: --batch-tokens {max(64, self.batch_tokens // 2)}.",
            ) from error

    def _losses_of(self, pack: Sequence[Target]) -> list[float]:
        forest = Forest.of([target.tokens for target in pack])
        places: list[int] = []
        words: list[int] = []
        sizes: list[int] = []
        for number, target in enumerate(pack):
            own = forest.places(number)
            places += own[target.first - 1 : -1]
            words += target.tokens[target.first :]
            sizes.append(len(target.tokens) - target.first)
        flat = self._token_losses(forest, places, words).split(sizes)
        return [own.mean().item() for own in flat]

    def _token_losses(self, forest: Forest, places: list[int], words: list[int]) -> Any:
        """The negative log-likelihood of each word, predicted at its place. The head reads each place once."""
        torch = self._torch
        pairs = list(zip(places, words, strict=True))
        number = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
        places, words = ([pair[part] for pair in number] for part in (0, 1))
        again = torch.tensor([number[pair] for pair in pairs])
        tokens = torch.tensor([forest.tokens], device=self.device)
        asked, wanted = (torch.tensor(numbers, device=self.device) for numbers in (places, words))
        if self._whole:
            logits = self._model(input_ids=tokens, use_cache=False).logits[0, asked].float()
            return torch.nn.functional.cross_entropy(logits, wanted, reduction="none").cpu().double()[again]
        extra = {"segments": forest.chains()} if self.packed else {}
        hidden = self._model.base_model(
            input_ids=tokens,
            position_ids=torch.tensor([forest.positions], device=self.device),
            use_cache=False,
            **extra,
        ).last_hidden_state[0]
        return self._head.losses(hidden[asked], wanted).cpu().double()[again]

    def _faster(self) -> Any:
        """Make its products faster where they stay as exact; returns its head, which reads no place in vain."""
        body = self._model.base_model
        split = self.device.type == "cpu" and self.dtype == "float32" and split_linear_layers(body)
        if split:
            join_gated_layers(body)
        return Head(self._model, split=split)

    def _can_pack(self) -> bool:
        """Try packing on two texts that begin alike, against the model's own forward pass."""
        torch = self._torch
        texts = [tuple(self.tokenizer(text, add_special_tokens=False).input_ids) for text in _PROBES]
        targets = [Target(tokens=text, first=1) for text in texts]
        with torch.inference_mode():
            plain = [
                self._model(torch.tensor([text], device=self.device), use_cache=False).logits[0].float()
                for text in texts
            ]
            own = [
                torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(text[1:], device=self.device)).item()
                for logits, text in zip(plain, texts, strict=True)
            ]
            before = self._model.config._attn_implementation  # noqa: SLF001 - the only place where it is told
            try:
                self._head = self._faster()
                self._model.set_attn_implementation(register())
                self.packed = True
                found = self._losses_of(targets)
            except Exception as error:  # noqa: BLE001 - whatever a model's own code raises: it is read in the plain way
                _log.info("%s cannot pack: %s", self.name, error)
                found = [math.nan for _ in own]
            apart = _apart(found, own)
            if apart <= _SAME[self.dtype] and not _sees_less(self._model.config):
                return True
            self._model.set_attn_implementation(before)
            self.packed = False
            restore(self._model)
            self._head = Head(self._model, split=False)
            try:
                found = [self._losses_of([target])[0] for target in targets]
            except Exception:  # noqa: BLE001 - it takes no positions, or has no head of its own
                found = [math.nan for _ in own]
            self._whole = not _apart(found, own) <= _SAME[self.dtype]
        _log.warning("%s is read text by text: its losses cannot be computed in packs.", self.name)
        return False


def _apart(found: Sequence[float], expected: Sequence[float]) -> float:
    """The largest difference; infinite where one cannot be told."""
    apart = [abs(one - other) for one, other in zip(found, expected, strict=True)]
    return max(apart) if all(map(math.isfinite, apart)) else math.inf


def _sees_less(config: Any) -> bool:
    """Whether how far a token sees, or where it stands, depends on more than attention is told."""
    rope = getattr(config, "rope_scaling", None) or getattr(config, "rope_parameters", None) or {}
    kinds = {rope.get("rope_type"), rope.get("type")} if isinstance(rope, dict) else set()
    in_mask_only = config.model_type in _WINDOW_IN_MASK and getattr(config, "sliding_window", None)
    return bool(getattr(config, "attention_chunk_size", None) or in_mask_only or kinds & {"longrope", "dynamic"})


def _device(torch: Any, name: str) -> Any:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"There is no device {name} here.", mend="Write --device cpu, cuda, cuda:1 or mps."
        ) from error


def _finite(loss: float) -> float | Unscorable:
    return loss if math.isfinite(loss) else Unscorable("non-finite", f"the model computes a loss of {loss}")


def _packs(targets: list[Target], most: int) -> Iterator[list[Target]]:
    """Neighbours, up to so many tokens together; one that is longer by itself. What they begin with counts once."""
    pack: list[Target] = []
    size = 0
    for target in targets:
        new = len(target.tokens) - (common(pack[-1].tokens, target.tokens) if pack else 0)
        if pack and size + new > most:
            yield pack
            pack, size, new = [], 0, len(target.tokens)
        pack.append(target)
        size += new
    if pack:
        yield pack
