"""The text of a file, piece by piece: compression, encoding and damage."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from reflectune.errors import InputError

Rows = Generator[dict[str, Any], None, None]
"""What a container gives: its rows, and a way to stop."""

BLOCK = 1 << 18
_UTF16 = {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacked where its name ends in `.gz`.

    Raises:
        InputError: It cannot be opened or read, or is not gzip or a part of it.
    """
    try:
        with cast("BinaryIO", gzip.open(path)) if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream
    except EOFError as fault:
        raise InputError(
            f"{path}: the gzip file is cut off before its end", mend="Copy or download it again"
        ) from fault
    except (gzip.BadGzipFile, zlib.error) as fault:
        mend = "Copy it again, or take .gz off its name if it is not compressed"
        raise InputError(f"{path}: not a sound gzip file: {fault}", mend=mend) from fault
    except OSError as fault:
        raise InputError(
            f"{path}: cannot be read: {fault.strerror or fault}", mend="See that it may be read"
        ) from fault


def read_text(path: Path) -> Generator[str, None, None]:
    """The text of a UTF-8 file (with or without byte order mark) in pieces of about a quarter of a megabyte.

    Raises:
        InputError: The file cannot be read, is not UTF-8, or holds NUL bytes; with the line.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line = 1
    read = 0
    with open_bytes(path) as stream:
        while True:
            block = stream.read(BLOCK)
            if read == 0:
                _refuse_utf16(path, block)
            read += len(block)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as fault:
                raise _not_utf8(path, fault, read, line) from fault
            if "\0" in text:
                raise _nul(path, line + text.count("\n", 0, text.index("\0")))
            line += text.count("\n")
            if text:
                yield text
            if not block:
                return


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, each with its newline; only that character ends a line.

    Raises:
        InputError: As `read_text`.
    """
    rest: list[str] = []
    for text in read_text(path):
        first, *whole = text.split("\n")
        rest.append(first)
        if whole:
            yield "".join(rest) + "\n"
            *whole, last = whole
            yield from (f"{line}\n" for line in whole)
            rest = [last]
    if last_line := "".join(rest):
        yield last_line


def _refuse_utf16(path: Path, start: bytes) -> None:
    halves = (start[::2], start[1::2])
    if start[:2] in _UTF16 or (len(start) > 1 and any(half.count(0) > len(half) // 2 for half in halves)):
        raise InputError(f"{path}: the text is UTF-16, not UTF-8", mend=_iconv(path, "UTF-16"))


def _not_utf8(path: Path, fault: UnicodeDecodeError, read: int, line: int) -> InputError:
    offset = read - len(fault.object) + fault.start
    line += fault.object.count(b"\n", 0, fault.start)
    wrong = fault.object[fault.start]
    return InputError(
        f"{path}, line {line}: the text is not UTF-8: byte 0x{wrong:02x} at offset {offset:,}",
        mend=f"If it is Western European text: {_iconv(path, 'WINDOWS-1252')}",
    )


def _nul(path: Path, line: int) -> InputError:
    read = "zcat" if path.suffix == ".gz" else "cat"
    return InputError(
        f"{path}, line {line}: NUL byte in the text",
        mend=f"Take NUL bytes out: {read} '{path.name}' | tr -d '\\000' > 'clean-{path.name.removesuffix('.gz')}'",
    )


def _iconv(path: Path, encoding: str) -> str:
    source, target = path.name, f"utf8-{path.name.removesuffix('.gz')}"
    if path.suffix == ".gz":
        return f"zcat '{source}' | iconv -f {encoding} -t UTF-8 > '{target}'"
    return f"iconv -f {encoding} -t UTF-8 '{source}' > '{target}'"
