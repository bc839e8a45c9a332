"""A server that returns the log-probabilities of prompts, computed by a real model the plain way.

As vLLM does, where `prompt_logprobs` are asked for, or as OpenAI did, with `echo` and `logprobs`.

    python tests/prompt_server.py FOLDER [--busy-every N] [--longest N] [--silent]

Prints its base URL, and serves until it is ended.
"""

from __future__ import annotations

import argparse
import socket
from typing import Any

import torch
from aiohttp import web
from transformers import AutoModelForCausalLM, AutoTokenizer


class Endpoint:
    """POST /v1/completions with `prompt_logprobs` or `echo`."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags
        self.model: Any = AutoModelForCausalLM.from_pretrained(flags.folder, dtype=torch.float32).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(flags.folder)
        self.asked = 0

    async def complete(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.flags.busy_every and self.asked % self.flags.busy_every == 0:
            return web.json_response({"error": {"message": "busy"}}, status=503, headers={"Retry-After": "0"})
        body = await request.json()
        tokens = body["prompt"]
        if self.flags.longest and len(tokens) > self.flags.longest:
            text = f"This model's maximum context length is {self.flags.longest} tokens, but there are {len(tokens)}."
            error = {"message": text, "type": "BadRequestError", "code": 400}
            return web.json_response({"error": error}, status=400)
        if body.get("echo"):
            texts = tokens if isinstance(tokens[0], list) else [tokens]
            choices = [self.echoed(index, text) for index, text in enumerate(texts)]
            return web.json_response({"object": "text_completion", "choices": choices})
        choice: dict[str, Any] = {"index": 0, "text": "x", "finish_reason": "length"}
        if not self.flags.silent:
            choice["prompt_logprobs"] = self.of(tokens)
        return web.json_response({"object": "text_completion", "choices": [choice]})

    def echoed(self, index: int, tokens: list[int]) -> dict[str, Any]:
        """A prompt, and one more token, as OpenAI's old completions echo them."""
        if self.flags.silent:
            return {"index": index, "text": "x", "finish_reason": "length", "logprobs": None}
        found = self.of([*tokens, tokens[-1]])
        own = [
            None if entry is None else entry[str(token)]["logprob"]
            for entry, token in zip(found, [*tokens, tokens[-1]], strict=True)
        ]
        likely = [None if entry is None else {name: said["logprob"] for name, said in entry.items()} for entry in found]
        return {"index": index, "logprobs": {"token_logprobs": own, "top_logprobs": likely}, "finish_reason": "length"}

    def of(self, tokens: list[int]) -> list[Any]:
        with torch.no_grad():
            said = torch.log_softmax(self.model(torch.tensor([tokens])).logits[0].double(), dim=-1)
        found: list[Any] = [None]
        for before, token in enumerate(tokens[1:]):
            entry = {str(int(said[before].argmax())): {"logprob": float(said[before].max()), "rank": 1}}
            entry[str(token)] = {
                "logprob": float(said[before, token]),
                "rank": 2,
                "decoded_token": self.tokenizer.decode([token]),
            }
            found.append(entry)
        return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--busy-every", type=int, default=0)
    parser.add_argument("--longest", type=int, default=0)
    parser.add_argument("--silent", action="store_true")
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/completions", Endpoint(parser.parse_args()).complete)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"

        async def told(_: web.Application) -> None:
            print(url, flush=True)  # noqa: T201 - for whoever started it

        app.on_startup.append(told)
        web.run_app(app, sock=listening, print=None)


if __name__ == "__main__":
    main()
