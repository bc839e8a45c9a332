"""What runs inside the sandbox: it gives up its rights, limits itself, runs the program, and says whether that ended.

It is handed to the interpreter as text, and stands alone: on its standard input come a line of a fixed length with the
limits and the program's length, the program, and a token; on its standard output goes the token where the program came
to its end, else `!` and its error.

The token is read last, and is only ever an operand of the call that waits for the program: no name, frame or object
that Python shows to the program leads to it.
"""

if __name__ == "__main__":
    import os
    import resource

    def _read(size: int) -> bytes:
        found = b""
        while len(found) < size and (chunk := os.read(0, size - len(found))):
            found += chunk
        return found

    def _hushed(said: bytes) -> bytes:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        return said

    def _end(said: bytes, *_: object) -> None:
        os.write(_out, said)
        os._exit(0)

    _seconds, _memory, _file, _length = (int(number) for number in _read(64).split())
    _program = _read(_length)
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    for _limit, _most in (
        (resource.RLIMIT_AS, _memory),
        (resource.RLIMIT_CPU, _seconds),
        (resource.RLIMIT_FSIZE, _file),
        (resource.RLIMIT_NPROC, 1),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(_limit, (_most, _most))
    _out = os.dup(1)
    try:
        # In this order: the token is taken, and the streams are closed, before the program begins.
        _end(_hushed(_read(32)), eval(compile(_program, "program.py", "exec"), {"__name__": "program"}))  # noqa: S307
    except BaseException as _error:  # noqa: BLE001 - whatever a program does to end itself
        os.write(_out, f"!{type(_error).__name__}: {_error}"[:500].encode("utf-8", "replace"))
        os._exit(1)
