"""Scores the obvious way: one text at a time, the logits of every place, nothing shared, nothing clever.

What the fast way is compared with, written from the description of the two conventions and not from the fast code.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: {} ASSISTANT:"
)


class PlainScorer:
    """A model folder that scores one version at a time.

    Args:
        folder: A transformers folder.
        convention: `exact` with the chat template, or `published` with vicuna's.
        request: The request to guess an instruction, with `{{response}}` in it.
        max_length: The most tokens.
    """

    def __init__(self, folder: str | Path, convention: str, request: str, max_length: int = 2048) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.convention = convention
        self.request = request
        self.max_length = max_length

    def score(self, instruction: str, material: str, response: str) -> dict[str, float]:
        """Four losses, IFD and r-IFD of one version."""
        question = f"{instruction}\n\n{material}" if material else instruction
        request = self.request.replace("{{response}}", response)
        if self.convention == "exact":
            response_given, response_alone = self._exact(self._chat(question), response)
            instruction_given, instruction_alone = self._exact(self._chat(request), question)
        else:
            asked = f"{instruction}\nInput:\n{material}" if material else instruction
            response_given, response_alone = self._published(VICUNA.format(asked), response, response)
            joined = instruction + material
            instruction_given, instruction_alone = self._published(VICUNA.format(request), joined, instruction)
        return {
            "response_loss_conditioned": response_given,
            "response_loss_alone": response_alone,
            "instruction_loss_conditioned": instruction_given,
            "instruction_loss_alone": instruction_alone,
            "ifd_ppl": math.exp(response_given - response_alone),
            "rifd_ppl": math.exp(instruction_given - instruction_alone),
        }

    def _chat(self, text: str) -> str:
        turns = [{"role": "user", "content": text}]
        prompt: str = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return prompt

    def _exact(self, prompt: str, target: str) -> tuple[float, float]:
        read = self.tokenizer(prompt + target, add_special_tokens=False, return_offsets_mapping=True)
        tokens, spans = read["input_ids"][: self.max_length], read["offset_mapping"][: self.max_length]
        text = target[: spans[-1][1] - len(prompt)]
        if not text or spans[-1][1] <= len(prompt):
            return math.nan, math.nan  # nothing of the target fits
        alone = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        # This tokenizer adds no BOS: nothing predicts the first token alone, so its characters count nowhere.
        begins = len(prompt) + alone["offset_mapping"][0][1]
        given = self._loss(tokens, [end > begins for _, end in spans])
        return given, self._loss(alone["input_ids"], [place > 0 for place in range(len(alone["input_ids"]))])

    def _published(self, prompt: str, target: str, anchor: str) -> tuple[float, float]:
        text = prompt + target
        tokens = self.tokenizer.encode(text, truncation=True, max_length=self.max_length)
        before = len(self.tokenizer.encode(text[: text.rfind(anchor)]))
        of_prompt = len(self.tokenizer.encode(prompt, truncation=True, max_length=self.max_length))
        left = self.max_length - of_prompt + 1
        alone = self.tokenizer.encode(target, truncation=True, max_length=left)
        return self._loss(tokens, [place >= before for place in range(len(tokens))]), self._loss(
            alone, [True] * len(alone)
        )

    def _loss(self, tokens: list[int], scored: list[bool]) -> float:
        ids = torch.tensor([tokens])
        labels = ids.clone()
        labels[0, ~torch.tensor(scored)] = -100
        with torch.no_grad():
            loss: float = self.model(ids, labels=labels).loss.item()
        return loss
