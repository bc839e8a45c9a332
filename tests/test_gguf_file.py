"""A trained model as a GGUF file, read back by transformers, by gguf and by llama.cpp."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reflectune.errors import SettingsError
from reflectune.oracles.local import LocalOracle, LocalSettings
from reflectune.records import Message, Request
from reflectune.student.chat_text import chat_text
from reflectune.student.weights import find_student
from reflectune.training.gguf_file import write_gguf

gguf = pytest.importorskip("gguf")
numpy = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
runtime = pytest.importorskip("xllamacpp")

TEXTS = (
    "The quick brown fox doesn't jump; it'll REST, I'LL say.",
    "def f(x):\n\treturn  x**2  # twice\n\n\nprint(f(3.14159), 1_000_000)",
    "东京的雨,下了1234567天。ひらがな 한국어",
    "👩‍👩‍👧 and 🇩🇪, café naïve Ünïcödé Привет مرحبا",
    "  leading,   inner and trailing spaces   \n \n  end\r\n",
    "<|im_start|>user\nHi<|im_end|>\n<thinking>\nso</thinking>x",
    "https://example.org/?q=a&b=%20 $5,000.00 (10%) [x] {y}",
)
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Server:
    """llama.cpp with a model, asked over the loopback interface."""

    def __init__(self, path: Path) -> None:
        params = runtime.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.verbosity, params.warmup = 512, 0, False
        params.hostnames, params.port = ["127.0.0.1"], 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        self._server = runtime.Server(params)

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        address = f"{self._server.listening_address}/{path}"
        request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def tokens(self, text: str) -> list[int]:
        return self.ask("tokenize", content=text, add_special=True, parse_special=True)["tokens"]

    def likeliest(self, prompt: list[int]) -> dict[int, float]:
        """The likeliest next tokens, with the logarithms of their probabilities.

        None where the likeliest is a part of a character, of which llama.cpp tells nothing.
        """
        answer = self.ask("completion", prompt=prompt, n_predict=1, n_probs=5, temperature=0, cache_prompt=False)
        told = answer.get("completion_probabilities", [{"top_logprobs": []}])[0]
        return {one["id"]: one["logprob"] for one in told["top_logprobs"]}


def byte_level(pre: Any, *, ignore_merges: bool = False) -> Any:
    """A small tokenizer of bytes, trained on the texts themselves."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=ignore_merges))
    made.pre_tokenizer = pre
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=["<s>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS * 3, trainer)
    return made


def splitting(digits: str, *, ignore_merges: bool) -> Any:
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(REGEX % digits), "isolated")
    bytes_ = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made = byte_level(tokenizers.pre_tokenizers.Sequence([split, bytes_]), ignore_merges=ignore_merges)
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return made


def plain() -> Any:
    return byte_level(tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False))


def digits() -> Any:
    parts = tokenizers.pre_tokenizers
    return byte_level(parts.Sequence([parts.Digits(individual_digits=True), parts.ByteLevel(add_prefix_space=False)]))


def sentence_piece(*, normalised: bool, prefix: bool = True) -> Any:
    """A small tokenizer as that of Llama 2: characters by score, bytes for what it does not know."""
    model = tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    made = tokenizers.Tokenizer(model)
    parts = tokenizers.normalizers
    if normalised:
        made.normalizer = parts.Sequence([parts.Prepend("▁"), parts.Replace(" ", "▁")])
    else:
        scheme = "always" if prefix else "never"
        made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "<|im_start|>", "<|im_end|>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=480, special_tokens=specials, limit_alphabet=90, show_progress=False
    )
    made.train_from_iterator([text.split(" ", 3)[-1] for text in TEXTS], trainer)
    written = json.loads(made.to_str())
    written["added_tokens"] = [one for one in written["added_tokens"] if not one["content"].startswith("<0x")]
    made = tokenizers.Tokenizer.from_str(json.dumps(written))
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def save(folder: Path, tokenizer: Any, *, kind: str = "Llama", shards: str = "50GB", **sizes: Any) -> Path:
    """A random model of two layers with this tokenizer."""
    ends = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends)
    config = getattr(transformers, f"{kind}Config")(
        **{
            "vocab_size": len(wrapped),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "initializer_range": 0.2,
            "tie_word_embeddings": False,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "pad_token_id": None,
            "dtype": "float32",
            **sizes,
        }
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    for name, values in model.named_parameters():
        if values.dim() == 1:
            torch.nn.init.normal_(values, 0.0 if name.endswith("bias") else 1.0, 0.2)
    model.save_pretrained(folder, max_shard_size=shards)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bytes_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("bytes") / "model", plain())


