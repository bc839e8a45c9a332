"""From the folder of a trained Llama to one GGUF file, which llama.cpp and what is built on it run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reflectune.errors import SettingsError
from reflectune.optional import load_optional
from reflectune.training.gguf_shape import OTHERS, Shape, read_json, read_shape
from reflectune.training.gguf_vocabulary import read_vocabulary

Numbers = Literal["bfloat16", "float16", "q8_0"]

_KINDS = {"bfloat16": ("BF16", "MOSTLY_BF16"), "float16": ("F16", "MOSTLY_F16"), "q8_0": ("Q8_0", "MOSTLY_Q8_0")}
_NEEDED_BY = "A GGUF file"


def write_gguf(folder: Path, target: Path, numbers: Numbers) -> Path:
    """Write a model as GGUF. One tensor is in memory at a time.

    Norms and biases stay in float32; with `q8_0`, so do in float16 the rows that do not divide into blocks of 32.

    Args:
        folder: The model as transformers saves it: a Llama, or a Mistral that attends to its whole context, with its
            weights in safetensors and a byte-pair tokenizer in `tokenizer.json`.
        target: The file to write. It is there once it is whole.
        numbers: How the weights are written.

    Returns:
        The file.

    Raises:
        MissingExtraError: gguf or safetensors is not installed.
        OSError: The target cannot be written.
        SettingsError: The folder holds no model, a broken one, or one of a kind that is not written here.
    """
    gguf = load_optional("gguf", _NEEDED_BY, "train")
    shape = read_shape(folder)
    vocabulary = read_vocabulary(folder, shape.vocab_size)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    writer = gguf.GGUFWriter(part, arch="llama")
    try:
        writer.add_type("model")
        writer.add_name(folder.resolve().name)
        writer.add_file_type(gguf.LlamaFileType[_KINDS[numbers][1]])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        shape.describe(writer, gguf)
        vocabulary.describe(writer)
        with ExitStack() as opened:
            _write_tensors(writer, _Weights(folder, shape, opened), numbers)
        writer.close()
        part.replace(target)
    finally:
        writer.close()
        part.unlink(missing_ok=True)
    return target


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor of the file.

    Attributes:
        name: Its name in the file.
        source: Its name in the folder.
        shape: Its shape.
        kind: Its numbers, as gguf names them.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    kind: Any


class _Weights:
    """The tensors of a model folder.

    Args:
        folder: The folder.
        shape: The sizes of the model.
        opened: What closes the files.

    Raises:
        SettingsError: A tensor is missing, of another shape, or one that a Llama does not have.
    """

    def __init__(self, folder: Path, shape: Shape, opened: ExitStack) -> None:
        self.folder = folder
        self.shape = shape
        self._files: dict[str, Any] = {}
        for path in _files(folder):
            self._open(path, opened)
        wanted = dict(shape.tensors())
        for name, size in wanted.items():
            if name not in self._files:
                raise SettingsError(f"{folder} lacks the weights {name}.", mend="Save the model again.")
            found = tuple(self._files[name].get_slice(name).get_shape())
            if found != size:
                raise SettingsError(
                    f"{folder}: {name} is {found}, and config.json makes it {size}.", mend="Save the model again."
                )
        for name in self._files.keys() - wanted.keys():
            if not (name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and shape.tie_word_embeddings)):
                raise SettingsError(f"{folder}: {name} is nothing that a Llama has.", mend=OTHERS)

    def _open(self, path: Path, opened: ExitStack) -> None:
        safetensors = load_optional("safetensors", _NEEDED_BY, "train")
        try:
            file = opened.enter_context(safetensors.safe_open(path, framework="pt"))
        except (OSError, safetensors.SafetensorError) as error:
            raise SettingsError(f"{path} cannot be read: {error}.", mend="Save the model again.") from error
        self._files |= dict.fromkeys(file.keys(), file)

    def read(self, name: str) -> Any:
        """A tensor in float32, in the order that llama.cpp keeps it.

        Raises:
            SettingsError: It holds numbers that are not finite.
        """
        values = self._files[name].get_tensor(name).float()
        if not values.isfinite().all():
            raise SettingsError(
                f"{self.folder}: {name} holds numbers that are not finite: the training diverged.",
                mend="Train again from a sound checkpoint with a lower learning rate.",
            )
        layer = name.rpartition(".")[0].rpartition(".")[2]
        if layer in {"q_proj", "k_proj"}:
            heads = self.shape.num_attention_heads if layer == "q_proj" else self.shape.key_heads
            # llama.cpp rotates neighbours, transformers the two halves of a head.
            halves = values.reshape(heads, 2, self.shape.head // 2, *values.shape[1:])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        return values.numpy()


def _files(folder: Path) -> list[Path]:
    index = read_json(folder / "model.safetensors.index.json").get("weight_map") or {}
    paths = [folder / name for name in sorted(set(index.values()))] or [folder / "model.safetensors"]
    for path in paths:
        if not path.is_file():
            raise SettingsError(f"{folder} lacks its weights: there is no {path.name}.", mend="Save the model again.")
    return paths


def _write_tensors(writer: Any, weights: _Weights, numbers: Numbers) -> None:
    gguf = load_optional("gguf", _NEEDED_BY, "train")
    numpy = load_optional("numpy", _NEEDED_BY, "train")
    divisors = weights.shape.rope.divisors(weights.shape.head)
    if divisors:
        writer.add_tensor_info("rope_freqs.weight", (len(divisors),), numpy.dtype("float32"), 4 * len(divisors))
    plan = list(_plan(gguf, weights.shape, numbers))
    for tensor in plan:
        block, size = gguf.GGML_QUANT_SIZES[tensor.kind]
        row = (*tensor.shape[:-1], tensor.shape[-1] // block * size)
        writer.add_tensor_info(tensor.name, row, numpy.dtype("uint8"), int(numpy.prod(row)), tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if divisors:
        writer.write_tensor_data(numpy.array(divisors, "float32"))
    for tensor in plan:
        values = weights.read(tensor.source)
        if tensor.kind == gguf.GGMLQuantizationType.F16 and abs(values).max() > numpy.finfo("float16").max:
            raise SettingsError(
                f"{weights.folder}: {tensor.source} holds numbers that are too large for float16.",
                mend="Write the file in bfloat16.",
            )
        writer.write_tensor_data(gguf.quants.quantize(values, tensor.kind))


def _plan(gguf: Any, shape: Shape, numbers: Numbers) -> Iterator[_Tensor]:
    kinds = gguf.GGMLQuantizationType
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, shape.num_hidden_layers)
    for source, size in shape.tensors():
        kind = kinds.F32 if len(size) == 1 else kinds[_KINDS[numbers][0]]
        if size[-1] % gguf.GGML_QUANT_SIZES[kind][0]:
            kind = kinds.F16
        yield _Tensor(names.get_name(source, try_suffixes=(".weight", ".bias")), source, size, kind)
