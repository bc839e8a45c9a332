"""Which language a text is in, and lengths that are fair to languages written without spaces.

The script is looked at first, then English by its function words; only other text in a script that several languages
share goes to py3langid (naive Bayes over byte n-grams), which takes about a second and 100 MB to load.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from threading import Lock, Thread
from typing import Literal

SAMPLE = 400
"""Characters of prose that are looked at."""
MIN_LETTERS = 30
"""Fewer letters than this are not shown to the model, which is often wrong, and sure of it, on single words."""
MIN_CONFIDENCE = 0.9
"""The model's probability below which its answer is no answer."""

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_KANA = r"\u3041-\u3096\u30a1-\u30fa\u30fc\uff66-\uff9d"
_UNSPACED = re.compile(rf"[{_HAN}{_KANA}\u0e01-\u0e2e\u0e81-\u0eae\u1000-\u102a\u1780-\u17a2]")
_CHUNK = re.compile(r"[^\W_]\S*")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")

# A script that one language owns gives the language away; the others are the model's to tell apart.
_OWNED = {
    "zh": _HAN,
    "ja": _KANA,
    "ko": r"\uac00-\ud7a3\u1100-\u11ff\u3130-\u318f",
    "el": r"\u0370-\u03ff\u1f00-\u1fff",
    "he": r"\u0590-\u05ff",
    "th": r"\u0e00-\u0e7f",
}
_SCRIPTS = {code: re.compile(f"[{letters}]+") for code, letters in _OWNED.items()}
_ANY_OWNED = re.compile(f"[{''.join(_OWNED.values())}]+")

_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|<[^<>\n]*>", re.DOTALL)
_CODE_SYMBOL = re.compile(r"[{}\[\]()<>=;_\\/|$#@&+*^~%\d]|\.(?=\w)")
_CODE_SIGNS = re.compile(r"[{}<>=;_\\|@&^~]")
_CODE_SHARE = 0.12

# Function words, and verbs that instructions open with. Left out is what program code ("for", "in", "from") or a
# neighbouring language ("was", "of", "by") uses too.
_ENGLISH = frozenset(
    _WORD.findall(
        """
        the and to you your that this are were being it its they their them these those which what how why when who
        whose there here have has had can could would should will shall may might with about into because than then
        also other such each every between through where she his we more most many some any both either following
        it's i'm don't can't isn't doesn't let's i'll they're we're you're write describe explain generate create
        suggest provide identify summarize rewrite compare convert calculate determine find give make using given
        """
    )
)
_ENGLISH_WORDS = 2
_PLAIN_ENGLISH_WORDS = 4
_ENGLISH_SHARE = 0.15

_loading = Lock()


@lru_cache(maxsize=1024)  # a row's texts are looked at by several rules, and again by its next reflection
def detect(text: str) -> str | None:
    """The language of a text.

    Code blocks, addresses and mark-up are passed over, then the first `SAMPLE` characters are looked at.

    Returns:
        An ISO 639 code such as `en`, `zh` or `fr`; `None` where the text is too short, too mixed or too little of a
        natural language (code, numbers, symbols) to tell.
    """
    sample = _prose(text)
    if sample.isascii():
        return _spelled(sample)
    code, letters = _main_script(sample)
    spelled = _ANY_OWNED.sub(" ", sample)
    words = len(_WORD.findall(spelled))
    if letters > 2 * words:
        return code
    return _spelled(spelled) if words > 10 * letters else None


def prompt_language(text: str) -> Literal["en", "zh"]:
    """The language in which an oracle is asked about a text: `zh` where it is mainly Chinese, else `en`."""
    if text.isascii():
        return "en"
    sample = _prose(text)
    code, letters = _main_script(sample)
    return "zh" if code == "zh" and letters > len(_WORD.findall(_ANY_OWNED.sub(" ", sample))) else "en"


def length(text: str) -> int:
    """How long a text is: its words, and each character of a script that is written without spaces.

    A mixed text adds both. Marks and punctuation that stand alone count nothing.
    """
    if text.isascii():
        return len(_CHUNK.findall(text))
    return len(_UNSPACED.findall(text)) + len(_CHUNK.findall(_UNSPACED.sub(" ", text)))


def _prose(text: str) -> str:
    return _NOT_PROSE.sub(" ", text[: 4 * SAMPLE])[:SAMPLE]


def _main_script(sample: str) -> tuple[str, int]:
    """The language that owns the most frequent owned script, and how many of its letters there are."""
    letters = {code: sum(map(len, script.findall(sample))) for code, script in _SCRIPTS.items()}
    if letters["ja"] > 0.1 * letters["zh"]:  # Japanese is written in both; Chinese in one
        letters["ja"] += letters.pop("zh")
    return max(letters.items(), key=lambda entry: entry[1])


def _spelled(sample: str) -> str | None:
    """The language of a sample in a script that several languages share."""
    if _plainly_english(sample):
        return "en"
    words = _WORD.findall(sample.lower())
    if len(_CODE_SYMBOL.findall(sample)) > _CODE_SHARE * len(sample):
        return None
    english = [word for word in words if word in _ENGLISH]
    if len(english) >= _ENGLISH_SHARE * len(words) and len(set(english)) >= _ENGLISH_WORDS:
        return "en"
    if sum(map(len, words)) < MIN_LETTERS:
        return None
    code, confidence = _model()(" ".join(words)[: SAMPLE // 2])
    return code if confidence >= MIN_CONFIDENCE and code != "zxx" else None


def _plainly_english(sample: str) -> bool:
    """A quick look that spares most text the careful one: many function words, hardly a sign of code."""
    words = sample.lower().split()
    if len(_ENGLISH.intersection(words)) < _PLAIN_ENGLISH_WORDS or _CODE_SIGNS.search(sample):
        return False
    return sum(word in _ENGLISH for word in words) >= _ENGLISH_SHARE * len(words)


def prepare() -> None:
    """Load the model in the background, for who knows that it will be wanted: many texts need it sooner or later."""
    Thread(target=_model, daemon=True).start()


def _model() -> Callable[[str], tuple[str, float]]:
    """The model's function from a text to a language and its probability."""
    with _loading:
        return _loaded()


@cache
def _loaded() -> Callable[[str], tuple[str, float]]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identify: Callable[[str], tuple[str, float]]
    identify = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True).classify  # type: ignore[no-untyped-call]
    return identify