def read(path: Path) -> Any:
    reader = gguf.GGUFReader(path)
    return {name: field.contents() for name, field in reader.fields.items()}, {
        tensor.name: (tensor.tensor_type.name, tuple(reversed(tensor.shape.tolist()))) for tensor in reader.tensors
    }


MODELS = {
    "llama-3": {"rope_parameters": LLAMA_3},
    "stretched": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}},
    "biased": {"attention_bias": True, "mlp_bias": True},
    "wide-heads": {"head_dim": 32, "num_key_value_heads": 4},
    "tied": {"tie_word_embeddings": True},
    "mistral": {"kind": "Mistral", "sliding_window": None},
    "odd-rows": {"intermediate_size": 80},
}


@pytest.mark.model
@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_computes_what_transformers_does(name: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", plain(), **MODELS[name])
    server = Server(write_gguf(folder, tmp_path / "model.gguf", "bfloat16" if name == "odd-rows" else "float16"))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    compared = 0
    for shift in range(8):
        prompt = [(7 * place + shift) % 470 for place in range(1, 200)]
        with torch.no_grad():
            expected = model(torch.tensor([prompt])).logits[0, -1].log_softmax(0)
        if found := server.likeliest(prompt):
            compared += 1
            assert max(found, key=found.__getitem__) == int(expected.argmax())
            assert max(abs(expected[token].item() - chance) for token, chance in found.items()) < 0.1
    assert compared >= 3


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", plain(), rope_parameters=LLAMA_3)
    write_gguf(folder, folder / "model.gguf", "float16")
    assert not list(folder.glob("*.part"))
    before = transformers.AutoModelForCausalLM.from_pretrained(folder)
    after = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf")
    kept = dict(after.named_parameters())
    for name, values in before.named_parameters():
        assert torch.equal(kept[name].to(torch.float16), values.to(torch.float16)), name
    stretched = before.model.rotary_emb.inv_freq
    plainly = 1 / LLAMA_3["rope_theta"] ** (torch.arange(0, 16, 2) / 16)
    reader = gguf.GGUFReader(folder / "model.gguf")
    divisors = torch.tensor(next(tensor.data for tensor in reader.tensors if tensor.name == "rope_freqs.weight").copy())
    assert torch.allclose(plainly / divisors, stretched)
    assert divisors.min() == 1
    assert divisors.max() == 8


def test_sizes_and_numbers_are_said(tmp_path: Path) -> None:
    folder = save(tmp_path / "my-student", plain(), intermediate_size=80, rope_parameters=LLAMA_3)
    fields, tensors = read(write_gguf(folder, tmp_path / "new" / "model.gguf", "q8_0"))
    assert fields["general.name"] == "my-student"
    assert fields["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q8_0
    assert {name.removeprefix("llama."): fields[name] for name in fields if name.startswith("llama.")} == {
        "context_length": 512,
        "embedding_length": 64,
        "block_count": 2,
        "feed_forward_length": 80,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 16,
        "attention.value_length": 16,
        "vocab_size": 480,
        "rope.dimension_count": 16,
        "rope.freq_base": 10000.0,
        "attention.layer_norm_rms_epsilon": pytest.approx(1e-6),
    }
    assert tensors["rope_freqs.weight"] == ("F32", (8,))
    assert tensors["blk.1.attn_k.weight"] == ("Q8_0", (32, 64))
    assert tensors["blk.1.ffn_norm.weight"] == ("F32", (64,))
    assert tensors["blk.1.ffn_down.weight"] == ("F16", (64, 80)), "80 numbers are no blocks of 32"
    assert tensors["output.weight"] == ("Q8_0", (480, 64))


def test_a_model_in_parts_gives_the_same_file(bytes_model: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", plain(), shards="100KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    one, other = (write_gguf(path, tmp_path / path.parent.name, "q8_0") for path in (folder, bytes_model))
    assert one.read_bytes() == other.read_bytes()


TOKENIZERS: dict[str, tuple[Callable[[], Any], str]] = {
    "gpt-2": (plain, "gpt-2"),
    "smollm": (digits, "smollm"),
    "llama-3": (lambda: splitting("{1,3}", ignore_merges=True), "llama-bpe"),
    "llama-3-merging": (lambda: splitting("{1,3}", ignore_merges=False), "smaug-bpe"),
    "qwen": (lambda: splitting("", ignore_merges=False), "qwen2"),
    "llama-2": (lambda: sentence_piece(normalised=True), "default"),
    "metaspace": (lambda: sentence_piece(normalised=False), "default"),
    "no-prefix": (lambda: sentence_piece(normalised=False, prefix=False), "default"),
}


@pytest.mark.model
@pytest.mark.parametrize("name", TOKENIZERS)
def test_llama_cpp_splits_text_as_transformers_does(name: str, tmp_path: Path) -> None:
    make, pre = TOKENIZERS[name]
    tokenizer = make()
    tokenizer.add_tokens([tokenizers.AddedToken("<thinking>", special=True, normalized=False)])
    tokenizer.add_tokens([tokenizers.AddedToken("</thinking>", special=False, normalized=False)])
    folder = save(tmp_path / "model", tokenizer, vocab_size=512)
    path = write_gguf(folder, tmp_path / "model.gguf", "q8_0")
    fields, _ = read(path)
    assert fields["tokenizer.ggml.pre"] == pre
    loaded = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    server = Server(path)
    for text in TEXTS:
        # Metaspace adds no space to one that is there, and llama.cpp does.
        told = text.lstrip() if name == "metaspace" else text
        assert server.tokens(told) == loaded(told).input_ids, text


@pytest.mark.model
def test_llama_cpp_shows_the_tags_of_a_trace(tmp_path: Path) -> None:
    tokenizer = plain()
    tokenizer.add_tokens([tokenizers.AddedToken("<thinking>", special=True, normalized=False)])
    server = Server(write_gguf(save(tmp_path / "model", tokenizer), tmp_path / "model.gguf", "q8_0"))
    for token, shown in ((480, "<thinking>" * 3), (1, "")):
        answer = server.ask("completion", prompt=[9], n_predict=3, temperature=0, logit_bias=[[token, 1000]])
        assert answer["content"] == shown


@pytest.mark.model
@pytest.mark.parametrize("name", ["vicuna", "alpaca", "wizardlm"])
def test_llama_cpp_renders_a_template_as_transformers_does(name: str, bytes_model: Path, tmp_path: Path) -> None:
    folder = copied(bytes_model, tmp_path / "model")
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.chat_template = chat_text(name, tokenizer).text
    tokenizer.save_pretrained(folder)
    server = Server(write_gguf(folder, tmp_path / "model.gguf", "q8_0"))
    said = ('Say "x", {{ y }}\n', "A.", "More?") if name == "vicuna" else ("东京 <b>",)
    turns = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]
    expected = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert server.ask("apply-template", messages=turns)["prompt"] == expected


def test_added_tokens_and_spare_rows_have_their_kinds(tmp_path: Path) -> None:
    tokenizer = plain()
    tokenizer.add_tokens([tokenizers.AddedToken("<thinking>", special=True), tokenizers.AddedToken("[x]")])
    folder = save(tmp_path / "model", tokenizer, vocab_size=490)
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}<|im_start|>", encoding="utf-8")
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 1]}', encoding="utf-8")
    fields, _ = read(write_gguf(folder, tmp_path / "model.gguf", "q8_0"))
    assert fields["tokenizer.ggml.tokens"][480:484] == ["<thinking>", "[x]", "[PAD482]", "[PAD483]"]
    kinds = fields["tokenizer.ggml.token_type"]
    assert (kinds[1], kinds[5], kinds[480], kinds[481], kinds[482]) == (3, 1, 4, 4, 5)
    assert len(kinds) == 490
    special = {name: fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "eot", "padding")}
    assert special == {"bos": 0, "eos": 2, "eot": 1, "padding": 2}
    assert fields["tokenizer.ggml.add_bos_token"] is False
    assert fields["tokenizer.chat_template"] == "{{ messages[0].content }}<|im_start|>"


