"""Is this rewrite acceptable?

A rewrite is turned down for what is plainly wrong with it, never for being short or easy. The rules run in this order,
and the first that finds something wins:

    empty       nothing that can be read
    loop        the same phrase again and again until the end
    truncated   cut off by the limit on its length
    copy        the old text, or nearly
    echo        the other half of the pair: the answer where an instruction is due, or the other way round
    refusal     the oracle says that it cannot or will not
    language    another language than the row's
    meta        it talks about the rewriting itself

What the row already did (a loop that was asked for, a refusal, a text about "the original instruction") its rewrite may
do too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from reflectune.language import detect, length
from reflectune.records import Reflection, Version


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a rewrite is not accepted.

    Attributes:
        reason: The rule's name, such as `copy`.
        detail: One sentence for a person, which quotes the text at fault.
    """

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Case:
    """One text to judge: `text` is to replace `replaced`; `other` is the half of the pair that it must not repeat."""

    kind: Reflection
    text: str
    replaced: str
    other: str
    row: Version
    finish_reason: str


def check_instruction(text: str, row: Version, *, finish_reason: str = "stop") -> Rejection | None:
    """Judge a new instruction.

    Args:
        text: The new instruction.
        row: The pair that it was made from, with its input.
        finish_reason: Why the oracle stopped; `length` is a rejection.

    Returns:
        The first rule that the text breaks; `None` where it is acceptable.
    """
    return _first(_Case("instruction", text, row.instruction, row.response, row, finish_reason))


def check_response(
    text: str, row: Version, *, instruction: str | None = None, finish_reason: str = "stop"
) -> Rejection | None:
    """Judge a new response.

    Args:
        text: The new response.
        row: The pair that it was made from.
        instruction: The instruction that it answers, where that is a new one too; else the row's own.
        finish_reason: Why the oracle stopped; `length` is a rejection.

    Returns:
        The first rule that the text breaks; `None` where it is acceptable.
    """
    asked = row.instruction if instruction is None else instruction
    return _first(_Case("response", text, row.response, asked, row, finish_reason))


def _first(case: _Case) -> Rejection | None:
    for reason, rule in _RULES.items():
        if detail := rule(case):
            return Rejection(reason, detail)
    return None


def _quote(text: str, most: int = 60) -> str:
    flat = " ".join(text[: 4 * most].split())
    return f'"{flat}"' if len(flat) <= most else f'"{flat[:most].rstrip()}..."'


# empty and truncated

_FILLER = frozenset("\"'`.…。“”‘’")


def _empty(case: _Case) -> str | None:
    if any(char.isprintable() and not char.isspace() and char not in _FILLER for char in case.text):
        return None
    return f"The new {case.kind} holds nothing to read: {_quote(case.text)}."


def _truncated(case: _Case) -> str | None:
    if case.finish_reason != "length":
        return None
    return f"The reply was cut off by its length limit after {_quote(case.text[-60:])}."


# loop

_MARKER = re.compile(r"[ \t]*(?:[-*•]|\(?\d{1,4}[.)、:])(?!\d)[ \t]*")
_PROBE = 24


