"""Values that satisfy a JSON schema, made of the words of the request that asks for them.

Not a language model: it takes a few words of the row and sets them into sentences, so that rows get different texts in
their own language, none of them a copy, a loop or a refusal, and the same request always gets the same.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

TAIL = 3000
_LATIN = re.compile(r"[A-Za-z]{4,14}")
_CHINESE = re.compile(r"[\u4e00-\u9fff]{2,6}")
_STOP = frozenset(
    re.findall(
        r"\w+",
        """
        instruction response input output example original rewritten improved better critique system user assistant
        message this that with from have will your what which when where there their they them then than into about
        reply json value does need only each some such very more most must should could would these those here also
        been were
        """,
    )
)

_ENGLISH = {
    "ask": (
        "Explain how {a} and {b} are related, and support each step with a concrete case about {c}.",
        "Describe the role that {a} plays in {b}, then name two limits of {c} and say how to deal with them.",
        "Compare {a} with {b} for a reader who has just met {c}, and close with one practical piece of advice.",
        "A colleague has to decide between {a} and {b}. Weigh three arguments about {c} against each other.",
        "Write a short guide to {a} that defines {b} first and then works through one question about {c}.",
        "Give reasons for and against relying on {a} when {b} is uncertain, using {c} as the test case.",
    ),
    "tell": (
        "It helps to begin with {a}, because everything that follows depends on it.",
        "Once that is clear, {b} can be looked at by itself, without losing sight of {c}.",
        "A common mistake is to treat {c} as if it were the same thing as {a}.",
        "In practice people notice {b} first, and only later ask where it comes from.",
        "One useful check is to change a single detail of {a} and to watch what happens to {c}.",
        "Suppose that {c} were missing altogether: {b} would then have to carry the whole argument.",
        "Two reasons speak for this view, and the stronger of them concerns {a}.",
        "On the other hand, there are cases in which {b} matters far less than one would expect.",
        "Small numbers make the point easier to see, so it is worth working through {c} by hand.",
        "In short, keep {a} simple, test {b} early, and come back to {c} at the end.",
    ),
    "note": (
        "The part about {a} is clear, but {b} is only hinted at.",
        "It says little about {c}, which a reader would want to know.",
        "Naming {a} is a good start; the link to {b} stays open.",
        "Correct as far as it goes, though {c} deserves a reason.",
        "The wording of {b} allows for two readings, which weakens {a}.",
    ),
}
_CHINESE_TEXT = {
    "ask": (
        "请说明“{a}”与“{b}”之间的联系，并结合“{c}”举出一个具体的例子。",
        "请先解释“{a}”的含义，再分析它对“{b}”的影响，最后就“{c}”提出两条建议。",
        "比较“{a}”和“{b}”的异同，并说明在处理“{c}”时应当如何取舍。",
        "假设你要向初学者介绍“{a}”，请分步骤讲清“{b}”，并指出“{c}”中常见的误解。",
    ),
    "tell": (
        "首先要弄清“{a}”是什么，因为后面的讨论都建立在它的基础之上。",
        "在此之后，可以单独考察“{b}”，同时不要忽略“{c}”所起的作用。",
        "许多人容易把“{c}”和“{a}”混为一谈，这往往会带来错误的结论。",
        "实际情况中，大家先注意到“{b}”，然后才会去追问它的来源。",
        "一个有效的办法是只改变其中一个条件，再观察“{c}”有什么变化。",
        "如果完全没有“{c}”，那么“{b}”就必须独自支撑整个论证。",
        "总之，要让“{a}”保持简单，尽早检验“{b}”，最后再回到“{c}”。",
    ),
    "note": (
        "关于“{a}”的部分比较清楚，但“{b}”只是一带而过。",
        "对“{c}”说得太少，读者会希望了解更多。",
        "提到“{a}”是好的开端，只是它与“{b}”的关系还不明确。",
        "大体正确，不过“{c}”还需要给出理由。",
    ),
}
_SENTENCES = {"ask": 1, "tell": 6, "note": 1}
_KINDS = {
    "instruction": "ask",
    "question": "ask",
    "prompt": "ask",
    "response": "tell",
    "answer": "tell",
    "output": "tell",
}


class Source:
    """The words of one request, to make texts of.

    Args:
        text: The end of what the user said.
    """

    def __init__(self, text: str) -> None:
        text = text.replace("\\n", " ")  # rows are shown as JSON
        self.seed = zlib.crc32(text.encode("utf-8", "replace"))
        chinese = _CHINESE.findall(text)
        latin = [word for word in _LATIN.findall(text) if word.lower() not in _STOP]
        self.chinese = 2 * sum(map(len, chinese)) > sum(map(len, latin))
        words = list(dict.fromkeys(chinese if self.chinese else latin))
        spare = ["主题", "方法", "结果"] if self.chinese else ["the subject", "the method", "the outcome"]
        self.words = words if len(words) >= len(spare) else [*words, *spare]
        self._drawn = 0

    def draw(self, below: int) -> int:
        """The next whole number from 0 to below `below`."""
        self._drawn += 1
        return zlib.crc32(self._drawn.to_bytes(4, "little"), self.seed) % below

    def text(self, kind: str) -> str:
        """Sentences of a kind: `ask`, `tell` or `note`."""
        sentences = (_CHINESE_TEXT if self.chinese else _ENGLISH)[kind]
        start = self.draw(len(sentences))
        said = []
        for step in range(_SENTENCES[kind]):
            first = self.draw(len(self.words))
            a, b, c = (self.words[(first + offset) % len(self.words)] for offset in range(3))
            said.append(sentences[(start + step) % len(sentences)].format(a=a, b=b, c=c))
        return ("" if self.chinese else " ").join(said)


def value_for(schema: dict[str, Any], source: Source, name: str = "", root: dict[str, Any] | None = None) -> Any:
    """A value that satisfies a schema.

    Args:
        schema: The schema; `$ref` within it points into `root`.
        source: Where words and numbers come from.
        name: The name of the field that the value is for.
        root: The whole schema, where this is a part of it.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        part: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            part = part[step]
        return value_for(part, source, name, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][source.draw(len(schema["enum"]))]
    for choices in ("anyOf", "oneOf", "allOf"):
        if choices in schema:
            return value_for(schema[choices][0], source, name, root)
    return _typed(schema, source, name, root)


def _typed(schema: dict[str, Any], source: Source, name: str, root: dict[str, Any]) -> Any:
    match schema.get("type", "object"):
        case "object":
            return {key: value_for(part, source, key, root) for key, part in schema.get("properties", {}).items()}
        case "array":
            few = schema.get("minItems", 1)
            count = few + source.draw(max(1, min(schema.get("maxItems", few + 2), few + 2) - few + 1))
            return [value_for(schema.get("items", {"type": "string"}), source, name, root) for _ in range(count)]
        case "string":
            text = source.text(_KINDS.get(name, "note"))
            return text[: schema.get("maxLength", len(text))].ljust(schema.get("minLength", 0), "…")
        case "integer" | "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
            high = schema.get("maximum", schema.get("exclusiveMaximum", low + 10) - 1)
            return low + source.draw(int(high - low) + 1)
        case "boolean":
            return bool(source.draw(2))
    return None
