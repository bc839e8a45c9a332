"""From the name of a student to a folder that transformers loads: GGUF weights are converted once, and cached."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from reflectune.errors import OracleError, SettingsError
from reflectune.oracles.weights import EMBEDDED, cache_folder, embedded_source, find_weights, fingerprint
from reflectune.student.runtime import torch_and_transformers

_QUANTISATION = ("hf_quantizer", "is_quantized", "quantization_method")
EMBEDDED_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""What the embedded model is called on the hub, where transformers finds it."""
_CONVERSION = 1
"""To be raised when the conversion changes: what an older version cached is not used then."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a student is.

    Attributes:
        folder: Its folder, or its name on the hub.
        name: What it is called, without folders.
        revision: What tells its weights from others; empty where only the hub knows.
    """

    folder: str
    name: str
    revision: str


def find_student(name: str) -> Found:
    """The folder that a name stands for.

    Args:
        name: A folder, a `.gguf` file, `local` (the embedded model), `local:FILE.gguf`, `local:ORG/NAME` for a GGUF
            file of the hub, or an id of the hub, with `hf:` before it where a folder has the same name.

    Raises:
        MissingExtraError: A package that it needs is not installed.
        OracleError: The weights cannot be read, fetched or converted.
        SettingsError: There is no such file.
    """
    path = Path(name).expanduser()
    if name == "local":
        return _converted(embedded_source(), EMBEDDED)
    if name.startswith("local:"):
        found = find_weights(name)
        return _converted(found, found.stem)
    if name.startswith("hf:"):
        return Found(name.removeprefix("hf:"), name.removeprefix("hf:"), "")
    if path.suffix == ".gguf":
        return _converted(find_weights(f"local:{path}"), path.stem)
    if path.is_dir():
        return Found(str(path), path.resolve().name, _revision_of(path))
    if path.exists() or name.startswith(("/", ".", "~")):
        raise SettingsError(f"{name} is no model.", mend="Name a folder, a .gguf file or a hub id.")
    return Found(name, name, "")


def _converted(source: Path, name: str) -> Found:
    """A GGUF file as a folder of safetensors in bfloat16, made when it is first asked for."""
    revision = fingerprint(source)
    kept = cache_folder() / f"{name}-{revision}.student-{_CONVERSION}"
    if not (kept / "config.json").is_file():
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".converting-") as draft:
                _convert(source, Path(draft))
                shutil.rmtree(kept, ignore_errors=True)
                Path(draft).rename(kept)
                Path(draft).mkdir()  # for the context to remove
        except OSError as error:
            raise OracleError(
                f"{source} cannot be converted into {kept}: {error}.",
                mend="Free some disk space, or name another cache folder with XDG_CACHE_HOME.",
            ) from error
    return Found(str(kept), name, revision)


def _convert(source: Path, target: Path) -> None:
    """Write the model and the tokenizer of a GGUF file as transformers saves them.

    Raises:
        OracleError: transformers does not know the model's kind.
        OSError: The target cannot be written.
    """
    torch, transformers = torch_and_transformers()
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
        tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    except OSError:
        raise
    except Exception as error:  # whatever transformers raises for a file that it does not understand
        raise OracleError(
            f"transformers cannot read {source}: {str(error).strip().partition(chr(10))[0]}",
            mend="Name the folder or hub id of the same model in safetensors.",
        ) from error
    for mark in _QUANTISATION:  # its tensors are plain numbers by now, and a model marked as quantised is not saved
        if hasattr(model, mark):
            delattr(model, mark)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _revision_of(folder: Path) -> str:
    """Eight hex digits that tell a folder's model from others: weights, tokenizer, template and settings."""
    files = sorted(path for path in folder.iterdir() if path.suffix in {".safetensors", ".bin"} or _says_how(path.name))
    marks = [f"{path.name} {fingerprint(path)}" for path in files]
    return hashlib.blake2b("\n".join(marks).encode(), digest_size=4).hexdigest()


def _says_how(name: str) -> bool:
    """Whether a file says how the weights are used."""
    return name in {"config.json", "generation_config.json", "adapter_config.json"} or name.startswith(
        ("tokenizer", "special_tokens", "chat_template", "vocab", "merges")
    )
