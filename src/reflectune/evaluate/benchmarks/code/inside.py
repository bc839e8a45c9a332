"""What runs inside the sandbox: it gives up its rights, limits itself, runs the program, and says whether that ended.

It is handed to the interpreter as text, and stands alone: on its standard input come a token, the limits and the
program; on its standard output goes the token where the program came to its end, else `!` and its error.
"""

if __name__ == "__main__":
    import os
    import resource
    import sys

    _token, _limits, _program = sys.stdin.buffer.read().split(b"\n", 2)
    _seconds, _memory, _file = (int(number) for number in _limits.split())
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
    _nowhere = os.open(os.devnull, os.O_RDWR)
    for _stream in (0, 1, 2):
        os.dup2(_nowhere, _stream)
    try:
        exec(compile(_program, "program.py", "exec"), {"__name__": "program"})  # noqa: S102 - that is what it is for
    except BaseException as _error:  # noqa: BLE001 - whatever a program does to end itself
        os.write(_out, f"!{type(_error).__name__}: {_error}"[:500].encode("utf-8", "replace"))
        os._exit(1)
    os.write(_out, _token)
    os._exit(0)
