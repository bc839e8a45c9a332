"""On a GPU: trainable tokens a second against TRL with packing, and the share of the chip's bfloat16 peak.

Random models of two shapes, on the same real rows in one run: 1B with all weights trained, 8B with adapters. Products
are counted as 6 a parameter and token where all weights are trained (2 forward, 4 backward), 4 where only adapters are,
without attention and the head's tokens that carry no loss, so that the share is rather too low.

python bench/training_gpu.py             on a GPU
python bench/training_gpu.py --tiny      the same steps with a tiny model, on whatever there is
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from measure import in_child, save
from on_real_rows import cherry

NAME = "training_gpu"
LENGTH, LEAST = 2048, 0.97
SHAPES = {
    "1B": ({"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16}, "full", 1024, 64),
    "8B": ({"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}, "lora", 512, 64),
    "tiny": ({"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}, "full", 48, 16),
}


def random_model(shape: str, folder: Path) -> None:
    """Write a Llama of this shape with random weights, and the embedded model's tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    from reflectune.student.weights import find_student

    sizes = SHAPES[shape][0]
    heads = max(sizes["hidden_size"] // 128, 4)
    config = LlamaConfig(
        **sizes,
        num_attention_heads=heads,
        num_key_value_heads=max(heads // 4, 1),
        vocab_size=49152,
        max_position_embeddings=8192,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(find_student("local").folder).save_pretrained(folder)


def ours(shape: str, folder: str) -> Callable[[], dict[str, Any]]:
    """`reflectune train` without what surrounds it."""
    from reflectune.formats import open_source
    from reflectune.recipe import TrainSettings
    from reflectune.training.callback import Watch
    from reflectune.training.course import Devices, course_of
    from reflectune.training.dataset import hold_out, read_data
    from reflectune.training.fit import fit
    from reflectune.training.folder import Job
    from reflectune.training.masks import Masker
    from reflectune.training.student import find_pupil

    _, method, rows, batch = SHAPES[shape]
    settings = TrainSettings.made_of(
        {
            "student": folder,
            "method": method,
            "max_length": LENGTH,
            "batch": batch,
            "epochs": 1,
            "held_out": "0",
            "checkpoints": 1,
        },
        source=NAME,
    )
    pupil = find_pupil(settings)
    masker = Masker(pupil.tokenizer, pupil.template, LENGTH)
    data = hold_out(read_data(islice(open_source(cherry()).rows(), rows), masker), "0", 0, "cherry")
    devices = Devices.found(gpu=pupil.gpu)
    course = course_of(data, pupil, settings, devices)

    def work() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as output:
            job = Job(data, pupil, course, devices, Path(output))
            points = fit(job, Watch(lambda _: None), fresh=True).points
        timed = [(point.tokens, point.tokens_per_second) for point in points if point.tokens_per_second]
        steps = [(after[0] - before[0], after[1]) for before, after in pairwise(timed)]
        tokens, seconds = sum(count for count, _ in steps), sum(count / speed for count, speed in steps)
        return {"tokens": tokens, "seconds": seconds, "read": course.tokens / course.trainable}

    return work


def packed_trl(shape: str, folder: str) -> Callable[[], dict[str, Any]]:
    """TRL's trainer with its own packing on the same rows."""
    import torch
    import transformers
    import trl
    from datasets import Dataset
    from peft import LoraConfig

    from reflectune.training.attention import attentions

    warnings.simplefilter("ignore")
    _, method, count, _ = SHAPES[shape]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = json.loads(cherry().read_text(encoding="utf-8"))[:count]
    asked = [f"{row['instruction']}\n\n{row['input']}" if row["input"].strip() else row["instruction"] for row in rows]
    pairs = {
        "prompt": [[{"role": "user", "content": text}] for text in asked],
        "completion": [[{"role": "assistant", "content": row["output"]}] for row in rows],
    }
    took: list[float] = []
    counts: list[int] = []

    class Clock(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.monotonic()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            took.append(time.monotonic() - self.began)

    def work() -> dict[str, Any]:
        gpu = torch.cuda.is_available()
        dtype = torch.float32 if method == "full" else torch.bfloat16
        name = attentions(transformers.AutoConfig.from_pretrained(folder), gpu=True, bfloat16=True)[0]
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=name)
        with tempfile.TemporaryDirectory() as output:
            args = trl.SFTConfig(
                output_dir=output,
                packing=True,
                per_device_train_batch_size=4,
                gradient_accumulation_steps=1,
                num_train_epochs=1,
                max_length=LENGTH,
                activation_checkpointing=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=not gpu,
            )
            trainer = trl.SFTTrainer(
                model=model,
                args=args,
                train_dataset=Dataset.from_dict(pairs),
                processing_class=tokenizer,
                peft_config=None if method == "full" else LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
                callbacks=[Clock()],
            )
            plain = trainer.get_batch_samples

            def counted(*given: Any) -> Any:
                batches, items = plain(*given)
                counts.append(sum(int(one["labels"][:, 1:].ne(-100).sum()) for one in batches))
                return batches, items

            trainer.get_batch_samples = counted
            trainer.train()
        return {"tokens": sum(counts[1 : len(took)]), "seconds": sum(took[1:])}

    return work


def peak_share(folder: str, method: str, tokens_a_second: float) -> float | None:
    """The share of the chip's bfloat16 peak; `None` where the chip's peak is not known."""
    import torch
    from transformers import AutoConfig
    from trl.trainer.utils import get_peak_flops

    from reflectune.training.shape import Shape

    if not torch.cuda.is_available():
        return None
    peak = get_peak_flops(torch.cuda.get_device_name(0), "bf16")
    parameters = Shape.of_config(AutoConfig.from_pretrained(folder).to_dict()).parameters
    return None if peak is None else (6 if method == "full" else 4) * parameters * tokens_a_second / peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to try the steps; writes no result")
    tiny = parser.parse_args().tiny
    import torch

    if not (tiny or torch.cuda.is_available()):
        raise SystemExit("training_gpu: torch sees no GPU here; --tiny tries the same steps")
    results: dict[str, Any] = {}
    for shape in ("tiny",) if tiny else ("1B", "8B"):
        with tempfile.TemporaryDirectory() as folder:
            random_model(shape, Path(folder))
            speeds: dict[str, list[float]] = {"reflectune": [], "trl": []}
            read = 1.0
            for _ in range(1 if tiny else 3):
                for side, prepare in (("reflectune", ours), ("trl", packed_trl)):
                    value = in_child(prepare, shape, folder).value
                    speeds[side].append(value["tokens"] / value["seconds"])
                    read = value.get("read", read)
            medians = {side: statistics.median(found) for side, found in speeds.items()}
            ratio = medians["reflectune"] / medians["trl"]
            share = peak_share(folder, SHAPES[shape][1], medians["reflectune"] * read)
            results[shape] = {"speeds": speeds, "ratio": ratio, "share_of_peak": share}
            told = "unknown" if share is None else f"{share:.1%}"
            print(f"{shape}: {ratio:.2f} of TRL with packing; {told} of the chip's bfloat16 peak")
    if not tiny:
        save(NAME, met=all(one["ratio"] >= LEAST for one in results.values()), results=results)


if __name__ == "__main__":
    main()
