"""How fast tags are read: a reply as a whole, and in pieces of four characters, beside the making of the parts alone.

    python bench/tags.py

The replies are what models write (prose, code, formulas, two languages), and the worst that we could think of: tags
that are never closed, nothing but the beginnings of tags, one endless line, white space. Each is read at two lengths,
so that a time that grows faster than the text would show. Time is the processor's: other processes do not count.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from measure import finished, in_child, save

LEAST_MB_PER_S = 1.0
MOST_GROWTH = 3.0
"""Of the time, where the text is twice as long: a square would be 4."""
SIZE = 400_000
PIECE = 4
BEST_OF = 5

PROSE = (
    "Let me think about the cup and the coin, one step after the other, before I say where it is now.\n"
    "The cup is turned over on the bed, so 3 < 4 and the coin lies below; I should look again.\n\n"
    "```python\nfor cup in cups:\n    print('<output>', cup)\n```\n\n"
    "杯子被倒扣在床上，硬币没有盖子托住，所以它留在床上。\n"
)
REPLY = (
    f"<thinking>\n{PROSE * 4}<reflection>\nNo: that was wrong.\n{PROSE}</reflection>\n{PROSE}</thinking>\n\n"
    f"<output>\n{PROSE * 2}</output>\n"
)
TEXTS: dict[str, tuple[str, str]] = {
    "replies": ("", REPLY),
    "unclosed thinking": ("<thinking>\n", PROSE),
    "unclosed code block": ("<output>\n```\n", "x = '</output>' and\n"),
    "one long line": ("<output>", "word and word, "),
    "a think block": ("<think>", "a thought, then another <"),
    "beginnings of tags": ("", "<"),
    "tags in the wrong place": ("<output>", "<thinking>"),
    "white space": ("<thinking>", " "),
    "line breaks": ("<thinking>", "\n"),
    "backticks": ("<output>\n", "`"),
}
DEMANDED = (
    "replies",
    "unclosed thinking",
    "unclosed code block",
    "one long line",
    "a think block",
    "white space",
    "line breaks",
)
"""What a model may write at length. The others need not be as fast, but grow no faster than their length."""


def text_of(name: str, size: int) -> str:
    """A text of so many characters."""
    head, unit = TEXTS[name]
    return (head + unit * (size // len(unit) + 1))[:size]


def reading(name: str, size: int, piece: int) -> Callable[[], dict[str, float]]:
    """Prepare a text in pieces; the work reads it, and then only makes parts of the pieces.

    Both are told in seconds of processor time, the best of five.
    """
    from reflectune.tags import Part, Stream

    text = text_of(name, size)
    pieces = [text[begin : begin + piece] for begin in range(0, len(text), piece)]

    half = pieces[: len(pieces) // 2] if len(pieces) > 1 else [text[: size // 2]]

    def read(chunks: list[str]) -> None:
        stream = Stream(think=True)
        for chunk in chunks:
            stream.feed(chunk)
        stream.end()

    def bare(chunks: list[str]) -> None:
        parts = [[Part("text", chunk, chunk)] for chunk in chunks]
        parts.clear()

    def seconds(work: Callable[[list[str]], None], chunks: list[str]) -> float:
        began = time.process_time()
        work(chunks)
        return time.process_time() - began

    def work() -> dict[str, float]:
        # In turn, so that what else the machine does falls on each alike.
        rounds = [(seconds(read, pieces), seconds(read, half), seconds(bare, pieces)) for _ in range(BEST_OF)]
        return dict(zip(("read", "half", "bare"), map(min, zip(*rounds, strict=True)), strict=True))

    return work


def measured(name: str) -> dict[str, float]:
    """MB/s of a text, and how its time grows with its length."""
    size = len(text_of(name, SIZE).encode()) / 1e6
    whole = in_child(reading, name, SIZE, SIZE).value
    small = in_child(reading, name, SIZE, PIECE).value
    return {
        "whole_mb_per_s": round(size / whole["read"], 2),
        "pieces_mb_per_s": round(size / small["read"], 2),
        "bare_mb_per_s": round(size / small["bare"], 2),
        "times_bare": round(small["read"] / small["bare"], 2),
        "growth": round(small["read"] / small["half"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    if parser.parse_args().resume and finished("tags"):
        return
    figures = {}
    print(f"{'MB/s':26} {'whole':>9} {'by 4':>7} {'parts alone':>12} {'ratio':>7} {'twice as long':>14}")
    for name in TEXTS:
        found = figures[name] = measured(name)
        print(
            f"{name:26} {found['whole_mb_per_s']:9.1f} {found['pieces_mb_per_s']:7.2f} {found['bare_mb_per_s']:12.2f} "
            f"{found['times_bare']:7.2f} {found['growth']:13.2f}x"
        )
    fast = all(
        min(figures[name]["whole_mb_per_s"], figures[name]["pieces_mb_per_s"]) >= LEAST_MB_PER_S for name in DEMANDED
    )
    met = fast and all(found["growth"] <= MOST_GROWTH for found in figures.values())
    bounds = {"least_mb_per_s": LEAST_MB_PER_S, "most_growth": MOST_GROWTH, "demanded_of": list(DEMANDED)}
    save("tags", met=met, characters=SIZE, piece=PIECE, texts=figures, bounds=bounds)


if __name__ == "__main__":
    main()
