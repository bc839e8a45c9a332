"""Rewrite jobs by distilabel, in its own interpreter: `peer_distilabel.py JOBS BASE_URL CONCURRENCY`.

With JSON output, which a step of its own validates. Prints when the job ended (seconds since 1970) and how
many answers there are, as one JSON object.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts, StepInput, step
from distilabel.steps.tasks import TextGeneration

from peer_reply import Rewrite


# distilabel looks at the type itself, so this module does not put off reading its annotations.
@step(inputs=["generation"], outputs=["critique", "answer"])
def validated(inputs: StepInput) -> Any:
    """Add what the JSON of each answer holds."""
    for row in inputs:
        value = Rewrite.model_validate_json(row["generation"])
        row |= {"critique": value.response_critique.model_dump_json(), "answer": value.response}
    yield inputs


def main() -> None:
    jobs_file, base_url, concurrency = sys.argv[1:]
    jobs = [json.loads(line) for line in Path(jobs_file).read_text(encoding="utf-8").splitlines()]
    rows = [{"system_prompt": job["system_with_schema"], "instruction": job["user"]} for job in jobs]
    at_once = int(concurrency)  # a batch is asked all at once, and the next one after its last answer
    with Pipeline(name="rewrite") as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=at_once)
        llm = OpenAILLM(
            model="loopback",
            base_url=base_url,
            api_key="none",
            generation_kwargs={
                "temperature": 0.0,
                "max_new_tokens": 2048,
                "response_format": {"type": "json_object"},
            },
        )
        write = TextGeneration(llm=llm, input_batch_size=at_once)
        load >> write >> validated(input_batch_size=at_once)
    answers = pipeline.run(use_cache=False)["default"]["train"]
    answers.to_json("answers.jsonl")
    ended = time.time()
    written = sum(bool(text) for text in answers["answer"])
    print(json.dumps({"ended": ended, "answers": written}), flush=True)


if __name__ == "__main__":
    main()
