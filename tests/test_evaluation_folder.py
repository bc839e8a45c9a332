"""What is said of an evaluation that another is to replace."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from reflectune.cli.evaluation_folder import check_evaluation
from reflectune.evaluate.scores import Evaluation

OURS = version("reflectune")


@pytest.mark.parametrize(
    ("written_by", "before", "now", "told"),
    [
        (OURS, {"max_tokens": 9}, {"max_tokens": 8}, "max_tokens changed: 9 → 8"),
        (OURS, {}, {"max_tokens": 8}, "max_tokens changed: none → 8"),
        (OURS, {"limit": 9}, {}, "limit changed: 9 → none"),
        (OURS, {}, {"wording": "ab", "both_orders": False}, ""),  # neither is ever none: an older version wrote it
        (OURS, {"wording": "cd"}, {"wording": "ab"}, "wording changed: cd → ab"),
        ("0.0.1", {"gone": 1}, {"max_tokens": 8}, ""),
        ("0.0.1", {"limit": 9}, {}, "limit changed: 9 → none"),
        ("0.0.1", {"form": "plain"}, {"form": "weighted"}, "form changed: plain → weighted"),
    ],
)
def test_only_what_both_versions_know_can_change(  # noqa: PLR0917
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    written_by: str,
    before: dict[str, object],
    now: dict[str, object],
    told: str,
) -> None:
    earlier = Evaluation(command="alpaca-eval", versions={"reflectune": written_by}, settings=before, scores=())
    earlier.save(tmp_path)
    check_evaluation(tmp_path, "alpaca-eval", now, quiet=False)
    said = " ".join(capsys.readouterr().err.split())
    assert said == (f"Since the last time {told}. The earlier figures will be replaced." if told else "")
