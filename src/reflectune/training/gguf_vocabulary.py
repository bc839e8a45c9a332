"""From a `tokenizer.json` to the vocabulary of a GGUF file.

llama.cpp has two tokenizers that a Llama uses. `gpt2` merges bytes by rank, after text was split by one of a few rules
that it knows by name. `llama` merges characters by score, as SentencePiece does; the scores are the ranks of the merges
here, which is how transformers ranks them.

llama.cpp does not normalise text (NFC), and its `llama` sets a space before a text that begins with one and after each
special token, which newer tokenizers of transformers do not. Else the tokens are the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflectune.errors import SettingsError
from reflectune.training.gguf_shape import OTHERS, read_json

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Kinds of tokens, by llama.cpp's numbers. It shows user-defined ones in a reply, and control ones not."""
SPACE = "▁"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPLITS = {
    (rf"{_ENDINGS}|{_WORD}|\p{{N}}{{1,3}}|{_REST}", True): "llama-bpe",
    (rf"{_ENDINGS}|{_WORD}|\p{{N}}{{1,3}}|{_REST}", False): "smaug-bpe",
    (rf"{_ENDINGS}|{_WORD}|\p{{N}}|{_REST}", False): "qwen2",
}
"""llama.cpp's name of a rule, by its expression and whether a whole word that is a token needs no merges."""
_TAG = re.compile(r"</?(thinking|reflection|output)>")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a GGUF file says of its tokenizer.

    Attributes:
        model: `gpt2` or `llama`.
        pre: The rule by which text is split, by llama.cpp's name.
        tokens: Their texts, by id.
        kinds: Their kinds.
        scores: Of `llama`: the higher, the earlier a token is made.
        merges: Of `gpt2`: two tokens with a space between, in the order of their rank.
        special: The ids of the special tokens: `bos`, `eos`, `eot`, `unk`, `pad`.
        flags: What is set around or before a text: `bos_token`, `eos_token`, `space_prefix`.
        template: The chat template; empty where there is none.
    """

    model: str
    pre: str
    tokens: list[str]
    kinds: list[int]
    scores: list[float]
    merges: list[str]
    special: dict[str, int]
    flags: dict[str, bool]
    template: str

    def describe(self, writer: Any) -> None:
        """Tell a GGUF writer the vocabulary."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        if self.scores:
            writer.add_token_scores(self.scores)
        writer.add_token_types(self.kinds)
        if self.merges:
            writer.add_token_merges(self.merges)
        for name, number in self.special.items():
            getattr(writer, f"add_{name}_token_id")(number)
        for name, value in self.flags.items():
            getattr(writer, f"add_add_{name}")(value)
        if self.template:
            writer.add_chat_template(self.template)


def read_vocabulary(folder: Path, rows: int) -> Vocabulary:
    """The vocabulary of a model folder.

    Args:
        folder: The folder.
        rows: How many tokens the model has embeddings of.

    Raises:
        SettingsError: There is no tokenizer, or of a kind that llama.cpp does not have or is not written here.
    """
    definition = read_json(folder / "tokenizer.json")
    if not definition:
        raise SettingsError(
            f"{folder} has no tokenizer.json.", mend="Load its tokenizer with transformers and save it there again."
        )
    model = definition.get("model") or {}
    if model.get("type") != "BPE":
        raise SettingsError(f"{folder}: a tokenizer of type {model.get('type')} is not written here.", mend=OTHERS)
    try:
        return _read(folder, definition, rows)
    except _UnknownError as unknown:
        raise SettingsError(f"{folder}/tokenizer.json is not written as GGUF here: {unknown}.", mend=OTHERS) from None
    except (AttributeError, KeyError, StopIteration, TypeError) as error:
        raise SettingsError(f"{folder}/tokenizer.json is not understood: {error!r}.", mend=OTHERS) from error


class _UnknownError(Exception):
    """Something of a tokenizer that llama.cpp may not have: what it is."""


