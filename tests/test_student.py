"""Students: small models of several kinds in packs and text by text, GGUF weights, and one behind a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loopback import Loopback
from reflectune.errors import OracleError, ReflectuneError, SettingsError
from reflectune.recipe import ScoreSettings
from reflectune.records import Example
from reflectune.scoring import score
from reflectune.student import Target, Unscorable, open_student
from reflectune.student.weights import find_student
from test_tokens import spelling

pytestmark = pytest.mark.model

SERVER = Path(__file__).with_name("prompt_server.py")
CHAT = "{% for turn in messages %}[{{ turn.role }}] {{ turn.content }}\n{% endfor %}[assistant] "
ROWS = [
    Example("cats", "Why do cats purr?", "They like it, and it calms them."),
    Example("dogs", "Why do dogs bark at the postman?", "They guard their house."),
    Example("sums", "Add the numbers.", "Seven.", input="3 and 4"),
]


def small(kind: str) -> Any:
    """A small model of a kind, with random weights."""
    import torch
    import transformers as t

    torch.manual_seed(1)
    plain = {"vocab_size": 260, "hidden_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}
    if kind == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**plain, **heads))
    if kind == "mistral":
        return t.MistralForCausalLM(t.MistralConfig(**plain, **heads, sliding_window=16))
    if kind == "gemma2":
        return t.Gemma2ForCausalLM(t.Gemma2Config(**plain, **heads, head_dim=16, sliding_window=16))
    if kind == "gpt2":
        return t.GPT2LMHeadModel(t.GPT2Config(vocab_size=260, n_embd=64, n_layer=2, n_head=4))
    return t.MambaForCausalLM(t.MambaConfig(**plain, state_size=8))


def texts() -> list[Target]:
    """Texts that begin alike and differ, some longer than a sliding window."""
    begin = tuple(range(20, 50))
    return [
        Target((*begin, *range(60, 90)), 30),
        Target((*begin, *range(90, 100)), 12),
        Target(tuple(range(100, 104)), 1),
        Target((*begin, *range(60, 90)), 1),
    ]


def plainly(model: Any, target: Target) -> float:
    """The loss of one text by the model's own forward pass."""
    import torch

    labels = torch.tensor([target.tokens])
    labels[0, : target.first] = -100
    with torch.no_grad():
        loss: float = model.eval()(torch.tensor([target.tokens]), labels=labels).loss.item()
    return loss


@pytest.mark.parametrize(
    ("kind", "packed"), [("llama", True), ("mistral", True), ("gemma2", False), ("gpt2", None), ("mamba", False)]
)
def test_losses_are_those_of_each_text_by_itself(kind: str, packed: bool | None, tmp_path: Path) -> None:
    model = small(kind)
    model.save_pretrained(tmp_path)
    spelling(begins=True).save_pretrained(tmp_path)
    student = open_student(ScoreSettings(student=str(tmp_path), batch_tokens=200))
    assert packed is None or student.packed is packed  # type: ignore[attr-defined]
    expected = [plainly(model, target) for target in texts()]
    assert student.losses(texts()) == pytest.approx(expected, abs=1e-4)
    assert student.losses([]) == []


@pytest.mark.parametrize(("kind", "reads"), [("llama", 1), ("mamba", 4)])
def test_what_texts_have_in_common_is_computed_once(kind: str, reads: int, tmp_path: Path) -> None:
    small(kind).save_pretrained(tmp_path)
    spelling(begins=True).save_pretrained(tmp_path)
    student: Any = open_student(ScoreSettings(student=str(tmp_path)))
    lengths: list[int] = []
    student._model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    once = student.losses(texts())
    assert student.losses([*texts(), *texts()[::-1]]) == [*once, *once[::-1]]
    assert len(lengths) == 2 * reads
    assert lengths[:reads] == lengths[reads:]  # a text that comes again is not read again
    alike = 30 + 30 + 10 + 4  # a beginning, its two ends, and a text by itself
    assert sum(lengths[:reads]) == (alike if kind == "llama" else sum(len(text.tokens) for text in texts()))


@pytest.mark.parametrize("batch_tokens", [64, 70, 130, 4096])
def test_how_much_is_computed_at_once_changes_nothing(batch_tokens: int, tmp_path: Path) -> None:
    model = small("llama")
    model.save_pretrained(tmp_path)
    spelling(begins=True).save_pretrained(tmp_path)
    student = open_student(ScoreSettings(student=str(tmp_path), batch_tokens=batch_tokens))
    assert student.batch_tokens == batch_tokens
    assert student.losses(texts()) == pytest.approx([plainly(model, target) for target in texts()], abs=1e-4)


def test_other_numbers_are_nearly_the_same(tmp_path: Path) -> None:
    small("llama").save_pretrained(tmp_path)
    spelling(begins=True).save_pretrained(tmp_path)
    exact = open_student(ScoreSettings(student=str(tmp_path))).losses(texts())
    rough = open_student(ScoreSettings(student=str(tmp_path), dtype="bfloat16")).losses(texts())
    assert rough == pytest.approx(exact, abs=0.05)


def test_weights_that_are_not_finite_are_told(tmp_path: Path) -> None:
    model = small("llama")
    model.model.norm.weight.data[:] = float("nan")
    model.save_pretrained(tmp_path)
    spelling(begins=True).save_pretrained(tmp_path)
    (found,) = open_student(ScoreSettings(student=str(tmp_path))).losses(texts()[:1])
    assert isinstance(found, Unscorable)
    assert found.reason == "non-finite"


