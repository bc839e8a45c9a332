"""Pages that need nothing but themselves: no script, no font, no picture from elsewhere.

charts.py    pictures whose ink and grid take the page's own colours, light or dark
"""

from __future__ import annotations

from html import escape
from pathlib import Path

__all__ = ["page"]


def page(title: str, body: str) -> str:
    """A whole page.

    Args:
        title: Its title, as plain text.
        body: What stands in it, as HTML.
    """
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