def test_the_chat_template_may_stand_in_the_configuration(bytes_model: Path, tmp_path: Path) -> None:
    folder = copied(bytes_model, tmp_path)
    for told in ("{{ 1 }}", [{"name": "tool", "template": "{{ 0 }}"}, {"name": "default", "template": "{{ 1 }}"}]):
        changed(folder / "tokenizer_config.json", chat_template=told, eos_token={"content": "<|im_end|>"})
        fields, _ = read(write_gguf(folder, tmp_path / "model.gguf", "q8_0"))
        assert fields["tokenizer.chat_template"] == "{{ 1 }}"
        assert fields["tokenizer.ggml.eos_token_id"] == 2


def test_the_ends_of_a_text_may_stand_in_the_configuration(bytes_model: Path, tmp_path: Path) -> None:
    folder = copied(bytes_model, tmp_path)
    changed(folder / "tokenizer.json", post_processor=None)
    changed(folder / "tokenizer_config.json", add_bos_token=True)
    fields, _ = read(write_gguf(folder, tmp_path / "model.gguf", "q8_0"))
    assert fields["tokenizer.ggml.add_bos_token"] is True
    assert fields["tokenizer.ggml.add_eos_token"] is False


def copied(folder: Path, target: Path) -> Path:
    """The same model, with files of its own."""
    target.mkdir(exist_ok=True)
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


