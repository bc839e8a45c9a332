"""What is seldom looked at again, in a file that is gone when the program ends: memory stays flat."""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array

from reflectune.errors import RunError


class Shelf:
    """Pieces of bytes, by the order in which they were put there. Takes 8 bytes of memory for each.

    Raises:
        RunError: The folder for temporary files cannot be written.
    """

    def __init__(self) -> None:
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the shelf
        except OSError as error:
            raise _unwritable(error) from error
        weakref.finalize(self, self._file.close)
        self._ends = array("Q")

    def __len__(self) -> int:
        return len(self._ends)

    def put(self, piece: bytes) -> int:
        """Put a piece there and say where.

        Raises:
            RunError: The disk is full.
        """
        begin = self._ends[-1] if self._ends else 0
        try:
            written = 0
            while written < len(piece):
                written += os.pwrite(self._file.fileno(), piece[written:], begin + written)
        except OSError as error:
            raise _unwritable(error) from error
        self._ends.append(begin + len(piece))
        return len(self._ends) - 1

    def get(self, place: int) -> bytes:
        """The piece of a place."""
        begin = self._ends[place - 1] if place else 0
        return os.pread(self._file.fileno(), self._ends[place] - begin, begin)


def _unwritable(error: OSError) -> RunError:
    return RunError(
        f"Cannot write to {tempfile.gettempdir()}: {error.strerror or error}.",
        mend="Free some disk space, or name another folder for temporary files in TMPDIR.",
    )
