"""A whole journey in processes: against a server that always says the same, with a student of 40,000 parameters."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from loopback import Loopback
from test_train import tiny

pytestmark = [pytest.mark.server, pytest.mark.model]
ROOT = Path(__file__).parents[1]
KINDS = ("recycle", "gates", "score", "select", "stats", "report", "arms", "train", "generate", "judge", "verdict")
TIMES = re.compile(r"<time[^>]*>.*?</time>", re.DOTALL)


def reflectune(folder: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "reflectune", *words],
        cwd=folder,
        env=os.environ | {"OPENAI_API_KEY": "k"},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def server() -> Any:
    with Loopback() as running:
        yield running


def prepare(folder: Path, server: Loopback, **changes: Any) -> Path:
    """A folder with data, prompts, a student and a recipe."""
    pairs = (ROOT / "examples/pairs.jsonl").read_text(encoding="utf-8").splitlines()[:6]
    prompts = (ROOT / "examples/prompts.jsonl").read_text(encoding="utf-8").splitlines()[:3]
    (folder / "data.jsonl").write_text("\n".join(pairs) + "\n", encoding="utf-8")
    (folder / "prompts.jsonl").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    tiny(folder / "student", tie_word_embeddings=True, bos_token_id=0, eos_token_id=1)
    recipe = {
        "data": "data.jsonl",
        "oracle": {"name": "oracle", "base_url": server.base_url},
        "judge": {"name": "judge", "base_url": server.base_url},
        "student": "./student",
        "max_failed": 1,
        "arms": ["original", "recycled"],
        "recycle": {"versions": "all"},
        "score": {"max_length": 256, "template": "alpaca"},
        "select": {"rule": "random", "take": 5},
        "train": {"max_steps": 2, "max_length": 256, "batch": 2, "held_out": "0", "template": "alpaca"},
        "prompts": ["prompts.jsonl"],
        "generate": {"max_tokens": 8},
        "coherence": False,
        **changes,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, server: Loopback) -> Path:
    """A journey from start to end, in one go."""
    folder = prepare(tmp_path_factory.mktemp("whole"), server)
    done = reflectune(folder, "run", "recipe.yaml")
    assert "recycled" in done.stdout
    (folder / "first.html").write_text(page(folder), encoding="utf-8")
    return folder


def state(folder: Path) -> dict[str, Any]:
    path = folder / "runs/recipe/pipeline.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["stages"]
    except FileNotFoundError:
        return {}
    return found


def page(folder: Path) -> str:
    return TIMES.sub("<time>", (folder / "runs/recipe/verdict.html").read_text(encoding="utf-8"))


def test_a_journey_ends_with_its_verdict_and_every_stage_is_done(whole: Path) -> None:
    stages = state(whole)
    assert {stage["state"] for stage in stages.values()} == {"done"}
    assert tuple(dict.fromkeys(stage["kind"] for stage in stages.values())) == KINDS
    assert stages["recycle"]["spent"]["requests"] == stages["recycle"]["summary"]["requests"] > 0
    arms = json.loads((whole / "runs/recipe/arms/arms.json").read_text())
    assert arms["original"]["rows"] == 6
    assert arms["recycled"]["rows"] == 5


def test_a_journey_is_listed_with_its_data(whole: Path) -> None:
    told = reflectune(whole, "runs", "list").stdout.splitlines()
    assert told[0] == f"runs/recipe  a journey: {len(state(whole))} stages done"
    assert told[1].startswith("runs/recipe/data  6 rows")


def test_what_has_not_changed_is_not_done_again(whole: Path, server: Loopback) -> None:
    before, asked = state(whole), server.stats()["requests"]
    told = reflectune(whole, "run", "recipe.yaml").stderr
    assert told.count("done before") == len(before)
    assert state(whole) == before
    assert server.stats()["requests"] == asked


def test_a_plan_says_what_is_done_and_what_is_left(whole: Path) -> None:
    plan = json.loads(reflectune(whole, "run", "recipe.yaml", "--dry-run", "--json", "--set", "seeds=[0,1]").stdout)
    left = [stage["key"] for stage in plan["stages"] if stage["state"] != "done"]
    assert "train/original-1" in left
    assert "train/original-0" not in left
    assert "recycle" not in left


def test_a_change_does_over_what_depends_on_it_and_nothing_else(whole: Path) -> None:
    before = state(whole)
    reflectune(whole, "run", "recipe.yaml", "--set", "generate.max_tokens=6")
    again = {key for key, stage in state(whole).items() if stage["fingerprint"] != before[key]["fingerprint"]}
    assert {key.partition("/")[0] for key in again} == {"answer", "judge", "verdict"}
    reflectune(whole, "run", "recipe.yaml")


def test_killed_in_every_stage_and_resumed_it_ends_with_the_same_page(
    whole: Path, server: Loopback, tmp_path: Path
) -> None:
    prepare(tmp_path, server)
    for kind in KINDS:
        kill_in(tmp_path, kind)
    reflectune(tmp_path, "run", "recipe.yaml")
    stages = state(tmp_path)
    assert {stage["state"] for stage in stages.values()} == {"done"}
    begun_again = {stage["kind"] for stage in stages.values() if stage["attempts"] > 1}
    assert begun_again == set(KINDS)
    assert page(tmp_path) == (whole / "first.html").read_text(encoding="utf-8")


def kill_in(folder: Path, kind: str) -> None:
    """Begin or go on, and kill everything as soon as a stage of this kind runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "reflectune", "run", "recipe.yaml", "--quiet"],
        cwd=folder,
        env=os.environ | {"OPENAI_API_KEY": "k"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        wait_for(
            lambda: any(one["kind"] == kind and one["state"] == "running" for one in state(folder).values()), process
        )
        time.sleep(0.3)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_stage_dies_with_a_journey_that_is_killed_and_the_run_is_free(server: Loopback, tmp_path: Path) -> None:
    with Loopback("--latency-ms", "2000") as slow:
        prepare(tmp_path, slow)
        process = subprocess.Popen(
            [sys.executable, "-m", "reflectune", "run", "recipe.yaml", "--quiet"],
            cwd=tmp_path,
            env=os.environ | {"OPENAI_API_KEY": "k"},
            stderr=subprocess.PIPE,
        )
        wait_for((tmp_path / "runs/recipe/data/state.sqlite").exists, process)
        process.kill()
        process.communicate()
    time.sleep(0.5)
    done = reflectune(tmp_path, "recycle", "data.jsonl", "--run", "runs/recipe/data", "--dry-run", "--oracle", "m")
    assert done.returncode == 0


def test_what_would_stop_a_later_stage_is_found_before_the_first(tmp_path: Path, server: Loopback) -> None:
    prepare(tmp_path, server)
    for changed, told in {"prompts=[missing.jsonl]": "missing.jsonl", "data=gone.jsonl": "gone.jsonl"}.items():
        done = reflectune(tmp_path, "run", "recipe.yaml", "--set", changed, check=False)
        assert done.returncode == 1
        assert told in done.stderr
    done = reflectune(tmp_path, "run", "recipe.yaml", "--set", "train.needs_gpu=true", check=False)
    assert done.returncode == 2
    assert "--until arms" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_stage_that_fails_stops_the_journey_and_says_how_it_goes_on(tmp_path: Path, server: Loopback) -> None:
    prepare(tmp_path, server, max_failed=0)
    with (tmp_path / "data.jsonl").open("a", encoding="utf-8") as data:
        data.write('{"instruction": "", "output": "An answer to nothing."}\n')
    done = reflectune(tmp_path, "run", "recipe.yaml", check=False)
    assert done.returncode == 3
    assert "recycle the data ended with exit code 3" in done.stderr
    assert "--set max_failed" in done.stderr
    reflectune(tmp_path, "run", "runs/recipe", "--until", "recycle", "--set", "max_failed=0.2")
    assert state(tmp_path)["recycle"]["state"] == "done"


def test_a_budget_is_one_for_all_stages(tmp_path: Path, server: Loopback) -> None:
    (tmp_path / "prices.yaml").write_text("oracle: {input: 1000, output: 1000}\njudge: {input: 1000, output: 1000}\n")
    prepare(tmp_path, server, budget=15.0, prices="prices.yaml")
    done = reflectune(tmp_path, "run", "recipe.yaml", check=False)
    assert done.returncode == 4, done.stderr
    assert "--set budget" in done.stderr
    spent = state(tmp_path)["recycle"]["spent"]["cost"]
    assert 0 < spent <= 15.0
