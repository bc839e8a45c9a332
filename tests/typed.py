"""The command line in the process of the test: what a command says and ends with, without the second a start takes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from reflectune.cli import main


def reflectune(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Type a command in a folder, with no key but what is given, as `test_cli.reflectune` does in a process."""
    words = ["reflectune", *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with (
        chdir(cwd),
        mock.patch.dict(os.environ, clean | variables, clear=True),
        mock.patch.object(sys, "argv", words),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    told = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(words, code, *told)
