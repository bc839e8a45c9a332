"""A filter for the kernel's seccomp: a process that has it, and all that comes of it, start no other process.

Limits on the number of processes are counted by user, over everything that the user runs, and do not bind root; this
one asks for nobody's number. Source of the numbers: the kernel's syscall tables.
"""

from __future__ import annotations

import platform
import struct
from functools import cache

from reflectune.errors import SettingsError

__all__ = ["no_more_processes"]

_MACHINES = {
    "x86_64": (0xC000003E, (56, 57, 58, 435)),
    "aarch64": (0xC00000B7, (220, 435)),
}
"""The kernel's name of a machine, and its numbers of clone, fork, vfork and clone3."""
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
_OTHER_NUMBERS = 0x40000000
"""From here on x86's second set of numbers begins, by which everything could be called too."""
_ALLOW, _TRY_AGAIN = 0x7FFF0000, 0x00050000 | 11


@cache
def no_more_processes() -> bytes:
    """The filter as bubblewrap reads it: instructions of 8 bytes.

    Raises:
        SettingsError: The numbers of this machine are not known here.
    """
    if (known := _MACHINES.get(platform.machine())) is None:
        raise SettingsError(
            f"No sandbox can be made on {platform.machine()}.", mend=f"Run it on {' or '.join(_MACHINES)}."
        )
    architecture, refused = known
    tests = [(_AT_LEAST, _OTHER_NUMBERS), *((_EQUAL, number) for number in refused)]
    # Jumps are counted from the next instruction; the last one refuses, the one before it allows.
    steps = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 0, len(tests) + 2, architecture), (_LOAD, 0, 0, _NUMBER)]
    steps += [(test, len(tests) - place, 0, number) for place, (test, number) in enumerate(tests)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _TRY_AGAIN)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
