"""The model card of a trained student: what it is made of, how, and how to ask it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import yaml

from reflectune.training.facts import Facts

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_LICENSE_ID = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#~&])")
_QUESTION = "Name three healthy foods."
_IMPORTS = {
    False: "from transformers import AutoModelForCausalLM, AutoTokenizer",
    True: "from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer",
}
_PYTHON = """\
{imports}

folder = "{folder}"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {loader}.from_pretrained(folder)

turns = [{turns}]
prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
reply = model.generate(**prompt, max_new_tokens=512)
print(tokenizer.decode(reply[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))"""


def model_card(facts: Facts) -> str:
    """The card in Markdown, with front matter as the Hugging Face hub reads it."""
    front = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True)
    sections = (_what(facts), _asking(facts), _data(facts), _training(facts), _evaluation(facts), _made_with(facts))
    body = "\n\n".join("\n".join(section) for section in sections)
    return f"---\n{front}---\n\n{body}\n"


def _front_matter(facts: Facts) -> dict[str, Any]:
    front: dict[str, Any] = {}
    if facts.license and _LICENSE_ID.fullmatch(facts.license):
        front["license"] = facts.license
    elif facts.license:
        front |= {"license": "other", "license_name": facts.license}
    if _HUB_ID.fullmatch(facts.base):
        front["base_model"] = facts.base
    if facts.dataset:
        front["datasets"] = [facts.dataset]
    tags = ["reflection-tuning", "instruction-tuning", "sft", "reflectune"]
    if facts.settings.reflection:
        tags.append("reflection")
    if facts.gguf:
        tags.append("gguf")
    library = "peft" if facts.adapters else "transformers"
    return front | {"library_name": library, "pipeline_tag": "text-generation", "tags": tags}


def _what(facts: Facts) -> list[str]:
    how = {"full": "all weights", "lora": "low-rank adapters", "qlora": "low-rank adapters over four-bit weights"}
    trained = how[facts.settings.method]
    if facts.settings.method != "full":
        trained += ", which this folder holds alone" if facts.adapters else ", merged into the model"
    replies = [
        "",
        "It thinks in `<thinking>`, looks back in `<reflection>` and answers in `<output>`: a reader wants what",
        "`<output>` holds.",
    ]
    return [
        f"# {_plain(facts.name)}",
        "",
        f"{_plain(facts.base)}, fine-tuned on {_plain(facts.data)}: {trained}.",
        *(replies if facts.settings.reflection else []),
        "",
        f"Licence, as stated by whoever trained it: {_plain(facts.license or 'not stated')}.",
    ]


def _turns(facts: Facts) -> str:
    """The turns of the example, as Python."""
    turns = [("system", facts.system)] if facts.system else []
    said = (f'{{"role": "{role}", "content": {_quoted(text)}}}' for role, text in (*turns, ("user", _QUESTION)))
    return ", ".join(said) if not turns else "\n    " + ",\n    ".join(said) + ",\n"


def _quoted(text: str) -> str:
    """A text as a literal that neither ends the fence around it nor the line."""
    return json.dumps(text, ensure_ascii=False).replace("`", "\\u0060")


def _asking(facts: Facts) -> list[str]:
    loader = "AutoPeftModelForCausalLM" if facts.adapters else "AutoModelForCausalLM"
    imports = _IMPORTS[facts.adapters]
    program = _PYTHON.format(imports=imports, loader=loader, folder=_word(facts.name), turns=_turns(facts))
    told = f" (hash `{_word(facts.template_hash)}`)" if facts.template_hash else ""
    lines = [
        "## How to ask it",
        "",
        f"It was trained with the prompt template {_plain(facts.template)}{told}, which is saved with its tokenizer:",
        *(("Every row began with the same system prompt: ask with it too.",) if facts.system else ()),
        "",
        *("```python", program, "```"),
    ]
    if not facts.gguf:
        return lines
    file = _word(facts.gguf)
    return [
        *lines,
        "",
        "The same model as one file, for llama.cpp:",
        "",
        *("```bash", f'llama-cli --model {file} --jinja --single-turn --prompt "{_QUESTION}"', "```"),
        "",
        f"reflectune calls it `local:{file}`.",
    ]


def _data(facts: Facts) -> list[str]:
    hashed = f", SHA-256 `{_word(facts.data_sha256)}`" if facts.data_sha256 else ""
    return [
        "## Data",
        "",
        f"{_plain(facts.data)}{hashed}.",
        "",
        *_table(("rows", "count"), facts.told_rows()),
    ]


def _training(facts: Facts) -> list[str]:
    return [
        "## Training",
        "",
        "Losses are in nats a token, over the tokens of the answers that carry loss.",
        "",
        *_table(("figure", "value"), facts.told_figures()),
        "",
        *_table(("setting", "value"), facts.told_settings()),
    ]


def _evaluation(facts: Facts) -> list[str]:
    return ["## Evaluation", "", *_table(("test", "result"), facts.told_evaluation())]


def _made_with(facts: Facts) -> list[str]:
    versions = ", ".join(f"{_plain(name)} {_plain(version)}" for name, version in facts.versions.items())
    return ["## Made with", "", *(f"- {_plain(device)}" for device in facts.devices), f"- {versions or 'reflectune'}"]


def _table(header: tuple[str, str], rows: Iterable[tuple[str, str]]) -> list[str]:
    lines = [f"| {_plain(name)} | {_plain(value)} |" for name, value in rows]
    return [f"| {header[0]} | {header[1]} |", "|---|---|", *lines]


def _plain(text: str) -> str:
    """Text as it is: no Markdown and no markup, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _word(text: str) -> str:
    """A name that may stand in code."""
    return re.sub(r"[^\w./-]", "_", text)
