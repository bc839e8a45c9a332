"""Trainable tokens a second against plain TRL without packing, on the same rows, in turns.

The peer is TRL's own trainer as it comes: a conversation of prompt and completion, padded batches of 8, TRL's defaults
(bfloat16 where the machine has it). It is also timed without recomputing activations, which TRL does by default and we
do only where memory is short. Each side takes the same number of steps of 16 rows; the first step is not timed, and the
sides take turns.

make proof-training_speed
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import finished, in_child, save
from on_real_rows import cherry

NAME = "training_speed"
ROWS, BATCH, LENGTH, ROUNDS, LEAST = 48, 16, 512, 2, 1.5


def ours() -> Callable[[], dict[str, Any]]:
    """`reflectune train` without what surrounds it: no files, no held-out rows."""
    from itertools import islice, pairwise

    from reflectune.formats import open_source
    from reflectune.recipe import TrainSettings
    from reflectune.training.callback import Watch
    from reflectune.training.course import Devices, course_of
    from reflectune.training.dataset import hold_out, read_data
    from reflectune.training.fit import fit
    from reflectune.training.folder import Job
    from reflectune.training.masks import Masker
    from reflectune.training.student import find_pupil

    settings = TrainSettings(max_length=LENGTH, batch=BATCH, epochs=1, held_out="0", checkpoints=1)
    pupil = find_pupil(settings)
    masker = Masker(pupil.tokenizer, pupil.template, LENGTH)
    data = hold_out(read_data(islice(open_source(cherry()).rows(), ROWS), masker), "0", 0, "cherry")
    devices = Devices.found(gpu=pupil.gpu)

    def work() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            job = Job(data, pupil, course_of(data, pupil, settings, devices), devices, Path(folder))
            points = fit(job, Watch(lambda _: None), fresh=True).points
        timed = [(point.tokens, point.tokens_per_second) for point in points if point.tokens_per_second]
        steps = [(after[0] - before[0], after[1]) for before, after in pairwise(timed)]
        return {"tokens": sum(count for count, _ in steps), "seconds": sum(count / speed for count, speed in steps)}

    return work


def plain_trl(checkpointing: bool) -> Callable[[], dict[str, Any]]:
    """TRL's trainer on the same rows, as its documentation shows it."""
    import torch
    import transformers
    import trl
    from datasets import Dataset

    from reflectune.student.weights import find_student

    warnings.simplefilter("ignore")
    folder = find_student("local").folder
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = json.loads(cherry().read_text(encoding="utf-8"))[:ROWS]
    asked = [f"{row['instruction']}\n\n{row['input']}" if row["input"].strip() else row["instruction"] for row in rows]
    pairs = {
        "prompt": [[{"role": "user", "content": text}] for text in asked],
        "completion": [[{"role": "assistant", "content": row["output"]}] for row in rows],
    }

    class Clock(transformers.TrainerCallback):  # type: ignore[misc]
        took: list[float] = []  # noqa: RUF012

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.monotonic()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.took.append(time.monotonic() - self.began)

    def work() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as output:
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            args = trl.SFTConfig(
                output_dir=output,
                per_device_train_batch_size=8,
                gradient_accumulation_steps=BATCH // 8,
                num_train_epochs=1,
                max_length=LENGTH,
                activation_checkpointing=checkpointing,
                learning_rate=2e-5,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
            )
            trainer = trl.SFTTrainer(
                model=model,
                args=args,
                train_dataset=Dataset.from_dict(pairs),
                processing_class=tokenizer,
                callbacks=[Clock()],
            )
            counts: list[int] = []
            plain = trainer.get_batch_samples

            def counted(*given: Any) -> Any:
                batches, items = plain(*given)
                counts.append(sum(int(batch["labels"][:, 1:].ne(-100).sum()) for batch in batches))
                return batches, items

            trainer.get_batch_samples = counted
            trainer.train()
        return {"tokens": sum(counts[1 : len(Clock.took)]), "seconds": sum(Clock.took[1:])}

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true")
    if parser.parse_args().resume and finished(NAME):
        return
    sides: dict[str, tuple[Any, ...]] = {
        "reflectune": (ours,),
        "trl": (plain_trl, True),
        "trl_without_recomputing": (plain_trl, False),
    }
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    memory: dict[str, float] = {}
    for number in range(ROUNDS):
        for side, prepared in sides.items():
            measured = in_child(*prepared)
            speeds[side].append(measured.value["tokens"] / measured.value["seconds"])
            memory[side] = max(memory.get(side, 0.0), measured.peak_rss_mb)
            print(
                f"round {number}: {side:24} {speeds[side][-1]:7.1f} trainable tokens/s, {measured.peak_rss_mb:,.0f} MB"
            )
    medians = {side: statistics.median(values) for side, values in speeds.items()}
    ratios = {side: medians["reflectune"] / medians[side] for side in sides if side != "reflectune"}
    for side, ratio in ratios.items():
        print(f"{ratio:.2f} times the trainable tokens a second of {side}")
    save(
        NAME,
        met=ratios["trl"] >= LEAST,
        rows=ROWS,
        batch=BATCH,
        max_length=LENGTH,
        speeds=speeds,
        ratios=ratios,
        peak_rss_mb=memory,
    )


if __name__ == "__main__":
    main()
