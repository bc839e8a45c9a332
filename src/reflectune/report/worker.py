"""Statistics of a run in a process of its own, so that a page stays quick: `python -m reflectune.report.worker RUN`.

Standard input holds a JSON object: for each language of the pictures what `PICTURE_TEXTS` and the two sides are called
in it. Standard output gets one JSON object a line: `{"progress": [what, done, of]}`, and at the end `{"found": ...}` or
`{"missing": "pip install ..."}` or `{"error": ...}`.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from reflectune.errors import MissingExtraError, ReflectuneError
from reflectune.evaluate import Comparison
from reflectune.report.before_after import before_after, pictures
from reflectune.report.wording import lines

_EVERY = 0.2
_NICER = 5


def statistics_of(run: Path, languages: dict[str, dict[str, str]], tell: Any = None) -> dict[str, Any]:
    """What the page shows of a run's statistics, ready for JSON.

    Args:
        run: The run's folder.
        languages: The texts of the pictures, by language.
        tell: Is told what is being done, how far it is, and of how many.
    """
    found = before_after(run, progress=tell)
    if found is None:
        return {"rows": 0}
    old, new = (found.before, found.after) if isinstance(found, Comparison) else (found, None)
    drawn = {language: pictures(found, texts) for language, texts in languages.items()}
    return {
        "rows": old.rows,
        "compared": new is not None,
        "pairs": found.pairs if isinstance(found, Comparison) else 0,
        "lines": [asdict(line) for line in lines(found)],
        "languages": [one.languages for one in (old, new) if one is not None],
        "pictures": {language: each.drawn for language, each in drawn.items()},
        "missing": next((each.missing for each in drawn.values()), ""),
    }


def main() -> None:
    """Compute, and say how it goes."""
    os.nice(_NICER)
    languages = orjson.loads(sys.stdin.buffer.read() or b'{"en": {}}')
    told = 0.0

    def tell(what: str, done: int, of: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _EVERY:
            told = time.monotonic()
            _say({"progress": [what, done, of]})

    try:
        _say({"found": statistics_of(Path(sys.argv[1]), languages, tell)})
    except MissingExtraError as missing:
        _say({"missing": missing.mend})
    except ReflectuneError as error:
        _say({"error": error.what})


def _say(what: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