class TestRefusals:
    @pytest.mark.parametrize("kind", ["Qwen2ForCausalLM", "GPT2LMHeadModel"])
    def test_another_architecture_is_named(self, kind: str, bytes_model: Path, tmp_path: Path) -> None:
        folder = copied(bytes_model, tmp_path)
        changed(folder / "config.json", architectures=[kind])
        with pytest.raises(SettingsError, match=rf"a {kind} is not written .*\n.*convert_hf_to_gguf"):
            write_gguf(folder, tmp_path / "model.gguf", "q8_0")

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"hidden_size": None}, "hidden_size does not fit"),
            ({"hidden_act": "gelu"}, "activation is gelu"),
            ({"quantization_config": {}}, "weights are quantised"),
            ({"rope_parameters": {"rope_type": "yarn"}}, r"rope\.kind does not fit"),
            ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "a part of each head"),
            ({"architectures": ["MistralForCausalLM"], "max_position_embeddings": 9000}, "sees 4096 tokens only"),
            ({"num_hidden_layers": 3}, r"lacks the weights model\.layers\.2"),
            ({"num_hidden_layers": 1}, r"model\.layers\.1\..* is nothing that a Llama has"),
            ({"intermediate_size": 97}, r"gate_proj\.weight is \(96, 64\), and config\.json makes it \(97, 64\)"),
            ({"vocab_size": 400}, "the token 479, and the model embeddings of 400"),
        ],
    )
    def test_a_configuration_that_does_not_fit(
        self, values: dict[str, Any], message: str, bytes_model: Path, tmp_path: Path
    ) -> None:
        folder = copied(bytes_model, tmp_path)
        changed(folder / "config.json", **values)
        with pytest.raises(SettingsError, match=message):
            write_gguf(folder, tmp_path / "model.gguf", "q8_0")
        assert not list(tmp_path.glob("*.gguf*"))

    @pytest.mark.parametrize(
        ("file", "content", "message"),
        [
            ("config.json", None, r"is no model folder: it has no config\.json"),
            ("config.json", b"[1]", "is no JSON object"),
            ("config.json", b"{", "cannot be read"),
            ("model.safetensors", None, r"lacks its weights: there is no model\.safetensors"),
            ("model.safetensors", b"broken", "cannot be read"),
            ("tokenizer.json", None, r"has no tokenizer\.json"),
            ("tokenizer.json", b'{"model": {"type": "Unigram"}}', "of type Unigram"),
            ("tokenizer.json", b'{"model": {"type": "BPE"}}', "is not understood"),
        ],
    )
    def test_a_folder_that_is_not_whole(
        self, file: str, content: bytes | None, message: str, bytes_model: Path, tmp_path: Path
    ) -> None:
        folder = copied(bytes_model, tmp_path)
        (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
        with pytest.raises(SettingsError, match=message):
            write_gguf(folder, tmp_path / "model.gguf", "q8_0")

    def test_adapters_are_merged_first(self, tmp_path: Path) -> None:
        (tmp_path / "adapter_config.json").write_text("{}")
        with pytest.raises(SettingsError, match="holds adapters only\\.\nMerge"):
            write_gguf(tmp_path, tmp_path / "model.gguf", "q8_0")

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"normalizer": {"type": "Lowercase"}}, "changes text before"),
            ({"pre_tokenizer": {"type": "Whitespace"}}, "how it splits text is not known"),
            ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "how it splits text is not known"),
            ({"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]}}, "around"),
        ],
    )
    def test_a_tokenizer_that_llama_cpp_may_not_have(
        self, values: dict[str, Any], message: str, bytes_model: Path, tmp_path: Path
    ) -> None:
        folder = copied(bytes_model, tmp_path)
        changed(folder / "tokenizer.json", **values)
        with pytest.raises(SettingsError, match=message):
            write_gguf(folder, tmp_path / "model.gguf", "q8_0")

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"normalizer": {"type": "Strip"}}, "changes text by Strip"),
            ({"normalizer": None, "pre_tokenizer": None}, "does not mark spaces"),
            ({"pre_tokenizer": {"type": "Digits"}}, "how it splits text is not known"),
            ({"pre_tokenizer": {"type": "Metaspace", "replacement": "▁"}}, "how it splits text is not known"),
        ],
    )
    def test_a_tokenizer_of_characters_that_llama_cpp_may_not_have(
        self, values: dict[str, Any], message: str, tmp_path: Path
    ) -> None:
        folder = save(tmp_path / "model", sentence_piece(normalised=True))
        changed(folder / "tokenizer.json", **values)
        with pytest.raises(SettingsError, match=message):
            write_gguf(folder, tmp_path / "model.gguf", "q8_0")

    def test_a_tokenizer_without_an_end(self, bytes_model: Path, tmp_path: Path) -> None:
        folder = copied(bytes_model, tmp_path)
        changed(folder / "tokenizer_config.json", eos_token=None)
        changed(folder / "config.json", eos_token_id=None)
        with pytest.raises(SettingsError, match="no token is said to end a text"):
            write_gguf(folder, tmp_path / "model.gguf", "q8_0")

    @pytest.mark.parametrize(
        ("value", "numbers", "message"),
        [(float("nan"), "q8_0", "not finite"), (1e6, "float16", "too large for float16")],
    )
    def test_numbers_that_cannot_be_written(
        self, value: float, numbers: Any, message: str, bytes_model: Path, tmp_path: Path
    ) -> None:
        safetensors = pytest.importorskip("safetensors.torch")
        folder = copied(bytes_model, tmp_path)
        tensors = safetensors.load_file(folder / "model.safetensors")
        tensors["model.layers.1.mlp.up_proj.weight"][3, 3] = value
        safetensors.save_file(tensors, folder / "model.safetensors")
        with pytest.raises(SettingsError, match=rf"up_proj\.weight holds numbers that are {message}"):
            write_gguf(folder, tmp_path / "model.gguf", numbers)
        assert not list(tmp_path.glob("*.gguf*"))


