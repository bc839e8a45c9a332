"""Train adapters on our own pairs, a few steps, with the embedded student.

python examples/train.py                      # writes the folder student/
python examples/train.py OTHER_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from reflectune import TrainSettings, train

PAIRS = Path(__file__).with_name("pairs.jsonl")
SETTINGS = TrainSettings(
    student="local", method="lora", max_length=256, batch=5, max_steps=2, learning_rate=5e-4, held_out="0"
)


def main(folder: Path) -> None:
    """Train, and say what the curve was."""
    fitted = train(PAIRS, SETTINGS, folder)
    for point in fitted.points:
        print(f"step {point.step}: loss {point.loss}")
    print(f"{fitted.folder} after {fitted.seconds:.0f} s; talk to it with: reflectune chat {fitted.folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "student"))
