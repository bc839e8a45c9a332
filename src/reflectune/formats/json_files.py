"""Rows of JSON files: an array, one object per line, or an object around an array; read as a stream.

The standard library's decoder is as fast as a streaming parser here, keeps integers of any size, NaN and lone
surrogates as they are, and says where a fault lies. (yajl turns half a surrogate pair into a question mark and refuses
large numbers.)
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from reflectune.errors import InputError
from reflectune.formats.files import Rows, read_lines, read_text

_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")
_SCALAR = r'(?:"(?:[^"\\]|\\.)*"|[-+.\w]+)'
_AROUND = re.compile(
    rf'\s*\{{(?:\s*"(?:[^"\\]|\\.)*"\s*:\s*{_SCALAR}\s*,)*\s*"(?:data|rows|examples|train|records|items)"\s*:\s*(?=\[)'
)
_LONGEST_TOKEN = 12
"""More than the characters of the longest token besides strings and numbers that may be cut off: `-Infinity`."""


def read_json(path: Path) -> Rows:
    """The rows of a JSON file, whichever of the three forms it has and whatever its name says.

    Raises:
        InputError: The JSON is broken or a row is not an object; with the line.
    """
    window = _Window(path)
    first = window.peek()
    if first == "[":
        return window.array()
    if first == "{" and (around := _AROUND.match(window.text, 0)):
        window.at = around.end()
        return window.array(alone=False)
    window.close()
    return _read_lines(path)


def _read_lines(path: Path) -> Rows:
    for number, line in enumerate(read_lines(path), start=1):
        if not line.isspace():
            try:
                value = json.loads(line.rstrip("\n"))
            except json.JSONDecodeError as fault:
                raise _broken(path, number, fault.colno, fault.msg) from fault
            except (RecursionError, ValueError) as fault:
                raise _out_of_bounds(path, number) from fault
            if not isinstance(value, dict):
                raise _not_an_object(value, path, f"line {number}")
            yield value


class _Window:
    """A part of a JSON text that moves along the file.

    Attributes:
        text: The part in memory: never much more than twice the longest row.
        at: Where in it the reading stands.
    """

    def __init__(self, path: Path) -> None:
        self.text = ""
        self.at = 0
        self._path = path
        self._pieces = read_text(path)
        self._lines = 0
        self._columns = 0

    def close(self) -> None:
        self._pieces.close()

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            self.at = _BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                return ""

    def array(self, *, alone: bool = True) -> Rows:
        """The objects of the array that begins here; `alone` where nothing may come after it."""
        self.at += 1
        number = 0
        more = self.peek() != "]"
        while more:
            number += 1
            value = self._value(number)
            if not isinstance(value, dict):
                raise _not_an_object(value, self._path, f"row {number}, line {self._place(self.at)[0]}")
            yield value
            more = self.peek() == ","
            if more:
                self.at += 1
                self.peek()
        if self.peek() != "]":
            raise self._fault("Expecting ',' or ']'", self.at, number)
        self.at += 1
        if alone and self.peek():
            raise self._fault("text after the end of the array", self.at, number)

    def _value(self, number: int) -> Any:
        while True:
            start = self.at
            try:
                value, self.at = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as fault:
                # A window ends anywhere, so a fault near its end may be the window's and not the file's.
                unfinished = fault.msg.startswith("Unterminated string")
                near_end = unfinished or fault.pos + _LONGEST_TOKEN >= len(self.text)
                if not near_end or not self._more():
                    at = len(self.text) if unfinished else fault.pos - start + self.at
                    raise self._fault(fault.msg, at, number) from fault
            except (RecursionError, ValueError) as fault:
                raise _out_of_bounds(self._path, self._place(self.at)[0]) from fault
            else:
                return value

    def _fault(self, what: str, at: int, number: int) -> InputError:
        line, column = self._place(at)
        if at >= len(self.text.rstrip()):
            return InputError(
                f"{self._path}, line {line}: the JSON array is cut off in or after row {number}",
                mend="Copy or download the file again",
            )
        return _broken(self._path, line, column, f"{what} (row {number})")

    def _more(self) -> bool:
        """Let go of what was read and at least double the rest: a long row is not decoded once for every piece."""
        line, column = self._place(self.at)
        self._lines, self._columns = line - 1, column - 1
        parts = [self.text[self.at :]]
        wanted = 2 * len(parts[0]) + 1
        self.at = 0
        have = len(parts[0])
        while have < wanted and (piece := next(self._pieces, "")):
            parts.append(piece)
            have += len(piece)
        self.text = "".join(parts)
        return len(parts) > 1

    def _place(self, at: int) -> tuple[int, int]:
        """The line and column of a character, both from 1."""
        newlines = self.text.count("\n", 0, at)
        before = self.text.rfind("\n", 0, at) + 1
        return self._lines + newlines + 1, at - before + 1 + (0 if newlines else self._columns)


def _not_an_object(value: Any, path: Path, where: str) -> InputError:
    kind = {list: "a list", str: "a string", type(None): "null"}.get(type(value), "a plain value")
    return InputError(
        f"{path}, {where}: the row is {kind}, not an object", mend="Each row must be an object of named columns"
    )


def _broken(path: Path, line: int, column: int, what: str) -> InputError:
    return InputError(
        f"{path}, line {line}, column {column}: broken JSON: {what.removesuffix(' at').removesuffix(' starting')}",
        mend="Mend or take out this line; rows are read from an array of objects or from one object per line",
    )


def _out_of_bounds(path: Path, line: int) -> InputError:
    return InputError(
        f"{path}, line {line}: the JSON is nested too deeply or holds a number of thousands of digits",
        mend="Mend or take out this line",
    )
