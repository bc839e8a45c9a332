"""`reflectune stats`: what data is like, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from reflectune.cli.dataset import DataSet, Wanted
    from reflectune.evaluate import Statistics
    from reflectune.evaluate.figures import Tokenizer
    from reflectune.evaluate.plots import PictureFormat


def command(
    data: Annotated[str, typer.Argument(help="A data file, a data set of the hub, or a run's folder.")],
    against: Annotated[str | None, typer.Option(help="What it is compared with: another one of these.")] = None,
    version: Annotated[
        Literal["original", "Q", "A", "QA", "latest"], typer.Option(help="Which version of a run's rows.")
    ] = "latest",
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="Compare the means, also where rows of both have the same id.")
    ] = False,
    tokenizer: Annotated[
        str | None, typer.Option(help="What counts tokens: a folder or a hub id; by default the embedded model's.")
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="The model of the embeddings: a folder or a hub id; by default all-MiniLM-L6-v2.")
    ] = None,
    no_coherence: Annotated[
        bool, typer.Option("--no-coherence", help="No embeddings, which take nearly all of the time.")
    ] = False,
    no_tokens: Annotated[bool, typer.Option("--no-tokens", help="Count no tokens, only words.")] = False,
    limit: Annotated[int | None, typer.Option(help="Only the first rows of each data set.", min=1)] = None,
    map: Annotated[  # noqa: A002 - the flag is called so everywhere
        str | None, typer.Option(help="Which columns of DATA hold what, as in `recycle`.")
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="A folder for pictures of the distributions.")] = None,
    format: Annotated[Literal["svg", "png"], typer.Option(help="The pictures' format.")] = "svg",  # noqa: A002
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes.")] = False,
) -> None:
    """Tell what data is like: lengths, coherence, diversity, duplicates, languages; and what became of it.

    A run's rows are told before and after, with the mean change of each figure and its 95% interval. Perplexities, IFD
    and r-IFD are there where `reflectune score` has scored the run.

    [bold]Examples[/bold]

    reflectune stats data.json                                   one data set

    reflectune stats runs/data                                   a run, before and after

    reflectune stats runs/data --plots plots --format png        and pictures of the distributions

    reflectune stats new.jsonl --against old.jsonl --json        two data sets, as JSON
    """
    import orjson

    from reflectune.cli.figures import show_comparison, show_statistics
    from reflectune.cli.findings import progress
    from reflectune.cli.screen import say
    from reflectune.embedding import Embedder
    from reflectune.evaluate import compare, stats

    before, after = _rows(data, against, version, limit, map)
    for side in filter(None, (before, after)):
        if side.unread:
            say(f"{side.name}: {side.unread:,} rows hold no pair that can be read", quiet=quiet)
    with progress(quiet=quiet) as advance:
        advance("loading", 0, len(after.rows))
        count = None if no_tokens else _tokenizer(tokenizer, quiet=quiet)
        vectors = None if no_coherence else Embedder.open(embedder)

        def found(side: DataSet) -> Statistics:
            return stats(side.rows, embedder=vectors, tokenizer=count, scores=side.scores, progress=advance)

        old = found(before) if before else None
        new = found(after)
        compared = compare(old, new, paired=False if unpaired else None) if old else None
    if plots is not None:
        named = {before.name: old, after.name: new} if before and old else {after.name: new}
        for path in _draw(plots, named, format):
            say(f"picture   {path}", quiet=quiet)
    if json:
        typer.echo(orjson.dumps((compared or new).plain()).decode())
    elif compared and before:
        show_comparison(compared, before, after)
    else:
        show_statistics(new, after)


def _rows(
    data: str, against: str | None, version: Wanted, limit: int | None, mapping: str | None
) -> tuple[DataSet | None, DataSet]:
    """What is looked at: before, where there is such a thing, and after.

    Raises:
        InputError: A file cannot be read.
        RunError: No row of a run has that version.
        SettingsError: The flags do not fit the data.
    """
    from reflectune.cli.dataset import is_rewritten, is_run, of_file, of_run, originals
    from reflectune.errors import SettingsError

    runs = [name for name in (data, against) if name is not None and is_run(name)]
    if version != "latest" and not runs:
        raise SettingsError("--version is for the rows of a run.", mend="Name a run's folder, or leave it out.")
    if mapping and data in runs:
        raise SettingsError("--map is for a data file, and a run knows its columns.", mend="Leave it out.")

    def one(name: str, mapping: str | None = None) -> DataSet:
        if name not in runs:
            return of_file(name, limit=limit, mapping=mapping)
        if version == "original" or (version == "latest" and not is_rewritten(Path(name))):
            return originals(Path(name), limit)
        return of_run(Path(name), version, limit)[1]

    if against is None:
        both = data in runs and version != "original" and (version != "latest" or is_rewritten(Path(data)))
        return of_run(Path(data), version, limit) if both else (None, one(data, mapping))
    before, after = one(against), one(data, mapping)
    before.name, after.name = _short_names(against, data)
    return before, after


def _short_names(against: str, data: str) -> tuple[str, str]:
    one, other = Path(against).name, Path(data).name
    return (one, other) if one != other else ("before", "after")


def _tokenizer(name: str | None, *, quiet: bool) -> Tokenizer | None:
    """What counts tokens: the named tokenizer, else that of the embedded model where it is installed.

    Raises:
        MissingExtraError: One is named and transformers is not installed.
        OracleError: The weights that are named cannot be read or fetched.
        SettingsError: There is no such tokenizer.
    """
    from reflectune.cli.screen import say
    from reflectune.errors import MissingExtraError, OracleError
    from reflectune.student import open_tokenizer
    from reflectune.student.weights import find_student

    try:
        encode = open_tokenizer(find_student(name or "local").folder)
    except (MissingExtraError, OracleError) as error:
        if name:
            raise
        say(f"no tokens are counted: {error.what}", quiet=quiet)
        return None
    return lambda text: len(encode(text, add_special_tokens=False, verbose=False)["input_ids"])


def _draw(folder: Path, named: dict[str, Statistics], kind: PictureFormat) -> list[Path]:
    """Write the pictures.

    Raises:
        SettingsError: The folder cannot be written to.
    """
    from reflectune.errors import SettingsError
    from reflectune.evaluate.plots import draw

    pictures = draw(named, kind)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in pictures.items():
            (folder / f"{name}.{kind}").write_bytes(content)
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written to: {error.strerror}.", mend="Name another folder.") from error
    return [folder / f"{name}.{kind}" for name in pictures]
