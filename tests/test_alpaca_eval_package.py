"""AlpacaEval's own package reads our files and computes our figures.

It pins other versions than we do, so that it needs an environment of its own: `pip install alpaca-eval==0.6.6` there,
and its Python in REFLECTUNE_ALPACA_EVAL_PYTHON. Without it these tests are skipped.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reflectune.cli import app
from test_alpaca_eval_lc import OFFICIAL, gamed_of, simulated

PYTHON = os.environ.get("REFLECTUNE_ALPACA_EVAL_PYTHON", sys.executable)
PROGRAM = """
import json, sys
import pandas as pd
import alpaca_eval
from alpaca_eval import metrics, utils
from alpaca_eval.metrics import glm_winrate

run, gamed = sys.argv[1:]
glm_winrate.hf_hub_download = lambda **_: gamed
rows = pd.read_json(run + "/annotations.json")
raw = metrics.get_winrate(rows)
level = metrics.get_length_controlled_winrate(rows, save_weights_dir=None, is_add_glm_preference_inplace=False)
bare = metrics.get_length_controlled_winrate(
    rows, glm_name="length_controlled_minimal", save_weights_dir=None, is_add_glm_preference_inplace=False
)
board, _ = alpaca_eval.evaluate(
    model_outputs=None, precomputed_leaderboard=run + "/leaderboard.csv", is_return_instead_of_print=True
)
utils.print_leaderboard(board, "dev", ["length_controlled_winrate", "win_rate", "standard_error", "n_total"])
told = {"raw": raw, "level": level, "bare": bare, "board": board.to_dict(orient="index")}
print(json.dumps(told, default=float))
"""


@pytest.fixture(scope="module", autouse=True)
def _package() -> None:
    found = subprocess.run(
        [PYTHON, "-c", "import alpaca_eval, alpaca_eval.metrics.glm_winrate"], capture_output=True, check=False
    )
    if found.returncode:
        pytest.skip(f"alpaca_eval is not importable by {PYTHON}: see the head of this file")


def reflectune(*words: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["alpaca-eval", *words, "--json"])
    assert result.exit_code == 0, result.output
    [model] = json.loads(result.stdout.splitlines()[-1])["models"]
    return dict(model)


def theirs(run: Path, gamed: Path) -> dict[str, Any]:
    done = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", PROGRAM, str(run), str(gamed)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("soft", [False, True])
def test_the_package_computes_what_we_do(soft: bool, tmp_path: Path) -> None:
    rows, difficulty, _ = simulated(length=-1.4, model=-0.7, hard=0.9, items=200, soft=soft)
    missing = [row.model_copy(update={"preference": None}) if row.index % 50 == 7 else row for row in rows]
    stored, gamed, hard = (tmp_path / name for name in ("stored.json", "df_gamed.csv", "instruction_difficulty.csv"))
    stored.write_text(json.dumps([row.model_dump(exclude={"form", "shown_first"}) for row in missing]))
    with gamed.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ("model", "preference", "index", "std_delta_len", "instruction_difficulty", "not_gamed_baseline")
        )
        for one in gamed_of(difficulty, length=-1.4, hard=0.9):
            writer.writerow(("m", one.share, one.index, one.length, one.difficulty, "False"))
    with hard.open("w", newline="") as stream:
        csv.writer(stream).writerows([("", "instruction_difficulty"), *difficulty.items()])
    run = tmp_path / "run"
    words = ("--annotations", str(stored), "--difficulty", str(hard), "--gamed", str(gamed), "--run", str(run))
    ours = reflectune(*words)
    found = theirs(run, gamed)
    level = ours["length_controlled"]
    assert level["label"] == "official"
    for name in ("win_rate", "standard_error", "discrete_win_rate", "n_wins", "n_wins_base", "n_draws", "n_total"):
        assert found["raw"][name] == pytest.approx(ours[name], abs=1e-9)
    assert found["level"]["length_controlled_winrate"] == pytest.approx(level["value"], abs=1e-3)
    assert found["level"]["lc_standard_error"] == pytest.approx(level["standard_error"], abs=1e-3)
    bare = reflectune("--annotations", str(stored), "--run", str(tmp_path / "bare"))["length_controlled"]
    assert bare["label"] == "approximate"
    assert found["bare"]["length_controlled_winrate"] == pytest.approx(bare["value"], abs=1e-3)
    [(name, line)] = found["board"].items()
    assert name == "model"
    assert line["win_rate"] == pytest.approx(ours["win_rate"])
    assert line["length_controlled_winrate"] == pytest.approx(level["value"])
    assert (line["mode"], line["n_total"]) == ("community", 196)
    assert OFFICIAL["annotator"] == ours["judge"]
