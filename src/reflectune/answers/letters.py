"""The letter of the option that a reply decides for."""

from __future__ import annotations

import re

from reflectune.answers.rules import boxed, is_answer

__all__ = ["LETTERS", "stated_letter"]

LETTERS = "ABCDEFGHIJ"

_LETTER = r"(?P<letter>[A-J]|(?<=[(（])[a-j](?=[)）]))(?![A-Za-z'’])"
_VERB = r"(?:is|are|was|were|has|have|would|does|can|could|cannot|may|might|fails?|seems?)"
_MORE = rf"""(?P<more>\W{{0,4}}\s*(?:,|，|、|&|/|或|和|与|及|(?i:or|and))\W{{0,4}}[A-J](?![A-Za-z'’])
          (?!\s+{_VERB}\b)(?<!I(?=\s+[a-z])))?"""
_NAMED = r"(?:(?i:(?:the\s+)?(?:option|choice|letter|answer))\W{0,4}\s*)?"
_SENTENCES = (
    re.compile(  # the answer is B
        rf"""(?i:answer|option|choice)(?:\s+(?i:here|choice|option|letter))?\W{{0,4}}
        (?:\s*(?:(?i:is|would\s+be|must\s+be|should\s+be)|[:=：]))\W{{0,4}}
        (?:(?i:I|we)\s+(?i:think|believe|guess|say|would\s+say)\W{{1,3}}(?:(?i:it\s+is|it['’]s|that\s+is)\W{{1,3}})?)?
        {_NAMED}(?:\\(?:text|mathrm|mathbf|boxed)\{{)?[(（]?{_LETTER}{_MORE}""",
        re.VERBOSE,
    ),
    re.compile(  # B is correct
        r"""(?<![\w'’])[(（]?(?P<letter>[A-J])(?![A-Za-z'’])\W{0,3}\s*
        (?:is|would\s+be|must\s+be)\s+(?:the\s+)?(?:only\s+|most\s+)?
        (?:correct|right|best|(?:final\s+)?answer)\b(?P<more>)""",
        re.VERBOSE,
    ),
    re.compile(  # I choose B
        rf"""(?:\b(?i:I|we)(?:\s+|['’])(?i:(?:would|will|d|ll|can|must|should|therefore|thus)\s+)?
        |\b(?i:so|thus|hence|therefore),?\s+)
        (?i:choose|chose|pick|picked|select|selected|go\s+with|went\s+with)\W{{1,4}}{_NAMED}[(（]?{_LETTER}{_MORE}""",
        re.VERBOSE,
    ),
    re.compile(  # So B.
        rf"""(?:^|(?<=[.!?]\s))\W{{0,3}}(?i:so|thus|hence|therefore),?\s+(?:(?i:it\s+is|it['’]s|it\s+must\s+be)\s+)?
        {_NAMED}\W{{0,3}}{_LETTER}(?P<more>)\W*$""",
        re.VERBOSE | re.MULTILINE,
    ),
    re.compile(  # B 是正确的
        r"(?<![A-Za-z])(?P<letter>[A-J])[)）]?\s*(?:选项|项)?\s*(?:才?是|为)?(?:正确|对的)(?P<more>)"
    ),
    re.compile(  # 答案是 B
        rf"""(?:(?:正确|最终|最佳|最好)?的?(?:答案|选项)(?:应该|应当|应|就)?(?:是|为|选|[:：])|应?选择?)
        \W{{0,4}}(?:选项|选)?\W{{0,4}}{_LETTER}{_MORE}""",
        re.VERBOSE,
    ),
)
"""Sentences that say which letter it is."""
_DENIED = re.compile(
    r"""(?:\b(?:wrong|incorrect|false|not|never|cannot|n['’]t)\s+(?:(?:the|an?|my|our|correct|right|best|final)\s+){0,3}
    |\b(?:if|whether|unless|suppose)\b[^.,!?\n]{0,15}|n['’]t\s+
    |错误的?|不正确的?|不|不能|不会|不该|不应该?|别|如果|若|假如|要是)$""",
    re.VERBOSE | re.IGNORECASE,
)
_FORMS = (
    re.compile(r"\*\*[(（]?(?P<letter>[A-J])(?![A-Za-z'’])[^*\n]*\*\*"),
    re.compile(r"^\W{0,3}[(（]?(?P<letter>[A-J])[)）]?[.:)）。：]?\W{0,3}$", re.MULTILINE),
    re.compile(r"^\W{0,3}[(（]?(?P<letter>[A-J])[).:）：](?=\s)", re.MULTILINE),
    re.compile(r"[(（](?P<letter>[A-J])[)）]"),
)
_PRONOUN = re.compile(r"I\s+[a-z]")
_TURN = re.compile(r"[.!?。！？\n]|\b(?:no|wait|actually|but|rather|instead|not|however)\b|不对|等等|但", re.IGNORECASE)
_NEAR = 60


def stated_letter(text: str, options: int | None = None) -> str | None:
    """The letter of the option that a text decides for; `None` where it names none, or more than one.

    A sentence that says what the answer is goes before letters that merely stand there, and a later one before an
    earlier one, as a text may change its mind.

    Args:
        text: What the model said, in English or Chinese.
        options: How many options the question has: letters beyond the last one are none. `None` where that is not
            known; an `I` that begins a clause is then still a person.
    """
    letters = LETTERS if options is None else LETTERS[:options]
    stripped = text.strip()
    box = boxed(text)
    if box is not None and (inner := re.fullmatch(r"\W*(?:\\text\{)?\W*([A-J])\b\W*.*", box, re.DOTALL)):
        return inner[1] if inner[1] in letters else None
    said = [match for sentence in _SENTENCES for match in sentence.finditer(text) if _is_option(match, letters)]
    if said:
        return _decided(text, sorted(said, key=lambda match: match.start("letter")))
    if len(stripped.splitlines()) == 1 and is_answer("choice", stripped):
        alone = next(letter for letter in stripped if letter in LETTERS)
        if alone in letters:
            return alone
    for form in _FORMS:
        if found := {match["letter"] for match in form.finditer(text) if _is_option(match, letters)}:
            return found.pop() if len(found) == 1 else None
    return None


def _is_option(match: re.Match[str], letters: str) -> bool:
    """Whether a letter that was found is one of the question's, no person, and not said to be wrong."""
    text, begin = match.string, match.start()
    if match["letter"].upper() not in letters or _PRONOUN.match(text, match.start("letter")):
        return False
    return not _DENIED.search(text[max(0, begin - _NEAR) : begin])


def _decided(text: str, said: list[re.Match[str]]) -> str | None:
    """The last letter of those that are said; `None` where it is said together with another one."""
    last = said[-1]
    letter = last["letter"].upper()
    for other in said[:-1]:
        between = text[other.end("letter") : last.start("letter")]
        if other["letter"].upper() != letter and not _TURN.search(between):
            return None
    return None if last["more"] else letter
