"""What is written of a trained student besides its own folder: merged adapters, and a GGUF file."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

from reflectune.optional import load_optional
from reflectune.recipe import TrainSettings
from reflectune.student.runtime import torch_and_transformers
from reflectune.training.gguf_file import write_gguf
from reflectune.training.gguf_shape import read_shape
from reflectune.training.gguf_vocabulary import read_vocabulary
from reflectune.training.student import Pupil, embed_tags

MERGED = "merged"
GGUF = "student.gguf"


def check_outputs(pupil: Pupil) -> None:
    """Refuse, before anything is trained, what could not be written of it.

    Raises:
        SettingsError: A GGUF file is asked for, and the student is no Llama or its tokenizer is of another kind.
    """
    if not pupil.settings.gguf:
        return
    with tempfile.TemporaryDirectory(prefix="reflectune-") as draft:
        folder = Path(draft)
        pupil.config.save_pretrained(folder)
        pupil.tokenizer.save_pretrained(folder)
        read_vocabulary(folder, max(read_shape(folder).vocab_size, len(pupil.tokenizer)))


def write_outputs(folder: Path, pupil: Pupil, settings: TrainSettings) -> tuple[Path | None, Path | None]:
    """Write what the settings ask for.

    Returns:
        The folder of the merged model and the GGUF file; `None` for what was not asked for.

    Raises:
        SettingsError: The student is no Llama, and a GGUF file is asked for.
        OSError: They cannot be written.
    """
    adapters = settings.method != "full"
    merged = folder / MERGED if adapters and settings.merge else None
    if merged:
        merge(folder, pupil, merged)
    if not settings.gguf:
        return merged, None
    target = folder / GGUF
    if not adapters or merged:
        return merged, write_gguf(merged or folder, target, settings.gguf)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".merging-") as draft:
        merge(folder, pupil, Path(draft))
        return merged, write_gguf(Path(draft), target, settings.gguf)


def merge(adapters: Path, pupil: Pupil, target: Path) -> None:
    """Write the student with its adapters added to its weights, computed in float32, in the student's own numbers."""
    torch, transformers = torch_and_transformers()
    peft = load_optional("peft", "merging adapters", extra="train")
    base = transformers.AutoModelForCausalLM.from_pretrained(pupil.found.folder, dtype=torch.float32)
    if pupil.new_tokens:
        embed_tags(base, pupil)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, at what peft still calls
        model: Any = peft.PeftModel.from_pretrained(base, str(adapters)).merge_and_unload()
    model.to(own_dtype(pupil))
    tokenizer = transformers.AutoTokenizer.from_pretrained(adapters)
    model.generation_config = transformers.GenerationConfig.from_pretrained(adapters)
    model.config.eos_token_id = model.generation_config.eos_token_id
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    make_readable(target)


def make_readable(folder: Path) -> None:
    """Let others read the weights, as they may every other file: safetensors makes them for their owner alone."""
    for path in folder.glob("*.safetensors"):
        path.chmod((folder / "tokenizer_config.json").stat().st_mode)


def own_dtype(pupil: Pupil) -> Any:
    """The numbers that the student's weights were published in."""
    torch, _ = torch_and_transformers()
    known = getattr(pupil.config, "dtype", None)
    return known if isinstance(known, torch.dtype) else torch.bfloat16
