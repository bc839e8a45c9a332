"""What a stage's inputs hold: hashes of files and folders, which are read again only where they have changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from reflectune.errors import RunError
from reflectune.records import digest

__all__ = ["Fingerprints"]

_CHUNK = 1 << 22
_PASSING = {"checkpoints", "report.html", "README.md", "curves.jsonl"}
"""Of a student's folder: what says nothing about the model."""


class Fingerprints:
    """Hashes of files, with those that are known from before.

    Args:
        known: By path: size, time of the last change in nanoseconds, hash.

    Attributes:
        known: The same with what was read since.
    """

    def __init__(self, known: dict[str, tuple[int, int, str]]) -> None:
        self.known = dict(known)

    def of(self, path: Path) -> str:
        """A hash of a file, or of all files of a folder; of what is not there, an empty one.

        Raises:
            RunError: It cannot be read.
        """
        if path.is_dir():
            return digest([[str(file.relative_to(path)), self._of_file(file)] for file in _files(path)])
        return self._of_file(path) if path.exists() else ""

    def _of_file(self, path: Path) -> str:
        try:
            status = path.stat()
            key = str(path)
            size, changed, hashed = self.known.get(key, (-1, -1, ""))
            if (size, changed) != (status.st_size, status.st_mtime_ns):
                hashed = _hash(path)
                self.known[key] = (status.st_size, status.st_mtime_ns, hashed)
        except OSError as error:
            raise RunError(f"Cannot read {path}: {error}.", mend="Check that the file may be read.") from error
        return hashed


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not _PASSING & set(path.relative_to(folder).parts):
            yield path


def _hash(path: Path) -> str:
    hashed = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
    return hashed.hexdigest()
