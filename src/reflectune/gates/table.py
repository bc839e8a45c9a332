"""A table from hashes to places, in one block of memory: 16 to 32 bytes for each hash."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from operator import itemgetter

from reflectune.errors import SettingsError

_PLACE_BITS = 24
_PLACES = (1 << _PLACE_BITS) - 1
_HASH = (1 << 40) - 1
_FIRST_SIZE = 1 << 12


class HashTable:
    """Where each hash was seen first. Open addressing; 40 bits of a hash and 24 bits of a place share a number.

    Two hashes are taken for the same about once in 10**12 times the number of hashes: the caller looks again.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * _FIRST_SIZE))
        self._mask = _FIRST_SIZE - 1
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def add(self, hashed: int, place: int) -> None:
        """Note a hash, unless it is known already.

        Args:
            hashed: Any integer with good lower bits, as `hash` gives for tuples of texts.
            place: From 0.

        Raises:
            SettingsError: There are too many places.
        """
        if place >= _PLACES:
            raise SettingsError(
                f"The evaluation sets hold more than {_PLACES:,} texts.", mend="Name fewer with --against at a time."
            )
        self._put(hashed & _HASH, place + 1)
        if 2 * self._used > self._mask:
            self._grow()

    def find(self, hashes: Sequence[int]) -> Iterator[tuple[int, int]]:
        """The hashes that are known: the index in `hashes`, and the place.

        Most hashes are not, so those are passed over without a step of Python for each.
        """
        begins = map(self._slots.__getitem__, map(self._mask.__and__, hashes))
        for index, _ in filter(itemgetter(1), enumerate(begins)):
            place = self._place(hashes[index] & _HASH)
            if place:
                yield index, place - 1

    def _put(self, hashed: int, place: int) -> None:
        slots, mask = self._slots, self._mask
        slot = hashed & mask
        while entry := slots[slot]:
            if entry >> _PLACE_BITS == hashed:
                return
            slot = (slot + 1) & mask
        slots[slot] = hashed << _PLACE_BITS | place
        self._used += 1

    def _place(self, hashed: int) -> int:
        """The place of a hash, from 1; 0 where it is not known."""
        slots, mask = self._slots, self._mask
        slot = hashed & mask
        while entry := slots[slot]:
            if entry >> _PLACE_BITS == hashed:
                return entry & _PLACES
            slot = (slot + 1) & mask
        return 0

    def _grow(self) -> None:
        old, self._used = self._slots, 0
        self._slots = array("Q", bytes(16 * len(old)))
        self._mask = len(self._slots) - 1
        for entry in filter(None, old):
            self._put(entry >> _PLACE_BITS, entry & _PLACES)
