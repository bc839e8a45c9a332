"""Rewrite jobs by bespokelabs-curator, in its own interpreter: `peer_curator.py JOBS BASE_URL CONCURRENCY`.

With structured output, as its manual shows it. Prints when the job ended (seconds since 1970) and how many
answers there are, as one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from bespokelabs import curator

from peer_reply import Rewrite

_NO_LIMIT = 10**9


class Rewriter(curator.LLM):
    """One completion for each job."""

    response_format = Rewrite

    def prompt(self, input: dict[str, Any]) -> list[dict[str, str]]:  # noqa: A002 - the base class's name
        """The conversation."""
        return [{"role": "system", "content": input["system"]}, {"role": "user", "content": input["user"]}]

    def parse(self, input: dict[str, Any], response: Rewrite) -> dict[str, str]:  # noqa: A002
        """The row with what came of it."""
        return input | {"critique": response.response_critique.model_dump_json(), "answer": response.response}


def main() -> None:
    jobs_file, base_url, concurrency = sys.argv[1:]
    jobs = [json.loads(line) for line in Path(jobs_file).read_text(encoding="utf-8").splitlines()]
    rewriter = Rewriter(
        model_name="loopback",
        backend="openai",
        backend_params={
            "base_url": base_url,
            "api_key": "none",
            "max_concurrent_requests": int(concurrency),
            "max_requests_per_minute": _NO_LIMIT,
            "max_tokens_per_minute": _NO_LIMIT,
        },
        generation_params={"temperature": 0.0, "max_tokens": 2048},
    )
    answers = rewriter(jobs).dataset
    answers.to_json("answers.jsonl")
    ended = time.time()
    written = sum(bool(row["answer"]) for row in answers)
    print(json.dumps({"ended": ended, "answers": written}), flush=True)


if __name__ == "__main__":
    main()
