"""Pages that need nothing but themselves: no script, no font, no picture from elsewhere.

charts.py    pictures whose ink and grid take the page's own colours, light or dark
markup.py    small pieces: sections, tables, figures, texts that fold
text.py      texts of strangers: escaped, cut, with nothing in them that cannot be seen
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path

__all__ = ["page"]


def page(title: str, body: str, language: str = "en") -> str:
    """A whole page, on which no script runs and which loads nothing, whatever stands in its body.

    Args:
        title: Its title, as plain text.
        body: What stands in it, as HTML.
        language: What it is written in, as HTML names languages.
    """
    style = "\n" + Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    own = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"""\
<!doctype html>
<html lang="{escape(language)}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-{own}'; img-src data:; \
base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