@pytest.mark.parametrize(
    ("name", "kind", "what"),
    [
        ("{}", OracleError, "cannot be loaded"),  # a folder without a model
        ("nobody/has-such-a-model", OracleError, "nobody/has-such-a-model cannot be loaded"),
        ("hf:nobody/has-such-a-model", OracleError, "nobody/has-such-a-model cannot be loaded"),
        ("no name of the hub", OracleError, "no name of the hub cannot be loaded"),
        ("./nowhere", SettingsError, "nowhere is no model"),
        ("{}/nowhere", SettingsError, "nowhere is no model"),
        ("{}/nowhere.gguf", SettingsError, r"nowhere\.gguf: there is no such file"),
    ],
)
def test_what_is_no_model_is_told(
    name: str, kind: type[ReflectuneError], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # it read its variable when it was imported
    with pytest.raises(kind, match=what) as told:
        open_student(name.format(tmp_path))
    assert "hub" in told.value.mend


def test_gguf_weights_are_converted_once() -> None:
    first, second = find_student("local"), find_student("local")
    assert first == second
    assert (Path(first.folder) / "model.safetensors").is_file()


@pytest.fixture
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GGUF file that transformers cannot read, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "own.gguf"
    path.write_bytes(b"GGUF" + b"\1" * 4096)
    return path


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("form", ["{}", "local:{}"])
def test_other_weights_are_converted_anew(gguf: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    converted: list[Path] = []

    def convert(source: Path, target: Path) -> None:
        converted.append(source)
        (target / "config.json").write_text("{}")

    monkeypatch.setattr("reflectune.student.weights._convert", convert)
    found = [find_student(form.format(gguf)) for _ in range(3)]
    assert converted == [gguf]
    assert found[0] == found[1] == found[2]
    assert (found[0].name, left_in(Path(found[0].folder))) == ("own", ["config.json"])
    gguf.write_bytes(b"GGUF" + b"\2" * 4096)
    assert find_student(form.format(gguf)).revision != found[0].revision
    assert converted == [gguf, gguf]


def test_weights_that_are_not_understood_leave_nothing_half_made(gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(OracleError, match=r"transformers cannot read .*own\.gguf") as told:
        find_student(str(gguf))
    assert "safetensors" in told.value.mend
    assert left_in(tmp_path / "cache") == []


def test_a_full_disk_leaves_nothing_half_made(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(source: Path, target: Path) -> None:
        (target / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reflectune.student.weights._convert", convert)
    with pytest.raises(OracleError, match="No space left on device") as told:
        find_student(str(gguf))
    assert "disk space" in told.value.mend
    assert left_in(tmp_path / "cache") == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model that reads letters, and chats."""
    path = tmp_path_factory.mktemp("small")
    small("llama").save_pretrained(path)
    spelling(begins=True, chat=CHAT).save_pretrained(path)
    return str(path)


@pytest.fixture
def served(request: pytest.FixtureRequest, folder: str) -> Iterator[str]:
    with Loopback(folder, *request.param, script=SERVER) as server:
        yield server.base_url


def behind(url: str, folder: str) -> ScoreSettings:
    return ScoreSettings(student=f"smol@{url}", tokenizer=folder)


@pytest.mark.parametrize("served", [(), ("--busy-every", "5")], indirect=True)
def test_a_served_student_scores_as_a_local_one(served: str, folder: str) -> None:
    local = score(ROWS, folder)
    student = open_student(behind(served, folder))
    found = score(ROWS, student)
    student.close()
    for one, other in zip(found.scored, local.scored, strict=True):
        ours, theirs = one.versions["original"].model_dump(), other.versions["original"].model_dump()
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("served", [("--longest", "40")], indirect=True)
def test_a_text_that_a_server_refuses_has_no_score(served: str, folder: str) -> None:
    student = open_student(behind(served, folder))
    found = score(ROWS[:1], student)
    student.close()
    assert {failure.reason for failure in found.failures} == {"context-overflow"}
    assert not found.scored[0].versions


@pytest.mark.parametrize("served", [("--silent",)], indirect=True)
def test_a_server_that_says_nothing_of_prompts_is_told(served: str, folder: str) -> None:
    student = open_student(behind(served, folder))
    with pytest.raises(OracleError, match="log-probabilities of prompts"):
        student.losses([Target((1, 2, 3), 1), Target((1, 2, 4), 1)])
    student.close()


def test_the_oracles_key_is_not_sent_to_a_served_student(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-oracle")
    student = open_student(behind("http://127.0.0.1:9/v1", folder))
    assert student._settings.key is None  # type: ignore[attr-defined]
    student.close()
    monkeypatch.setenv("STUDENTS_KEY", "of-the-student")
    named = behind("http://127.0.0.1:9/v1", folder).model_copy(update={"key_env": "STUDENTS_KEY"})
    student = open_student(named)
    assert student._settings.key == "of-the-student"  # type: ignore[attr-defined]
    student.close()


def test_a_device_that_is_none_is_refused(tmp_path: Path) -> None:
    small("llama").save_pretrained(tmp_path)
    spelling().save_pretrained(tmp_path)
    with pytest.raises(SettingsError, match="no device gpu"):
        open_student(ScoreSettings(student=str(tmp_path), device="gpu"))


def test_a_tokenizer_is_for_a_served_student(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--tokenizer is for"):
        open_student(ScoreSettings(student=str(tmp_path), tokenizer="other"))
