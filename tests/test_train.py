"""Training: small random Llamas for the rules, the embedded model for the whole way."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import reflectune
from reflectune.cli import app
from reflectune.cli.train_asked import Asked, recipe_values
from reflectune.errors import InputError, RunError, SettingsError
from reflectune.formats import open_source
from reflectune.recipe import TrainSettings
from reflectune.training import curves
from reflectune.training.attention import mixes_rows
from reflectune.training.batches import held_out_packs
from reflectune.training.callback import Watch
from reflectune.training.checkpoints import last_whole, remove_broken
from reflectune.training.course import Devices, course_of
from reflectune.training.curves import Point
from reflectune.training.dataset import TrainingData, hold_out, read_data
from reflectune.training.fit import Fitted, fit
from reflectune.training.folder import CHECKPOINTS, CURVES, Job, check_folder
from reflectune.training.masks import NO_LOSS, Masker
from reflectune.training.outputs import check_outputs, write_outputs
from reflectune.training.packs import Packs
from reflectune.training.student import TAGS, find_pupil, load_model
from reflectune.training.trainer import negative_log_likelihood
from test_masks import CHATML, with_tokens
from typed import reflectune as reflectune_here

pytestmark = pytest.mark.model
HERE = Path(__file__).parent
RECIPES = ["reflection-70b", "reflection-tuning-13b", "reflection-tuning-7b", "selective-7b", "smoke"]


def tiny(folder: Path, kind: str = "Llama", **changes: Any) -> str:
    """Write a random decoder of 40,000 parameters with the tokenizer of the mask's tests."""
    import torch
    import transformers

    tokenizer = with_tokens("<|im_start|>", "<|im_end|>", chat=CHATML)
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    config = getattr(transformers, f"{kind}Config")(vocab_size=len(tokenizer), **sizes | changes)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny(tmp_path_factory.mktemp("tiny"), tie_word_embeddings=True, bos_token_id=0, eos_token_id=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    rows = (
        {"id": f"r{n}", "instruction": f"What is {n}?", "output": f"It is {n}, and no more than that. " * (1 + n % 5)}
        for n in range(40)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def settings(student: str) -> Callable[..., TrainSettings]:
    def made(**changes: Any) -> TrainSettings:
        values = {
            "student": student,
            "batch": 8,
            "epochs": 1,
            "learning_rate": 0.01,
            "precision": "float32",
            "max_length": 256,
            "held_out": "4",
        }
        return TrainSettings(**values | changes)

    return made


def job_of(data: Path, settings: TrainSettings, folder: Path) -> Job:
    pupil = find_pupil(settings)
    masker = Masker(pupil.tokenizer, pupil.template, settings.max_length)
    rows = read_data(open_source(data).rows(), masker, settings.loss_on)
    found = hold_out(rows, settings.held_out, settings.seed, str(data))
    devices = Devices.found(gpu=pupil.gpu)
    return Job(found, pupil, course_of(found, pupil, settings, devices), devices, folder)


def trained(job: Job, *, fresh: bool = False, stop_after: int | None = None) -> tuple[Fitted, list[Point]]:
    told: list[Point] = []

    def stopping() -> bool:
        return stop_after is not None and len(losses(told)) >= stop_after - 1

    return fit(job, Watch(told.append, stopping), fresh=fresh), told


def losses(points: list[Point]) -> list[float]:
    return [point.loss for point in points if point.loss is not None]


def held_out_losses(points: list[Point]) -> list[float]:
    return [point.held_out_loss for point in points if point.held_out_loss is not None]


def test_a_student_learns_and_its_folder_is_whole(
    tmp_path: Path, data: Path, settings: Callable[..., TrainSettings]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    fitted, told = trained(job_of(data, settings(epochs=2), tmp_path / "out"))
    held_out = held_out_losses(told)
    assert held_out[-1] < held_out[0] - 1
    assert losses(told)[-1] < losses(told)[0] - 1
    assert fitted.points == curves.read(tmp_path / "out" / CURVES) == told
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16  # what the student was published in
    assert model.config.use_cache
    assert tokenizer.chat_template == CHATML
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.eos_token_id in model.generation_config.eos_token_id


def test_the_same_from_python_in_one_call(tmp_path: Path, data: Path, settings: Callable[..., TrainSettings]) -> None:
    told: list[Point] = []
    wanted = settings(max_steps=2, held_out_data=data)
    with pytest.raises(InputError, match="can be learnt from"):  # every row is held out
        reflectune.train(data, wanted, tmp_path / "out")
    fitted = reflectune.train(data, settings(max_steps=2), tmp_path / "out", watch=Watch(told.append))
    assert fitted.points == told
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_packing_changes_no_loss(tmp_path: Path, data: Path, settings: Callable[..., TrainSettings]) -> None:
    packed, _ = trained(job_of(data, settings(batch_tokens=1024), tmp_path / "packed"))
    alone, _ = trained(job_of(data, settings(packing=False), tmp_path / "alone"))
    assert losses(packed.points) == pytest.approx(losses(alone.points), abs=1e-5)
    assert losses(packed.points)[0] == pytest.approx(losses(alone.points)[0], abs=1e-6)


def test_a_pack_gives_the_logits_that_its_rows_have_alone(data: Path, settings: Callable[..., TrainSettings]) -> None:
    import torch

    job = job_of(data, settings(), Path())
    rows = job.data.rows[:5]
    packs = Packs(rows, held_out_packs([len(row.tokens) for row in rows], devices=1, batch_tokens=10_000), 0)
    (pack,) = packs.packs
    inputs = packs.collate([{"pack": list(pack)}])
    inputs.pop("labels")
    model = load_model(job.pupil, bfloat16=False).eval()
    with torch.no_grad():
        together = model(**inputs, use_cache=False).logits[0]
        begin = 0
        for place in pack:
            tokens = torch.tensor([list(rows[place].tokens)])
            alone = model(tokens).logits[0]
            assert torch.allclose(together[begin : begin + len(alone)], alone, atol=1e-5)
            begin += len(alone)


def test_a_loss_in_pieces_is_the_loss_and_has_its_gradients(data: Path, settings: Callable[..., TrainSettings]) -> None:
    import torch

    job = job_of(data, settings(max_length=512), Path())
    rows = [row for row in job.data.rows if len(row.tokens) > 60]
    split = held_out_packs([len(row.tokens) for row in rows], devices=1, batch_tokens=100_000)
    packs = Packs(rows, split, 0)
    inputs = packs.collate([{"pack": list(split.packs[0])}])
    assert int(inputs["labels"].ne(NO_LOSS).sum()) > 600  # several pieces
    found = []
    for in_pieces in (True, False):
        model = load_model(job.pupil, bfloat16=False)
        loss = negative_log_likelihood(model, inputs, in_pieces=in_pieces)
        loss.backward()
        found.append((loss.detach(), {name: weight.grad for name, weight in model.named_parameters()}))
    assert torch.allclose(found[0][0], found[1][0], rtol=1e-6)
    for name, gradient in found[0][1].items():
        assert torch.allclose(gradient, found[1][1][name], rtol=1e-3, atol=1e-4), name


def test_torchs_own_attention_leaks_between_packed_rows_where_a_cache_is_kept(student: str) -> None:
    """Why `use_cache` is off: with a cache transformers no longer looks for rows in the positions."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32, attn_implementation="sdpa").eval()
    tokens = torch.arange(5, 25).reshape(1, 20)
    positions = torch.tensor([[*range(10), *range(10)]])
    with torch.no_grad():
        alone = model(tokens[:, 10:]).logits
        apart = model(tokens, position_ids=positions, use_cache=False).logits[:, 10:]
        leaked = model(tokens, position_ids=positions, use_cache=True).logits[:, 10:]
    assert torch.allclose(apart, alone, atol=1e-5)
    assert (leaked - alone).abs().max() > 1e-3


def test_the_held_out_loss_is_the_mean_over_tokens(
    tmp_path: Path, data: Path, settings: Callable[..., TrainSettings]
) -> None:
    import torch

    job = job_of(data, settings(max_steps=1), tmp_path / "out")
    _, told = trained(job)
    model = load_model(job.pupil, bfloat16=False).eval()
    total, count = 0.0, 0
    for row in job.data.held_out:
        with torch.no_grad():
            logits = model(torch.tensor([list(row.tokens)])).logits[0].log_softmax(-1)
        scored = [(place - 1, token) for place, token in enumerate(row.tokens) if row.trains[place]]
        total -= sum(float(logits[before, token]) for before, token in scored)
        count += len(scored)
    assert told[0].step == 0
    assert told[0].held_out_loss == pytest.approx(total / count, abs=1e-5)


def test_a_run_that_was_stopped_goes_on_exactly(
    tmp_path: Path, data: Path, settings: Callable[..., TrainSettings]
) -> None:
    wanted = settings(epochs=2, checkpoints=20)
    straight, _ = trained(job_of(data, wanted, tmp_path / "straight"))
    first, _ = trained(job_of(data, wanted, tmp_path / "broken"), stop_after=4)
    assert first.stopped
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    second, _ = trained(job_of(data, wanted, tmp_path / "broken"))
    assert (second.stopped, second.resumed) == (False, len(losses(first.points)))
    assert [point.step for point in second.points if point.loss is not None] == list(range(1, 10 + 1))[
        : len(losses(straight.points))
    ]
    assert losses(second.points) == losses(straight.points)
    ours, theirs = (_weights(tmp_path / name) for name in ("straight", "broken"))
    assert all((ours[name] == theirs[name]).all() for name in ours)


def _weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def test_a_broken_checkpoint_is_passed_over(tmp_path: Path, data: Path, settings: Callable[..., TrainSettings]) -> None:
    wanted = settings(epochs=2, checkpoints=20, keep_checkpoints=20)
    stopped, _ = trained(job_of(data, wanted, tmp_path / "out"), stop_after=5)
    folder = tmp_path / "out" / CHECKPOINTS
    last = last_whole(folder)
    assert last is not None
    (last / "whole").unlink()  # as if the machine had died while it was written
    (last / "model.safetensors").write_bytes(b"half")
    resumed, _ = trained(job_of(data, wanted, tmp_path / "out"))
    assert resumed.resumed == len(losses(stopped.points)) - 1
    assert not resumed.stopped


def test_what_is_left_of_checkpoints_is_removed(tmp_path: Path) -> None:
    for step, whole in ((2, True), (4, True), (6, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / "whole").touch()
    (tmp_path / "checkpoint-best").mkdir()
    assert [path.name for path in remove_broken(tmp_path)] == ["checkpoint-6"]
    last = last_whole(tmp_path)
    assert last is not None
    assert last.name == "checkpoint-4"
    assert (tmp_path / "checkpoint-best").is_dir()
    assert last_whole(tmp_path / "nowhere") is None


def test_other_settings_in_the_same_folder_are_refused(
    tmp_path: Path, data: Path, settings: Callable[..., TrainSettings]
) -> None:
    trained(job_of(data, settings(max_steps=1), tmp_path / "out"))
    other = job_of(data, settings(max_steps=1, learning_rate=0.02), tmp_path / "out")
    with pytest.raises(SettingsError, match="other settings or data"):
        trained(other)
    again, _ = trained(other, fresh=True)
    assert again.resumed == 0


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(
    tmp_path: Path, data: Path, settings: Callable[..., TrainSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from reflectune.training import trainer as module

    calls = []

    def poisoned(model: Any, inputs: dict[str, Any], **about: Any) -> Any:
        calls.append(1)
        loss = module_plain(model, inputs, **about)
        return loss * math.nan if len(calls) > 6 and torch.is_grad_enabled() else loss

    module_plain = module.negative_log_likelihood
    monkeypatch.setattr(module, "negative_log_likelihood", poisoned)
    with pytest.raises(RunError, match=r"The loss is nan at step \d") as caught:
        trained(job_of(data, settings(epochs=2, checkpoints=20, held_out="0"), tmp_path / "out"))
    assert "--learning-rate" in caught.value.mend
    kept = last_whole(tmp_path / "out" / CHECKPOINTS)
    assert kept is not None
    assert all(bool(tensor.isfinite().all()) for tensor in _weights(kept).values())


def test_no_memory_names_the_knobs(
    tmp_path: Path, data: Path, settings: Callable[..., TrainSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from reflectune.training import trainer as module

    def greedy(*_: Any, **__: Any) -> Any:
        return torch.empty(1 << 60)

    monkeypatch.setattr(module, "negative_log_likelihood", greedy)
    with pytest.raises(RunError, match="Memory is short") as caught:
        trained(job_of(data, settings(held_out="0"), tmp_path / "out"))
    assert "--batch-tokens" in caught.value.mend


def test_adapters_go_on_with_the_newest_checkpoint_only(
    tmp_path: Path, data: Path, settings: Callable[..., TrainSettings]
) -> None:
    wanted = settings(method="lora", epochs=2, checkpoints=20, keep_checkpoints=1)
    straight, _ = trained(job_of(data, wanted, tmp_path / "straight"))
    first, _ = trained(job_of(data, wanted, tmp_path / "broken"), stop_after=4)
    kept = [path.name for path in (tmp_path / "broken" / CHECKPOINTS).iterdir()]
    assert kept == [f"checkpoint-{len(losses(first.points))}"]
    second, _ = trained(job_of(data, wanted, tmp_path / "broken"))
    assert second.resumed > 0
    assert losses(second.points) == losses(straight.points)


def test_a_student_of_another_kind_leaves_nothing_of_the_old_one(
    tmp_path: Path, data: Path, settings: Callable[..., TrainSettings]
) -> None:
    trained(job_of(data, settings(method="lora", max_steps=1), tmp_path / "out"))
    assert (tmp_path / "out" / "adapter_config.json").is_file()
    trained(job_of(data, settings(max_steps=1), tmp_path / "out"), fresh=True)
    assert not list((tmp_path / "out").glob("adapter_*"))
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path, student: str) -> None:
    with pytest.raises(SettingsError, match="is the student that is to be trained"):
        check_folder(Path(student), student)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.sqlite").touch()
    with pytest.raises(SettingsError, match="is a run"):
        check_folder(tmp_path / "run", "local")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(SettingsError, match="something else than a student"):
        check_folder(tmp_path / "model", "local")
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="is a file"):
        check_folder(tmp_path / "file", "local")
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        check_folder(tmp_path / name, "local")


def test_a_model_that_carries_a_state_is_not_packed(tmp_path: Path, settings: Callable[..., TrainSettings]) -> None:
    tiny(tmp_path, "Mamba", state_size=4)
    with pytest.raises(SettingsError, match="cannot be packed") as caught:
        load_model(find_pupil(settings(student=str(tmp_path))), bfloat16=False)
    assert "packing=false" in caught.value.mend
    load_model(find_pupil(settings(student=str(tmp_path), packing=False)), bfloat16=False)


def test_a_model_without_the_first_attention_gets_the_next(
    tmp_path: Path, settings: Callable[..., TrainSettings]
) -> None:
    tiny(tmp_path, "Gemma2", head_dim=8)
    model = load_model(find_pupil(settings(student=str(tmp_path))), bfloat16=False)
    assert not mixes_rows(model, 200)


def test_new_tags_are_learnt_in_the_head_too_where_it_is_a_table_of_its_own(
    tmp_path: Path, data: Path, settings: Callable[..., TrainSettings]
) -> None:
    from transformers import AutoModelForCausalLM

    tiny(tmp_path / "untied", tie_word_embeddings=False)
    traces = tmp_path / "traces.jsonl"
    answer = "<thinking>\nOne.\n</thinking>\n<output>\n1\n</output>"
    rows = ({"id": f"t{n}", "instruction": f"Count {n}.", "output": answer} for n in range(16))
    traces.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    wanted = settings(
        student=str(tmp_path / "untied"), method="lora", reflection=True, tags="tokens", merge=True, held_out="0"
    )
    job = job_of(traces, wanted, tmp_path / "out")
    trained(job)
    merged, _ = write_outputs(tmp_path / "out", job.pupil, wanted)
    assert merged is not None
    before = load_model(job.pupil, bfloat16=False)
    after = AutoModelForCausalLM.from_pretrained(merged)
    for table in ("get_input_embeddings", "get_output_embeddings"):
        old, new = (getattr(model, table)().weight.float() for model in (before, after))
        moved = (new[: len(old)] - old).abs().amax(dim=1)
        thinking = job.pupil.tokenizer.convert_tokens_to_ids("<thinking>")
        assert moved[thinking] > 1e-3, table
        assert moved[10] < 1e-2, table  # an ordinary token keeps its row, as far as its numbers go


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # of transformers, at peft's call
@pytest.mark.parametrize("tags", ["text", "tokens"])
def test_merged_adapters_answer_as_the_adapters_do(
    tmp_path: Path, data: Path, settings: Callable[..., TrainSettings], tags: str
) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    wanted = settings(method="lora", merge=True, reflection=True, tags=tags, epochs=1)
    job = job_of(data, wanted, tmp_path / "out")
    _, told = trained(job)
    held_out = held_out_losses(told)
    assert held_out[-1] < held_out[0]
    merged, gguf = write_outputs(tmp_path / "out", job.pupil, wanted)
    assert merged is not None
    assert gguf is None
    tokenizer = AutoTokenizer.from_pretrained(merged)
    ids = tokenizer("What is 7? <thinking>", return_tensors="pt", add_special_tokens=False).input_ids
    model = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
    if tags == "tokens":
        assert [len(tokenizer(tag, add_special_tokens=False).input_ids) for tag in TAGS] == [1] * 6
        assert tokenizer.decode(tokenizer(TAGS[0]).input_ids, skip_special_tokens=True) == TAGS[0]
        assert model.get_input_embeddings().num_embeddings == len(tokenizer)
        return
    adapted = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, adapted(ids).logits, atol=0.05)  # merged weights are bfloat16


def test_new_tags_begin_with_the_embeddings_of_their_words(settings: Callable[..., TrainSettings]) -> None:
    import torch

    pupil = find_pupil(settings(reflection=True, tags="tokens"))
    plain = load_model(find_pupil(settings()), bfloat16=False).get_input_embeddings().weight
    table = load_model(pupil, bfloat16=False).get_input_embeddings().weight
    assert len(pupil.new_tokens) == 6
    for token, parts in pupil.new_tokens.items():
        assert torch.allclose(table[token], plain[parts].mean(dim=0), atol=1e-6)


def run(*command: str, **about: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **about)


def flags_of(data: Path, student: str, folder: Path) -> list[str]:
    settings = ("--batch", "8", "--epochs", "1", "--learning-rate", "0.01", "--precision", "float32")
    return ["train", str(data), "--student", student, *settings, "--max-length", "256", "--held-out", "4",
            "--output", str(folder), "--quiet", "--json"]  # fmt: skip


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, data: Path, student: str) -> Path:
    """What one process learnt, which several are compared with."""
    folder = tmp_path_factory.mktemp("one")
    done = reflectune_here(*flags_of(data, student, folder / "out"), cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_two_processes_learn_what_one_does(tmp_path: Path, data: Path, student: str, one: Path) -> None:
    launch = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    # one row at a time, so that of an odd number of rows one process reads a pack without any loss
    alone = ("--set", "packing=false")
    two = run(*launch, "-m", "reflectune", *flags_of(data, student, tmp_path / "two"), *alone)
    assert two.returncode == 0, two.stderr
    ours, theirs = (curves.read(folder / CURVES) for folder in (one, tmp_path / "two"))
    assert losses(theirs) == pytest.approx(losses(ours), abs=1e-3)
    assert held_out_losses(theirs) == pytest.approx(held_out_losses(ours), abs=1e-3)
    assert json.loads(two.stdout.splitlines()[-1])["steps"] == len(losses(ours))


def test_weights_that_are_split_learn_the_same_and_are_saved_whole(
    tmp_path: Path, data: Path, student: str, one: Path
) -> None:
    config = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "FSDP",
        "fsdp_config": {
            "fsdp_version": 2,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_reshard_after_forward": True,
            "fsdp_state_dict_type": "FULL_STATE_DICT",
            "fsdp_cpu_ram_efficient_loading": False,
        },
        "mixed_precision": "no",
        "num_machines": 1,
        "num_processes": 2,
        "use_cpu": True,
    }
    (tmp_path / "fsdp.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    launch = ("accelerate.commands.launch", "--config_file", str(tmp_path / "fsdp.yaml"))
    split = run(
        sys.executable, "-m", *launch, str(HERE / "fsdp_on_cpu.py"), *flags_of(data, student, tmp_path / "split")
    )
    assert split.returncode == 0, split.stderr
    ours, theirs = (curves.read(folder / CURVES) for folder in (one, tmp_path / "split"))
    assert losses(theirs) == pytest.approx(losses(ours), abs=1e-3)
    whole, saved = _weights(one), _weights(tmp_path / "split")
    assert set(saved) == set(whole)
    assert all(saved[name].dtype == whole[name].dtype for name in whole)
    assert all((saved[name].float() - whole[name].float()).abs().max() < 1e-2 for name in whole)


@pytest.mark.parametrize("name", RECIPES)
def test_the_shipped_recipes_fit(name: str) -> None:
    settings = TrainSettings.made_of(recipe_values(name), source=name)
    assert settings.epochs in {1, 3}
    assert settings.needs_gpu == (name != "smoke")


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="no recipe selctive") as caught:
        Asked("x", recipe="selctive").settings()
    assert ", ".join(RECIPES) in caught.value.mend


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"needs_gpu": True}, "needs a GPU"),
        ({"method": "qlora"}, "qlora needs a GPU"),
        ({"max_length": 4096}, "do not fit the student's context of 512"),
    ],
)
def test_what_cannot_be_trained_here_is_refused(
    settings: Callable[..., TrainSettings], changes: dict[str, Any], what: str
) -> None:
    import torch

    if torch.cuda.is_available() and "context" not in what:
        pytest.skip("there is a GPU here")
    with pytest.raises(SettingsError, match=what):
        find_pupil(settings(**changes))


def test_a_gguf_file_that_could_not_be_written_is_refused_before_training(
    tmp_path: Path, settings: Callable[..., TrainSettings]
) -> None:
    pupil = find_pupil(settings(gguf="q8_0"))
    with pytest.raises(SettingsError, match="is not written as GGUF here"):
        check_outputs(pupil)
    check_outputs(find_pupil(settings()))


def test_one_row_is_too_few() -> None:
    data = TrainingData(end_token=1)
    with pytest.raises(InputError, match="no row can be learnt from; it takes 2"):
        hold_out(data, "0", 0, "rows.jsonl")


def test_a_finished_student_is_not_trained_again(tmp_path: Path, data: Path, student: str) -> None:
    flags = [*flags_of(data, student, tmp_path / "out"), "--set", "max_steps=1"]
    first = CliRunner().invoke(app, flags)
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["steps"] == 1  # nothing else is on standard output
    weights = (tmp_path / "out" / "model.safetensors").stat()
    again = CliRunner().invoke(app, [flag for flag in flags if flag != "--quiet"])
    assert again.exit_code == 0, again.output
    assert "is finished. To train it over: --fresh." in again.stderr
    assert json.loads(again.stdout)["finished"] is True
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == weights.st_mtime_ns


def test_holding_too_many_rows_out_is_told(data: Path, settings: Callable[..., TrainSettings]) -> None:
    with pytest.raises(InputError, match="40 rows can be learnt from, and --held-out 39 of them leaves 1"):
        job_of(data, settings(held_out="39"), Path())


def test_bad_rows_are_left_out_with_their_reasons(tmp_path: Path, student: str) -> None:
    path = tmp_path / "bad.jsonl"
    rows: list[dict[str, Any]] = [
        {"id": "empty", "instruction": "Say nothing.", "output": "  "},
        {"id": "long", "instruction": "x " * 400, "output": "y"},
        {"id": "span", "instruction": "a", "output": "short", "trace": {"mistakes": [[0, 99]]}},
        {"id": "torn", "instruction": "a", "output": "short", "trace": {"mistakes": "none"}},
        {"id": "other", "instruction": "a", "output": "short", "trace": "id-77"},
        *({"id": f"good{n}", "instruction": f"Name {n}.", "output": f"It is {n}."} for n in range(6)),
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = reflectune_here(*flags_of(path, student, tmp_path / "out")[:-2], "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    dropped = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()]
    assert {one["id"]: one["reason"] for one in dropped} == {
        "empty": "no-response",
        "long": "no-trainable-token",
        "span": "trace",
        "torn": "trace",
    }
    assert "row 3: a mistake is written [begin, end] within the 5 characters of the answer" in next(
        one["detail"] for one in dropped if one["id"] == "span"
    )
    assert "1 no-trainable-token (long)" in done.stderr