@pytest.fixture(scope="module")
def folder() -> Path:
    """The embedded model as transformers loads it."""
    return Path(find_student("local").folder)


@pytest.mark.model
class TestEmbeddedModel:
    def test_it_answers(self, folder: Path, tmp_path: Path) -> None:
        path = write_gguf(folder, tmp_path / "student.gguf", "q8_0")
        oracle = LocalOracle.open(f"local:{path}", LocalSettings(slots=1, context=512))
        sampling = replace(oracle.sampling, temperature=0.0, max_tokens=200)
        question = Request((Message("user", "Name three healthy foods."),), sampling)
        reply = asyncio.run(oracle.complete(question))
        asyncio.run(oracle.aclose())
        assert reply.text.startswith("1. ")
        assert reply.finish_reason == "stop"

    def test_its_tokens_and_what_follows_them_are_the_same(self, folder: Path, tmp_path: Path) -> None:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        server = Server(write_gguf(folder, tmp_path / "student.gguf", "float16"))
        for text in TEXTS:
            assert server.tokens(text) == tokenizer(text).input_ids, text
        turns = [{"role": "user", "content": "Name three healthy foods."}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            expected = model(torch.tensor([prompt])).logits[0, -1].log_softmax(0)
        found = server.likeliest(prompt)
        assert max(found, key=found.__getitem__) == int(expected.argmax())
        assert max(abs(expected[token].item() - chance) for token, chance in found.items()) < 0.05
