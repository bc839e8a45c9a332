"""What a journey came to, on one page: honest, quotable, and in need of nothing but itself.

folder.py        what lies in a journey's folder, read as it is
comparisons.py   from verdicts to figures, a prompt counted once however many seeds there are
gathered.py      students, data, costs, who took part
conclusion.py    what the intervals say: rules
caveats.py       what speaks against trusting it: rules
paragraph.py     the whole in one paragraph; wording.py has the words, texts/ in English and Chinese
tables.py        the figures as rows; charts.py draws them, sections.py is the page, markdown.py for a model card
records.py       all of it, typed: verdict.json
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reflectune.errors import RunError
from reflectune.files import write_whole
from reflectune.page import page
from reflectune.verdict.caveats import caveats_of
from reflectune.verdict.comparisons import compared
from reflectune.verdict.conclusion import concluded
from reflectune.verdict.folder import Folder, read_folder
from reflectune.verdict.gathered import benchmarks_of, data_of, missing_of, repeat_of, stages_of, students_of
from reflectune.verdict.markdown import as_markdown
from reflectune.verdict.paragraph import paragraph
from reflectune.verdict.records import Verdict
from reflectune.verdict.sections import body
from reflectune.verdict.wording import LANGUAGES, Language, words

__all__ = ["FILE", "Verdict", "Written", "verdict_of", "write_verdict"]

FILE = "verdict.html"
_HTML_LANGUAGES: dict[Language, str] = {"en": "en", "zh": "zh-CN"}


@dataclass(frozen=True, slots=True)
class Written:
    """A verdict that was written.

    Attributes:
        verdict: What it says.
        page: The page.
        figures: The same, typed, as JSON.
        markdown: The paragraph and the main table.
    """

    verdict: Verdict
    page: Path
    figures: Path
    markdown: Path


def write_verdict(run: Path, output: Path | None = None, *, language: Language = "en") -> Written:
    """Write what a journey came to, finished or not, as a page, as JSON and as Markdown.

    Args:
        run: The journey's folder.
        output: The page; by default `verdict.html` in that folder. The others lie beside it.
        language: Of the page and of the Markdown.

    Raises:
        MissingExtraError: A library that computes the figures is not installed.
        RunError: There is no journey, a file of it cannot be used, or nothing can be written.
    """
    folder = read_folder(run)
    found, say = verdict_of(folder), words(language)
    path = output or run / FILE
    linked = folder.report and path.resolve().parent == run.resolve()
    inside = body(found, say, folder.benchmarks, path.parent, linked=linked)
    written = Written(found, path, path.with_suffix(".json"), path.with_suffix(".md"))
    _write(written.figures, found.model_dump_json(indent=1) + "\n")
    _write(written.markdown, as_markdown(found, say))
    _write(path, page(say("title", name=found.name), inside, _HTML_LANGUAGES[language]))
    return written


def verdict_of(folder: Folder) -> Verdict:
    """What a journey came to.

    Raises:
        MissingExtraError: A library that computes the figures is not installed.
    """
    comparisons = tuple(compared(folder.judgings))
    bare = Verdict(
        name=folder.name,
        conclusion=concluded(comparisons),
        comparisons=comparisons,
        students=students_of(folder),
        benchmarks=benchmarks_of(folder),
        data=data_of(folder),
        stages=stages_of(folder),
        missing=missing_of(folder),
        unnamed=folder.unnamed,
        left_over=folder.left_over,
        repeat=repeat_of(folder),
    )
    judged = bare.model_copy(update={"caveats": caveats_of(bare)})
    return judged.model_copy(update={"text": {language: paragraph(judged, words(language)) for language in LANGUAGES}})


def _write(path: Path, content: str) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}.", mend="Name another place with --output.") from error
