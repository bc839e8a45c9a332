"""alpaca-eval's own annotator on the pairs of `judging.py`, in an environment of its own.

    python bench/peer_alpaca_eval.py                            # its time beside what judging.py has saved
    peer_alpaca_eval.py PAIRS BASE_URL CONCURRENCY CHUNK        # what the peer's interpreter runs

Both orders of every pair, as ours: the annotator is called a second time with the outputs swapped, and does not shuffle
them itself. It asks for a word and finds it by a regular expression; the loopback server's sentences pass for the first
answer. It writes its annotations to a JSON file after each chunk. By default it asks for 128 pairs and waits for the
slowest answer before the next 128; for comparison it is also given all pairs as one chunk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PEER = "alpaca_eval"
PACKAGE = "alpaca-eval==0.6.6"
CHUNKS = {"as it comes": 128, "one chunk": 0}
"""How many pairs are asked about before the answers are waited for; 0 for all."""
_ARGUMENTS = 4
_PATIENCE = 300.0
_PROMPT = """<|im_start|>system
You compare two answers to an instruction.
<|im_end|>
<|im_start|>user
Instruction:
{instruction}

Answer (a):
{output_1}

Answer (b):
{output_2}

Which answer is better, (a) or (b)? Reply with the letter.
<|im_end|>"""
_CONFIG = """loopback:
  prompt_template: "loopback/prompt.txt"
  fn_completions: "openai_completions"
  completions_kwargs:
    model_name: "gpt-4-loopback"
    max_tokens: 50
    temperature: 0
  completion_parser_kwargs:
    outputs_to_match:
      1: '(?s)^.+'
      2: 'No answer at all'
  is_randomize_output_order: false
  batch_size: 1
"""


def beside(concurrency: int, latency_ms: int) -> dict[str, Any]:
    """What the peer takes for the pairs of `judging.py`; why not, where it cannot be made to run.

    Args:
        concurrency: How many requests it may have in flight.
        latency_ms: How long each answer takes.
    """
    import peers
    from judging import pairs
    from loopback import Loopback

    peers.PACKAGES[PEER] = (PACKAGE,)
    peers.MODULES[PEER] = PEER
    try:
        python = peers.environment(PEER)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{PEER} cannot be installed here: {error}")
        return {"cannot_be_installed": str(error)}
    found: dict[str, Any] = {}
    for way, chunk in CHUNKS.items():
        with Loopback("--latency-ms", str(latency_ms)) as server, tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            asked = [
                {"instruction": pair.question.question, "output_1": pair.a, "output_2": pair.b} for pair in pairs()
            ]
            (folder / "pairs.json").write_text(json.dumps(asked))
            words = [str(folder / "pairs.json"), server.base_url, str(concurrency), str(chunk)]
            env = peers.variables(PEER, folder) | {"OPENAI_API_KEY": "k", "OPENAI_MAX_CONCURRENCY": str(concurrency)}
            (folder / "clients.yaml").write_text(f'default:\n  - api_key: "k"\n    base_url: "{server.base_url}"\n')
            env["OPENAI_CLIENT_CONFIG_PATH"] = str(folder / "clients.yaml")
            # -P: a file beside this one is called as the peer's package is
            command = [str(python), "-P", str(Path(__file__).resolve()), *words]
            why = None
            try:
                done = subprocess.run(
                    command, env=env, cwd=folder, capture_output=True, text=True, check=False, timeout=_PATIENCE
                )
                why = done.stderr[-2000:] if done.returncode else None
            except subprocess.TimeoutExpired:
                why = f"not finished within {_PATIENCE:.0f} s"
            if why is not None:
                print(f"{PEER}, {way}: does not run here: {why.strip().splitlines()[-1]}")
                return found | {way: {"does_not_run": why}}
            found[way] = json.loads(done.stdout.splitlines()[-1]) | {"requests": server.stats()["answered"]}
            told = found[way]
            print(f"{PEER}, {way}: {told['wall_s']:.2f} s for {told['requests']} requests, {told['cpu_s']:.1f} s CPU")
    return found


def annotate(pairs_file: str, concurrency: int, chunk: int) -> dict[str, float]:
    """Annotate both orders of every pair; only that is timed. Runs in the peer's interpreter."""
    from alpaca_eval.annotators import PairwiseAnnotator

    folder = Path(pairs_file).parent / "loopback"
    folder.mkdir()
    (folder / "prompt.txt").write_text(_PROMPT)
    (folder / "configs.yaml").write_text(_CONFIG)
    pairs = json.loads(Path(pairs_file).read_text())
    first, second = (
        [{"instruction": pair["instruction"], "output": pair[side]} for pair in pairs]
        for side in ("output_1", "output_2")
    )
    annotator = PairwiseAnnotator(annotators_config="loopback", base_dir=folder.parent, seed=None)
    wall, cpu = time.perf_counter(), time.process_time()
    annotations = []
    for one, other in ((first, second), (second, first)):
        annotations += annotator.annotate_head2head(
            one, other, is_ordered=True, chunksize=chunk or None, num_procs=concurrency
        )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    judged = sum(row["preference"] == row["preference"] for row in annotations)  # NaN is not itself
    return {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3), "annotations": judged}


def main() -> None:
    if len(sys.argv) > _ARGUMENTS:
        pairs_file, _, concurrency, chunk = sys.argv[1:]
        print(json.dumps(annotate(pairs_file, int(concurrency), int(chunk))), flush=True)
        return
    from measure import TESTS

    sys.path.insert(0, str(TESTS))
    from judging import CONCURRENCY, LATENCY_MS

    beside(CONCURRENCY, LATENCY_MS)


if __name__ == "__main__":
    main()
