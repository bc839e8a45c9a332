"""A model served by vLLM within the pipeline: Ray Data's own LLM processor writes the replies.

    prompts without a reply (driver) -> vLLM engines, one to a worker -> the keeper -> what became of each (driver)

It lets new prompts in where old ones are done, so that a GPU is never waiting for the longest reply of a batch.
"""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reflectune.cluster.told import Trouble
from reflectune.cluster.work import Model
from reflectune.cluster.worker import landed
from reflectune.generation import STAGE, Generated, Prompt
from reflectune.optional import load_optional
from reflectune.recipe import GenerateSettings
from reflectune.records import Failure, Record, Reply, Request, Sampling

__all__ = ["Writing", "generated", "has_vllm", "row_in", "row_out", "written"]

_BATCH = 64
_ERROR = "__inference_error__"
_REFUSED = "engine-error"


@dataclass(frozen=True, slots=True)
class Writing:
    """Prompts are answered by vLLM.

    Attributes:
        model: The model: a folder, or `hf:` and its id.
        settings: How it answers.
        told: The replies.
    """

    model: Model
    settings: GenerateSettings
    told: bool = True

    @property
    def wants_gpu(self) -> bool:
        """Whether it takes a GPU."""
        return self.model.wants_gpu

    @property
    def source(self) -> str:
        """The model's folder or id, as vLLM wants it."""
        return self.model.name.removeprefix("hf:")

    @property
    def name(self) -> str:
        """Who writes, as a part of every request's key: not the same as transformers, whose numbers differ."""
        return f"vllm:{self.source}"

    def request(self, prompt: Prompt) -> Request:
        """What is asked for a prompt."""
        return Request(prompt.messages, self.settings.sampling(Sampling()), sample=prompt.sample)


def has_vllm() -> bool:
    """Whether vLLM is installed on the driver's node, and so, with the same packages, on all."""
    return importlib.util.find_spec("vllm") is not None


def written(ray: Any, source: Any, keeper: Any, work: Writing, workers: int) -> Any:
    """The dataset of what becomes of prompts."""
    llm = load_optional("ray.data.llm", "hf: models by vLLM", "ray")
    config = llm.vLLMEngineProcessorConfig(
        model_source=work.source,
        concurrency=(workers, workers),
        batch_size=_BATCH,
        should_continue_on_error=True,
        log_engine_metrics=False,
    )

    def begin(row: dict[str, Any]) -> dict[str, Any]:
        return row_in(work, row)

    def keep(block: Any) -> Any:
        """Hand over the replies; they count once they are durable."""
        rows = [row_out(work, row) for row in block.to_pylist()]
        replies = [(request, reply) for request, reply, _ in rows if reply is not None]
        [outcome] = ray.get(keeper.carry.remote("", [("replies", (work.name, replies))]))
        if isinstance(outcome, Trouble):
            raise outcome.error()
        records = [record for *_, record in rows]
        failed = [record.reason if isinstance(record, Failure) else None for record in records]
        ray.get(keeper.carry.remote("", [("land", (failed,))]))
        return landed(records, told=True)

    processor = llm.build_processor(config, preprocess=begin)
    return processor(source).map_batches(keep, batch_size=None, batch_format="pyarrow", num_cpus=0)


def row_in(work: Writing, row: Mapping[str, Any]) -> dict[str, Any]:
    """A prompt as the processor wants it."""
    prompt: Prompt = pickle.loads(row["row"])  # noqa: S301 - packed by our own driver
    request = work.request(prompt)
    sampling = request.sampling
    drawn = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": sampling.seed,
    }
    return {
        "row": row["row"],
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages],
        "sampling_params": {name: value for name, value in drawn.items() if value is not None},
    }


def row_out(work: Writing, row: Mapping[str, Any]) -> tuple[Request, Reply | None, Record]:
    """What the processor made of a prompt: the request, the reply, and what becomes of the row."""
    prompt: Prompt = pickle.loads(row["row"])  # noqa: S301 - packed by our own driver
    request = work.request(prompt)
    if row.get(_ERROR):
        detail = str(row[_ERROR]).strip().partition("\n")[0]
        return request, None, Failure(id=prompt.id, stage=STAGE, reason=_REFUSED, detail=detail)
    tokens = int(row["num_generated_tokens"])
    reply = Reply(
        text=row["generated_text"],
        # The processor does not say why a reply ended.
        finish_reason="length" if tokens >= request.sampling.max_tokens else "stop",
        prompt_tokens=int(row["num_input_tokens"]),
        completion_tokens=tokens,
    )
    return request, reply, generated(prompt, reply)


def generated(prompt: Prompt, reply: Reply) -> Generated:
    """A reply as what became of a prompt."""
    return Generated(
        id=prompt.id,
        text=reply.text,
        finish_reason=reply.finish_reason,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
    )