def _read(folder: Path, definition: dict[str, Any], rows: int) -> Vocabulary:
    model = definition["model"]
    config = read_json(folder / "tokenizer_config.json")
    added = {token["id"]: token for token in definition.get("added_tokens") or ()}
    texts = {number: text for text, number in model["vocab"].items()}
    texts |= {number: token["content"] for number, token in added.items()}
    if max(texts) >= rows:
        raise _UnknownError(f"it has the token {max(texts)}, and the model embeddings of {rows} only")
    tokens = [texts.get(number, f"[PAD{number}]") for number in range(rows)]
    merges = [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    template = _template(folder, config)
    special = _special(folder, config, {text: number for number, text in texts.items()}, template)
    flags = _ends(definition.get("post_processor"), config, {name: tokens[place] for name, place in special.items()})
    kinds = [_kind(number, texts, added) for number in range(rows)]
    if model.get("byte_fallback"):
        flags["space_prefix"] = _prefixes(definition, tokens)
        if "unk" in special:
            kinds[special["unk"]] = UNKNOWN
        kinds = [BYTE if _BYTE.fullmatch(text) else kind for text, kind in zip(tokens, kinds, strict=True)]
        return Vocabulary("llama", "default", tokens, kinds, _scores(tokens, merges), [], special, flags, template)
    pre = _rule(definition)
    return Vocabulary("gpt2", pre, tokens, kinds, [], [" ".join(merge) for merge in merges], special, flags, template)


def _kind(number: int, texts: dict[int, str], added: dict[int, dict[str, Any]]) -> int:
    if number not in texts:
        return UNUSED
    if number not in added:
        return NORMAL
    # The tags of a trace are to be read in a reply, even where somebody made them special.
    return CONTROL if added[number]["special"] and not _TAG.fullmatch(texts[number]) else USER_DEFINED


def _rule(definition: dict[str, Any]) -> str:
    """llama.cpp's name of the rule by which text is split before bytes are merged."""
    if any(step["type"] != "NFC" for step in _steps(definition.get("normalizer"), "normalizers")):
        raise _UnknownError("it changes text before it splits it")
    steps = _steps(definition.get("pre_tokenizer"), "pretokenizers")
    if not steps or steps[-1]["type"] != "ByteLevel" or steps[-1].get("add_prefix_space"):
        raise _UnknownError("how it splits text is not known by name")
    before, ignores = steps[:-1], bool(definition["model"].get("ignore_merges"))
    if steps[-1].get("use_regex", True) and not ignores:
        if not before:
            return "gpt-2"
        if before == [{"type": "Digits", "individual_digits": True}]:
            return "smollm"
    elif len(before) == 1 and before[0]["type"] == "Split" and before[0].get("behavior") == "Isolated":
        name = _SPLITS.get((before[0]["pattern"].get("Regex", ""), ignores))
        if name and not before[0].get("invert"):
            return name
    raise _UnknownError("how it splits text is not known by name")


def _prefixes(definition: dict[str, Any], tokens: list[str]) -> bool:
    """Whether a space is set before a text whose spaces are marked."""
    prefixed, marked = False, False
    for step in _steps(definition.get("normalizer"), "normalizers"):
        if step == {"type": "Prepend", "prepend": SPACE}:
            prefixed = True
        elif step == {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}:
            marked = True
        else:
            raise _UnknownError(f"it changes text by {step['type']} before it splits it")
    for step in _steps(definition.get("pre_tokenizer"), "pretokenizers"):
        splits = step.get("split", True) and any(SPACE in text[1:] for text in tokens)
        if step["type"] != "Metaspace" or step.get("replacement") != SPACE or splits:
            raise _UnknownError("how it splits text is not known by name")
        marked = True
        default = "always" if step.get("add_prefix_space", True) else "never"
        prefixed = prefixed or step.get("prepend_scheme", default) != "never"
    if not marked:
        raise _UnknownError("it does not mark spaces")
    return prefixed


def _steps(described: dict[str, Any] | None, several: str) -> list[dict[str, Any]]:
    if described is None:
        return []
    return described[several] if described["type"] == "Sequence" else [described]


def _scores(tokens: list[str], merges: list[tuple[str, ...]]) -> list[float]:
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault("".join(merge), rank)
    return [-float(ranks.get(text, len(merges))) for text in tokens]


def _special(folder: Path, config: dict[str, Any], numbers: dict[str, int], template: str) -> dict[str, int]:
    own = read_json(folder / "config.json")
    found: dict[str, int] = {}
    for name in ("bos", "eos", "unk", "pad"):
        token = config.get(f"{name}_token")
        text = token.get("content") if isinstance(token, dict) else token
        number = numbers.get(text) if text is not None else _first(own.get(f"{name}_token_id"))
        if number is not None and number in numbers.values():
            found[name] = number
    if "eos" not in found:
        raise _UnknownError("no token is said to end a text")
    stops = {*_all(own.get("eos_token_id")), *_all(read_json(folder / "generation_config.json").get("eos_token_id"))}
    texts = {number: text for text, number in numbers.items()}
    turn_ends = sorted(stop for stop in stops - {found["eos"]} if stop in texts and texts[stop] in template)
    if turn_ends:
        found["eot"] = turn_ends[0]
    return found


def _all(value: Any) -> list[int]:
    return [value] if isinstance(value, int) else list(value or ())


def _first(value: Any) -> int | None:
    return next(iter(_all(value)), None)


def _ends(described: dict[str, Any] | None, config: dict[str, Any], special: dict[str, str]) -> dict[str, bool]:
    """Whether a text begins with the token for that, and ends with the one for that."""
    if described is None:
        return {f"{name}_token": bool(config.get(f"add_{name}_token")) for name in ("bos", "eos")}
    steps = [step for step in _steps(described, "processors") if step["type"] == "TemplateProcessing"]
    template = [next(iter(part.items())) for step in steps for part in step["single"]]
    around = [part["id"] if kind == "SpecialToken" else "" for kind, part in template]
    bos, eos = special.get("bos"), special["eos"]
    known = {("",): (False, False), (bos, ""): (True, False), ("", eos): (False, True), (bos, "", eos): (True, True)}
    ends = known.get(tuple(around)) if around else (False, False)
    if ends is None:
        raise _UnknownError("it sets other tokens around a text than those for its beginning and its end")
    return {"bos_token": ends[0], "eos_token": ends[1]}


def _template(folder: Path, config: dict[str, Any]) -> str:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    told = config.get("chat_template") or ""
    if isinstance(told, str):
        return told
    return next((entry["template"] for entry in told if entry.get("name") == "default"), "")