def _repeats_needed(phrase: str) -> int:
    """How often a phrase must follow itself at the end of a text before that is a loop."""
    if not any(map(str.isalpha, phrase)):
        return max(25, 400 // len(phrase))  # rules, blanks to fill in, tables of zeros
    return min(25, max(4, 80 // len(phrase)))


def _loop_in(text: str) -> str | None:
    """The phrase that a text repeats until its end, if it does. Case, white space and list markers are passed over."""
    lines = text.rstrip().split("\n")
    if len(lines) > 1 and _MARKER.match(lines[-1]):
        text = "\n".join(_MARKER.sub("", line, count=1) for line in lines)
    folded = " ".join(text.casefold().split())
    start = len(folded) - _PROBE
    if start < 1:
        return None
    probe, found = folded[start:], start
    earliest = max(0, start - len(folded) // 4)
    # The last earlier place where the ending stands gives the period, unless the phrase holds its own ending twice.
    for _ in range(8):
        found = folded.rfind(probe, earliest, found + _PROBE - 1)
        if found < 0:
            return None
        phrase = folded[found - start :]
        if folded.endswith(phrase * _repeats_needed(phrase)):
            return phrase.strip()
    return None


def _loop(case: _Case) -> str | None:
    phrase = _loop_in(case.text)
    if phrase is None or _loop_in(case.replaced):
        return None
    return f"The new {case.kind} repeats {_quote(phrase)} until its end."


# copy and echo

_CJK = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+|[<>=+/^%]")
_SIGN = re.compile("[<>=+/^%]")
_PLAIN = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}
_SPACE_AND_MARKS = bytes(code for code in range(128) if not chr(code).isalnum())
_POLITE = frozenset({"please", "kindly", "a", "an", "the", "请"})
_LONG_ENOUGH = 20
_CHANGED_PAIRS = 6
_CHANGED_SHARE = 0.1


def _tokens(text: str) -> list[str]:
    """The words and signs of a text in lower case."""
    if text.isascii() and not _SIGN.search(text):
        words = text.translate(_PLAIN).split()
        return words or list("".join(text.lower().split()))
    folded = text.casefold()
    return _TOKEN.findall(folded) or list("".join(folded.split()))


def _alike(new: str, old: str) -> bool:
    """Whether two texts are near enough in length to be worth a comparison word by word."""
    sizes = [len(text.encode(errors="replace").translate(None, _SPACE_AND_MARKS)) for text in (new, old)]
    return abs(sizes[0] - sizes[1]) <= 200 + max(sizes) // 8


def _same_instruction(new: str, old: str) -> bool:
    """Whether two instructions are the same but for politeness: a single other word may change all that is asked."""
    if not _alike(new, old):
        return False
    return [word for word in _tokens(new) if word not in _POLITE] == [
        word for word in _tokens(old) if word not in _POLITE
    ]


def _same_response(new: str, old: str) -> bool:
    """Whether two responses are the same, in the same order, but for a word or three in a long text.

    Compares the multisets of neighbouring words, in linear time. A changed number is a correction, and a sentence more
    or less is a change.
    """
    if not _alike(new, old):
        return False
    words, old_words = _tokens(new), _tokens(old)
    if words == old_words or min(len(words), len(old_words)) < _LONG_ENOUGH:
        return words == old_words
    # Each side may have two other words in each pair of words that it changes.
    strangers = len(set(words).symmetric_difference(old_words))
    if abs(len(words) - len(old_words)) > _CHANGED_PAIRS or strangers > 4 * _CHANGED_PAIRS:
        return False
    pairs, old_pairs = Counter(pairwise(words)), Counter(pairwise(old_words))
    added, removed = pairs - old_pairs, old_pairs - pairs
    if max(added.total(), removed.total()) > min(_CHANGED_PAIRS, _CHANGED_SHARE * len(old_words)):
        return False
    if any(char.isdigit() for pair in added for word in pair for char in word):
        return False
    landmarks = {pair for pair, count in pairs.items() if count == old_pairs[pair] == 1}
    order, old_order = ([pair for pair in pairwise(text) if pair in landmarks] for text in (words, old_words))
    return order == old_order


def _without_input(text: str, row: Version) -> str:
    given = row.input.strip()
    return text.replace(given, " ") if given else text


def _copy(case: _Case) -> str | None:
    if case.kind == "instruction":
        copied = any(
            _same_instruction(text, case.replaced) for text in {case.text, _without_input(case.text, case.row)}
        )
    else:
        copied = _same_response(case.text, case.replaced)
        if copied and length(case.text) <= _LONG_ENOUGH and not _same_instruction(case.other, case.row.instruction):
            return None  # a terse answer stays right when its instruction is rewritten
    return f"The new {case.kind} says the same as the old one: {_quote(case.text)}." if copied else None


def _echo(case: _Case) -> str | None:
    if (
        not case.other.strip()
        or not _same_instruction(case.text, case.other)
        or _same_instruction(case.replaced, case.other)
    ):
        return None
    whose = "response" if case.kind == "instruction" else "instruction"
    return f"The new {case.kind} only repeats the {whose}: {_quote(case.text)}."


# refusal

_REFUSAL_LENGTH = 120
_OPENING = 300
_CANNOT = (
    r"(?:can't|cannot|can not|could not|couldn't|unable to|not able to|not capable of|won't|will not|not possible"
    r"|(?:don't|do not|doesn't|does not) (?:currently )?(?:have|possess)|lack|not programmed to|not appropriate)\b"
)
# Verbs that an oracle refuses with; "I'm sorry, I can't come to your party" is a letter.
_TASK = (
    r"(?:assist|help (?:you|with)|provid|fulfil|comply|complet|answer|generat|creat|writ|rewrit|improv|produc|process"
    r"|perform|do th[ai][ts]|offer|engage|continue|browse|retriev|respond|translat|summari[sz]|view|discuss|display"
    r"|recommend|access|(?:the )?(?:ability|capabilit|data|information|permission))"
)
_CANNOT_DO = rf"\b{_CANNOT}[^.!?\n]{{0,40}}?\b{_TASK}"
_PEOPLE = r"(?! (?:research|engineer|develop|expert|enthusiast|student|scien|profession|ethic|compan|train))"
_MODEL = rf"an? (?:ai|artificial intelligence|(?:large )?language model|text-based)\b{_PEOPLE}"
_REFUSALS = re.compile(
    rf"(?:(?:i'm|i am|we're|we are) (?:\w+ )?)?(?:sorry|apologi[sz]e|afraid)\b[^.!?\n]{{0,100}}?{_CANNOT_DO}"
    rf"|(?:i apologi[sz]e|my apologies|apologies|unfortunately)\b[^.!?\n]{{0,100}}?\bi\b[^.!?\n]{{0,20}}?{_CANNOT_DO}"
    rf"|(?:i'm |i am )?(?:sorry|afraid)\b[^\n]{{0,30}}?\b(?:as )?{_MODEL}"
    r"|(?:i'm |i am )?(?:sorry|afraid)\b[^\n]{0,30}?\byou (?:didn't|did not|haven't|have not) (?:provid|giv|specif)"
    rf"|sorry, (?:the|this) task\b[^\n]{{0,200}}?\b(?:{_CANNOT}|beyond)"
    r"|i (?:can't|cannot|can not|won't|will not|am unable to|am not able to) (?:assist|help (?:you )?with|help you"
    r"|provide|fulfill?|comply|answer|generate|rewrite|improve|respond to)\b"
)
_NO_HAN_STOP = r"[^。!?！？\n]"
_HAN_CANNOT = "(?:无法|不能|没办法|没有办法|不具备|没有能力)"
_HAN_TASK = (
    "(?:提供|回答|完成|满足|协助|帮助|生成|执行|访问|处理|讨论|改写|重写|创建|制作|评估|评价|判断|确定|看到"
    "|给出|进行|继续|理解|回应|能力)"
)
_HAN_REFUSALS = re.compile(
    rf"我?(?:很|非常|十分|真的)?(?:抱歉|对不起|不好意思|遗憾){_NO_HAN_STOP}{{0,40}}?{_HAN_CANNOT}"
    rf"{_NO_HAN_STOP}{{0,16}}?{_HAN_TASK}"
    rf"|我?(?:很|非常|十分)?(?:抱歉|对不起|不好意思){_NO_HAN_STOP}{{0,12}}?[您你]并?(?:没有|没|未)(?:给|提供|指定)"
    rf"|我{_HAN_CANNOT}(?:[为帮][您你])?(?:直接)?{_HAN_TASK}"
)
# What a model says of itself answers a question about itself, and evades any other.
_AS_A_MODEL = re.compile(
    rf"(?:i'm|i am|as) {_MODEL}[^\n]{{0,100}}?\b{_CANNOT}"
    r"|(?:我是|作为)(?:一[个名款位种])?[^,，。\n]{0,8}?(?:ai|人工智能|语言模型|机器人)"
    rf"{_NO_HAN_STOP}{{0,30}}?(?:{_HAN_CANNOT}|没有|不可以|不会)"
)
_ASKS_THE_MODEL = re.compile(r"\b(?:are|do|did|can|have) you\b|\byour(?:self)?\b|你", re.IGNORECASE)


def _refuses(text: str, asked: str) -> str | None:
    """The opening in which a text refuses, where the refusal is all there is: a long text goes on to answer."""
    opening = text[:_OPENING].casefold().replace("’", "'").lstrip(" \t\r\n*#>-")
    found = _REFUSALS.match(opening) or _HAN_REFUSALS.match(opening)
    if found is None and not _ASKS_THE_MODEL.search(asked):
        found = _AS_A_MODEL.match(opening)
    return found.group() if found and length(text) <= _REFUSAL_LENGTH else None


def _refusal(case: _Case) -> str | None:
    asked = case.other if case.kind == "response" else ""
    said = _refuses(case.text, asked)
    if said is None or _refuses(case.replaced, asked):
        return None
    return f"The oracle refuses instead of writing a new {case.kind}: {_quote(said)}."


# language

_NAMES_A_LANGUAGE = re.compile(
    r"translat|language|english|french|spanish|german|italian|portuguese|dutch|russian|chinese|mandarin|japanese|korean"
    r"|arabic|hindi|latin|greek|hebrew|turkish|polish|swedish|vietnamese|thai|indonesian|[a-z]+ (?:phrase|proverb)"
    r"|[\u4e00-\u9fff][\"“‘「][a-z]|翻译|译成|译为|[英中法德日俄韩]文|[英汉法德日俄韩外双]语|西班牙|葡萄牙|意大利|阿拉伯|拉丁|希腊|语言",
    re.IGNORECASE,
)


def _language(case: _Case) -> str | None:
    spoken = detect(_without_input(case.text, case.row))
    if spoken is None:
        return None
    expected = []
    for reference in (case.replaced, case.other) if case.kind == "response" else (case.replaced,):
        language = detect(reference)
        if language is None or language == spoken or _NAMES_A_LANGUAGE.search(reference):
            return None
        expected.append(language)
    wanted = " or ".join(dict.fromkeys(expected))
    return f"The new {case.kind} is in {spoken}, not in {wanted}: {_quote(case.text)}."


# meta

_MADE = "rewritten|revised|improved|refined|enhanced"
_META = re.compile(
    rf"the (?:(?:original|previous|old|initial|new|{_MADE}) (?:instruction|prompt)"
    rf"|(?:original|previous|{_MADE}) (?:answer|response))\b"
)
_META_OPENING = re.compile(
    rf"\W*(?:(?:sure|certainly|okay|ok)\b\W*)?(?:here(?:'s| is)|below is|this is) (?:the|an?|my|your)"
    rf" (?:better|new|{_MADE})(?: and \w+)? (?:instruction|prompt|question|answer|response|version)\b"
    rf"|\W*(?:better|new|{_MADE}) (?:instruction|prompt|question|answer|response|version)\W{{0,3}}:"
)
_META_CHINESE = re.compile(
    r"(?:原|原始|原来的|原先的|旧的?|之前的|先前的|上一个|前一个)(?:指令|提示词|回答|答复|回复)"
    r"|(?:改进|改写|重写|优化|修改|完善|改良)(?:后|过)的?(?:指令|提示词|回答|答复|回复|版本)"
    r"|\A\W*(?:以下是)?(?:新的?|更好的)(?:指令|回答|答复|版本)\W{0,3}[:：]"
)


def _meta(case: _Case) -> str | None:
    text = case.text.casefold().replace("’", "'")
    found = _META_OPENING.match(text) or _META.search(text) or (not text.isascii() and _META_CHINESE.search(text))
    if not found:
        return None
    said = found.group().strip(" :：*#\r\n")
    if any(said in own.casefold() for own in (case.row.instruction, case.row.input, case.row.response, case.other)):
        return None
    return f"The new {case.kind} talks about the rewriting: {_quote(said)}."


_RULES: dict[str, Callable[[_Case], str | None]] = {
    "empty": _empty,
    "loop": _loop,
    "truncated": _truncated,
    "copy": _copy,
    "echo": _echo,
    "refusal": _refusal,
    "language": _language,
    "meta": _meta,
}
