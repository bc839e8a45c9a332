"""2,000 rewrite jobs at 200 ms against bespokelabs-curator and distilabel, each in its own environment.

    python bench/peers.py

One request for each job, with the same rubric and rows, for the same critique and rewrite in JSON, which everybody
validates and writes to a file; ours also judges it, and has it on the disk before it asks for more. The peers have no
limit of rate and no cache. curator may have as many requests in flight as ours. distilabel has no such number: it asks
for a batch at once and waits for its slowest answer; it is measured with the batch of 50 that it comes with, and, for
comparison, with a batch as large as what ours has in flight. What is compared is the time from the first request to the
last file that is written; start-up is printed beside it.

Environments are made below REFLECTUNE_PEERS, by default `.proof/peers`, where they are not there yet.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from measure import TESTS, finished, save
from on_real_rows import PROOF, cherry

ROWS = 2000
CONCURRENCY = 1024
LATENCY_MS = 200
PEERS = Path(os.environ.get("REFLECTUNE_PEERS", PROOF / "peers"))
PACKAGES = {"curator": ("bespokelabs-curator",), "distilabel": ("distilabel[openai]", "requests")}
MODULES = {"curator": "bespokelabs.curator", "distilabel": "distilabel.models"}
WAYS = {
    "curator": ("curator", CONCURRENCY, 4.0),
    "distilabel": ("distilabel", 50, 8.0),
    "distilabel, large batch": ("distilabel", CONCURRENCY, None),
}
"""The peer, how many requests it has in flight, and how many times as long as ours it takes at the least."""
QUIET = {
    "CURATOR_DISABLE_CACHE": "1",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "TELEMETRY_ENABLED": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OPENAI_API_KEY": "none",
}
"""The peers' own switches: nothing is taken from a cache and nothing is sent anywhere."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job cost.

    Attributes:
        job_s: Seconds of the job.
        wall_s: Seconds from the start of the process to its end.
        cpu_s: Seconds of processor time of the process and its children, start-up included.
        peak_mb: The most memory that they had together (proportional set size), in MB of 10**6 bytes.
        answers: How many jobs were answered.
    """

    job_s: float
    wall_s: float
    cpu_s: float
    peak_mb: float
    answers: int


class Memory(threading.Thread):
    """Watches how much memory a session of processes has.

    Args:
        session: The session, which is the first process's id.

    Attributes:
        peak_mb: The most so far.
    """

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0.0
        self._session = session
        self._ended = threading.Event()

    def run(self) -> None:
        """Look every quarter of a second."""
        while not self._ended.wait(0.25):
            self.peak_mb = max(self.peak_mb, sum(map(self._held, Path("/proc").glob("[0-9]*"))))

    def end(self) -> float:
        """Stop looking; returns the most that was seen."""
        self._ended.set()
        self.join()
        return self.peak_mb

    def _held(self, process: Path) -> float:
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) != self._session:
                return 0.0
            lines = (process / "smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            return 0.0
        return sum(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))


def environment(peer: str) -> Path:
    """The interpreter of a peer's environment, which is made where it is not there yet.

    Raises:
        subprocess.CalledProcessError: It cannot be made, or the peer cannot be installed.
    """
    folder = PEERS / peer
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"Installing {', '.join(PACKAGES[peer])} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    importable = [str(python), "-c", f"import {MODULES[peer]}"]
    with tempfile.TemporaryDirectory() as home:
        quiet = variables(peer, Path(home))
        if subprocess.run(importable, env=quiet, capture_output=True, check=False).returncode:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES[peer]], check=True)
            subprocess.run(importable, env=variables(peer, Path(home)), check=True)
    return python


def variables(peer: str, home: Path) -> dict[str, str]:
    """The environment variables of a peer, with a home folder of its own and the encoding that it would download."""
    found = os.environ | QUIET | {"HOME": str(home), "CURATOR_CACHE_DIR": str(home / "curator")}
    for shipped in (PEERS / peer).glob("lib/python*/site-packages/litellm/litellm_core_utils/tokenizers"):
        found["TIKTOKEN_CACHE_DIR"] = str(home / "encodings")
        shutil.copytree(shipped, home / "encodings", dirs_exist_ok=True)
    return found


def jobs_file(folder: Path, rows: int) -> Path:
    """The conversations that ours has with the oracle, a JSON object a line.

    Each has the rubric a second time with the schema in it, for who cannot have the endpoint enforce it.
    """
    from reflectune import Message, open_source
    from reflectune.criteria import ResponseReflection, schema_of
    from reflectune.oracles.capabilities import Capabilities
    from reflectune.prompts import Prompts
    from reflectune.records import Request
    from reflectune.recycling.structured import shown

    system = Prompts(None).text("en", "structured_response.txt")
    asked = Request((Message("system", system),), schema=schema_of(ResponseReflection))
    with_schema = Capabilities(schema_mode="json_object").payload("", asked)["messages"][0].content
    examples = (row.example for row in itertools.islice(open_source(str(cherry())).rows(), rows))
    jobs = [
        {
            "system": system,
            "system_with_schema": with_schema,
            "user": orjson.dumps(shown(example, example.version)).decode(),
        }
        for example in examples
        if example is not None
    ]
    path = folder / "jobs.jsonl"
    path.write_bytes(b"".join(orjson.dumps(job) + b"\n" for job in jobs))
    return path


def cost_of(command: list[str], env: dict[str, str], base_url: str, folder: Path) -> Cost:
    """Run a command that does the jobs.

    Args:
        command: It ends by printing a JSON object: `answers`, and when the job `ended`; or it is ours.
        env: Its environment variables.
        base_url: The server that it asks.
        folder: Its working folder.
    """
    from loopback import stats_of

    log = folder / "log.txt"
    started = time.time()
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        assert process.stdout is not None
        memory = Memory(process.pid)
        memory.start()
        said = process.stdout.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        ended = time.time()
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text(errors='replace')[-3000:]}")
    told = json.loads(said[-1])
    began = stats_of(base_url)["first_at"]
    if "rewritten" in told:  # ours; the card is the last file that it writes
        job_s, answers = (folder / "run" / "README.md").stat().st_mtime - began, told["rewritten"]
    else:
        job_s, answers = told["ended"] - began, told["answers"]
    return Cost(
        job_s=round(job_s, 3),
        wall_s=round(ended - started, 3),
        cpu_s=round(usage.ru_utime + usage.ru_stime, 3),
        peak_mb=round(memory.end(), 1),
        answers=answers,
    )


def measured(who: str, python: Path, rows: int, concurrency: int) -> Cost:
    """Let ours (`reflectune`) or a peer do the jobs against a fresh server."""
    from loopback import Loopback

    with Loopback("--latency-ms", str(LATENCY_MS)) as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if who in PACKAGES:
            script = Path(__file__).with_name(f"peer_{who}.py")
            command = [str(script), str(jobs_file(folder, rows)), server.base_url, str(concurrency)]
            env = variables(who, folder)
        else:
            command = ["-m", "reflectune", "recycle", str(cherry()), "--limit", str(rows), "--reflect", "response"]
            command += ["--oracle", "loopback", "--base-url", server.base_url, "--json", "--quiet"]
            command += ["--max-concurrency", str(concurrency), "--run", str(folder / "run")]
            env = dict(os.environ)
        return cost_of([str(python), *command], env, server.base_url, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    parser.add_argument("--rows", type=int, default=ROWS, help="fewer jobs; then nothing is saved")
    arguments = parser.parse_args()
    if arguments.resume and finished("peers"):
        return
    sys.path.insert(0, str(TESTS))
    ours, costs, missing = measured("reflectune", Path(sys.executable), arguments.rows, CONCURRENCY), {}, {}
    show("reflectune", ours, arguments.rows)
    for way, (peer, concurrency, _) in WAYS.items():
        try:
            python = environment(peer)
        except (OSError, subprocess.CalledProcessError) as error:
            missing[peer] = str(error)
            print(f"{peer} cannot be installed here: {error}")
            continue
        costs[way] = measured(peer, python, arguments.rows, concurrency)
        show(way, costs[way], arguments.rows)
    ratios = {way: cost.job_s / ours.job_s for way, cost in costs.items()}
    bounds = {way: bound for way, (*_, bound) in WAYS.items() if bound}
    for way, ratio in ratios.items():
        bound = f", bound {bounds[way]:.0f}" if way in bounds else ""
        print(f"{way:24} takes {ratio:5.1f} times as long{bound}")
    answered = all(cost.answers == arguments.rows for cost in (ours, *costs.values()))
    if arguments.rows != ROWS or not ratios:
        return
    save(
        "peers",
        met=answered and all(ratios[way] >= bounds[way] for way in bounds if way in ratios),
        reflectune=asdict(ours),
        peers={way: asdict(cost) for way, cost in costs.items()},
        cannot_be_installed=missing,
        ratios=ratios,
        bounds=bounds,
        in_flight={"reflectune": CONCURRENCY} | {way: concurrency for way, (_, concurrency, _) in WAYS.items()},
    )


def show(who: str, cost: Cost, rows: int) -> None:
    print(
        f"{who:24} {cost.job_s:7.2f} s for {cost.answers} of {rows} jobs,"
        f" {cost.wall_s:7.2f} s with start-up, {cost.cpu_s:6.2f} s CPU, {cost.peak_mb:.0f} MB at most"
    )


if __name__ == "__main__":
    main()
