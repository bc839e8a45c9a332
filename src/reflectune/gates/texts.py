"""A text as the gates compare it: its words, or its characters where a script is written without spaces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

# Han, kana, Thai, Lao, Burmese, Khmer
_UNSPACED = (
    r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
    r"\u0e01-\u0e2e\u0e81-\u0eae\u1000-\u102a\u1780-\u17a2"
)
# Signs that belong to a letter although they are none by themselves: accents, Hebrew, Arabic and Indic vowels.
_SIGNS = r"\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_TOKEN = re.compile(rf"[{_UNSPACED}]|(?:[^\W_{_UNSPACED}]|[{_SIGNS}])+")
_ONE_UNSPACED = re.compile(f"[{_UNSPACED}]")
_LOWER_OR_SPACE = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}
_PUNCTUATION = str.maketrans(dict.fromkeys(".,;:!?\"'`…“”‘’«»、。", " "))


@dataclass(frozen=True, slots=True)
class Size:
    """A length, in words or in characters of a script without spaces; a mixed text is weighed by both.

    Attributes:
        words: So many words.
        characters: So many characters.
    """

    words: int
    characters: int

    def reached_by(self, text: Text) -> bool:
        """Whether a text is at least this long."""
        return text.characters * self.words + (len(text.tokens) - text.characters) * self.characters >= self._goal

    @property
    def _goal(self) -> int:
        return self.words * self.characters

    def windows(self, text: Text) -> Iterator[tuple[str, ...]]:
        """Every run of tokens of this size, one for each token that it may begin with.

        How far a run goes depends on its own tokens alone, so that equal runs are found in different texts.
        """
        if not text.characters:
            return zip(*(text.tokens[start:] for start in range(self.words)), strict=False)
        return self._weighed(text.tokens)

    def _weighed(self, tokens: list[str]) -> Iterator[tuple[str, ...]]:
        weights = [self.words if is_character(token) else self.characters for token in tokens]
        end = weight = 0
        for start, first in enumerate(weights):
            while weight < self._goal:
                if end == len(tokens):
                    return
                weight += weights[end]
                end += 1
            yield tuple(tokens[start:end])
            weight -= first


@dataclass(frozen=True, slots=True)
class Text:
    """A text that was read for comparison.

    Attributes:
        text: The text, in Unicode's compatible form: wide letters and digits are plain ones.
        tokens: Its words in lower case and its characters, without punctuation.
        characters: How many of the tokens are characters of a script without spaces.
    """

    text: str
    tokens: list[str]
    characters: int

    @property
    def unspaced(self) -> bool:
        """Whether it is mainly in a script without spaces."""
        return 2 * self.characters > len(self.tokens)

    def part(self, first: int, last: int) -> str:
        """The text from one token to another, both included, as it is written."""
        places = [found.span() for found in _TOKEN.finditer(self.text)]
        return self.text[places[first][0] : places[last][1]]


def read(text: str) -> Text:
    """Read a text for comparison."""
    if text.isascii():
        return Text(text, text.translate(_LOWER_OR_SPACE).split(), 0)
    text = unicodedata.normalize("NFKC", text)
    tokens = [token.casefold() for token in _TOKEN.findall(text)]
    return Text(text, tokens, len(_ONE_UNSPACED.findall(text)))


def is_character(token: str) -> bool:
    """Whether a token is a character of a script without spaces."""
    return len(token) == 1 and not token.isascii() and _ONE_UNSPACED.match(token) is not None


def has_characters(text: str) -> bool:
    """Whether a text holds a character of a script without spaces."""
    return not text.isascii() and _ONE_UNSPACED.search(text) is not None


def normal(text: str) -> str:
    """A text without differences that nobody minds: case, white space, common punctuation.

    Other signs stay, so that `a > b` is not `a < b`.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().translate(_PUNCTUATION).split()) or text.strip()


def named(count: int, text: Text) -> str:
    """So many words, or characters."""
    return f"{count} {'characters' if text.unspaced else 'words'}"
