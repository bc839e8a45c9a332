"""The student that is trained: its tokenizer, its weights, its adapters, and tags that become tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reflectune.errors import OracleError, SettingsError
from reflectune.optional import load_optional
from reflectune.recipe import TrainSettings
from reflectune.student.chat_text import ChatText, chat_text
from reflectune.student.runtime import torch_and_transformers
from reflectune.student.weights import Found, find_student
from reflectune.training.attention import attentions, mixes_rows
from reflectune.training.head import add_head, is_plain

TAGS = tuple(f"<{slash}{name}>" for name in ("thinking", "reflection", "output") for slash in ("", "/"))


@dataclass(slots=True)
class Pupil:
    """A student before its weights are loaded.

    Attributes:
        found: Where it is.
        config: Its configuration, of transformers.
        tokenizer: Its tokenizer, which holds the template that is trained with.
        template: That template.
        settings: How it is trained.
        gpu: Whether it is trained on a GPU.
        new_tokens: The tags that become tokens, and the tokens that their embeddings are made of.
    """

    found: Found
    config: Any
    tokenizer: Any
    template: ChatText
    settings: TrainSettings
    gpu: bool
    new_tokens: dict[int, list[int]]

    @property
    def blank(self) -> int:
        """A token to fill with; it carries no loss."""
        return int(self.tokenizer.pad_token_id)


def find_pupil(settings: TrainSettings) -> Pupil:
    """Look a student up and check that it can be trained so, without loading its weights.

    Raises:
        MissingExtraError: torch, transformers or what the method needs is not installed.
        OracleError: It cannot be read.
        SettingsError: It cannot be trained so: no GPU, no chat template, too short a context.
    """
    torch, transformers = torch_and_transformers()
    gpu = torch.cuda.is_available()
    if settings.needs_gpu and not gpu:
        raise SettingsError(
            "This recipe needs a GPU, and torch sees none here.",
            mend="Run it where there is one, or try the steps on this machine with --recipe smoke.",
        )
    if settings.method == "qlora":
        if not gpu:
            raise SettingsError("qlora needs a GPU, and torch sees none here.", mend="Use --method lora.")
        load_optional("bitsandbytes", "--method qlora", extra="qlora")
    found = find_student(settings.student)
    try:
        config = transformers.AutoConfig.from_pretrained(found.folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(found.folder)
    except Exception as error:  # whatever transformers and the hub's library raise
        raise OracleError(
            f"The student {settings.student} cannot be read: {str(error).strip().partition(chr(10))[0]}",
            mend="Check the folder or the hub id; a gated model asks for HF_TOKEN.",
        ) from error
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if context and settings.max_length > context:
        raise SettingsError(
            f"Rows of {settings.max_length:,} tokens (max_length) do not fit the student's context of {context:,}.",
            mend=f"Set --max-length to {context} or less.",
        )
    template = chat_text(settings.template, tokenizer)
    tokenizer.chat_template = template.text
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    new = _tags_as_tokens(tokenizer) if settings.tags == "tokens" else {}
    return Pupil(found, config, tokenizer, template, settings, gpu, new)


def _tags_as_tokens(tokenizer: Any) -> dict[int, list[int]]:
    """Add the tags to a tokenizer; they stay in what is decoded, so they are no special tokens."""
    _, transformers = torch_and_transformers()
    made_of = {tag: tokenizer(tag, add_special_tokens=False)["input_ids"] for tag in TAGS}
    added = [tag for tag in TAGS if len(made_of[tag]) > 1]
    tokenizer.add_tokens([transformers.AddedToken(tag, special=False, normalized=False) for tag in added])
    return {tokenizer.convert_tokens_to_ids(tag): made_of[tag] for tag in added}


def load_model(pupil: Pupil, *, bfloat16: bool) -> Any:
    """The weights of a student, ready to be trained.

    Full training keeps them in float32, which small updates need; frozen ones lie in what they are computed with.

    Raises:
        OracleError: They cannot be loaded.
        SettingsError: Its rows would see each other in a pack.
    """
    torch, transformers = torch_and_transformers()
    settings = pupil.settings
    dtype = torch.bfloat16 if bfloat16 and settings.method != "full" else torch.float32
    options: dict[str, Any] = {"dtype": dtype}
    if settings.quantised:
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    model = _loaded(pupil, options, attentions(pupil.config, gpu=pupil.gpu, bfloat16=bfloat16))
    if settings.packing and not _is_split(model) and _mixes_rows(model):
        raise SettingsError(
            f"{settings.student} reads a row otherwise after another one than alone, so its rows cannot be packed.",
            mend="Read them one at a time: --set packing=false.",
        )
    if pupil.new_tokens:
        embed_tags(model, pupil)
    if not pupil.gpu and is_plain(pupil.config):
        add_head(model)
    return model


def _loaded(pupil: Pupil, options: dict[str, Any], attention: list[str]) -> Any:
    """The model with the first attention that it supports; a missing one is told before any weights are read."""
    torch, transformers = torch_and_transformers()
    load = transformers.AutoModelForCausalLM.from_pretrained
    for number, name in enumerate(attention, 1):
        try:
            return load(pupil.found.folder, **options, attn_implementation=name)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # whatever transformers and the hub's library raise
            if number < len(attention) and isinstance(error, ValueError | KeyError | ImportError):
                continue
            raise OracleError(
                f"The student {pupil.settings.student} cannot be loaded: {str(error).strip().partition(chr(10))[0]}",
                mend="Check the folder or the hub id, and that it is a causal language model.",
            ) from error
    raise ValueError("no attention to load with")


def _mixes_rows(model: Any) -> bool:
    """Whether rows in a pack see each other; FlashAttention runs on a GPU only, where the weights are not yet."""
    chosen = model.config._attn_implementation  # noqa: SLF001 - transformers has no other name for it
    elsewhere = chosen.startswith("flash") and model.device.type == "cpu"
    if elsewhere:
        model.set_attn_implementation("sdpa")
    try:
        return mixes_rows(model, model.config.get_text_config().vocab_size)
    finally:
        if elsewhere:
            model.set_attn_implementation(chosen)


def _is_split(model: Any) -> bool:
    """Whether this process holds only a part of the weights, or none of them yet."""
    return any(weight.is_meta or hasattr(weight, "ds_id") for weight in model.parameters())


def embed_tags(model: Any, pupil: Pupil) -> None:
    """Give each new token the mean of the embeddings of the tokens that its text was made of."""
    torch, _ = torch_and_transformers()
    model.resize_token_embeddings(max(len(pupil.tokenizer), model.get_input_embeddings().num_embeddings))
    tables = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    if head is not None and head.weight is not tables[0]:
        tables.append(head.weight)
    with torch.no_grad():
        for table in tables:
            for token, parts in pupil.new_tokens.items():
                table[token] = table[parts].mean(dim=0)


def stop_at(model: Any, tokenizer: Any, end: int) -> None:
    """Let generation stop at the token that ends an answer."""
    known = model.generation_config.eos_token_id
    ends = [known] if isinstance(known, int) else list(known or ())
    if end not in ends:
        model.generation_config.eos_token_id = [end, *ends]
    if tokenizer.eos_token_id != end:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    model.config.eos_token_id = model.generation_config.eos_token_id


def adapters(pupil: Pupil) -> Any:
    """The configuration of low-rank adapters, of peft; `None` where all weights are trained."""
    settings = pupil.settings
    if settings.method == "full":
        return None
    peft = load_optional("peft", f"--method {settings.method}", extra="train")
    return peft.LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha or 2 * settings.lora_rank,
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.lora_targets) or "all-linear",
        trainable_token_indices=_new_rows(pupil),
        task_type="CAUSAL_LM",
    )


def _new_rows(pupil: Pupil) -> dict[str, list[int]] | None:
    """Which rows of the embeddings are learnt beside the adapters, and of the head where it is a table of its own."""
    if not pupil.new_tokens:
        return None
    tables = ("embed_tokens",) if pupil.config.get_text_config().tie_word_embeddings else ("embed_tokens", "lm_head")
    return {table: sorted(pupil.new_tokens) for table in tables}
