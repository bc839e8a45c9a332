"""The picture of docs/reading-ifd.md: what becomes of IFD as a response grows.

    python docs/ifd_picture.py

The embedded student scores the beginnings of the same response, once under its own question and once under another.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import altair as alt

from reflectune import Example, open_source, score

ROOT = Path(__file__).parents[1]
QUESTIONS = {"fits": "its own question", "other-question": "another question"}
STEP = 4
PICTURE = ROOT / "docs" / "pictures" / "ifd-length.svg"


def main() -> None:
    """Score and draw."""
    rows = list(beginnings())
    points = []
    for scored in score(rows, "local").scored:
        name, words = scored.id.split("/")
        if scores := scored.versions.get("original"):
            points.append({"words": int(words), "IFD": scores.ifd_ppl, "under": QUESTIONS[name]})
    base = alt.Chart(alt.Data(values=points), width=560, height=260)
    lines = base.mark_line(point=True).encode(
        x=alt.X("words:Q", title="words of the response"),
        y=alt.Y("IFD:Q", title="IFD", scale=alt.Scale(domainMin=0)),
        color=alt.Color("under:N", title="the same response under", legend=alt.Legend(orient="top")),
    )
    one = alt.Chart(alt.Data(values=[{"at": 1}])).mark_rule(strokeDash=[4, 4]).encode(y="at:Q")
    (lines + one).configure(background="white").save(PICTURE)
    for point in points:
        print(point)


def beginnings() -> Iterator[Example]:
    """The first words of a response, more and more of them, under both questions."""
    for row in open_source(ROOT / "examples" / "ifd.jsonl").rows():
        if row.example and row.example.id in QUESTIONS:
            words = row.example.response.split()
            for count in range(STEP, len(words) + 1, STEP):
                said = " ".join(words[:count])
                yield Example(f"{row.example.id}/{count}", row.example.instruction, said)


if __name__ == "__main__":
    main()
