"""Let a person judge: read, match, open the page, and hand over what it came to."""

from __future__ import annotations

import asyncio
import shutil
import signal
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import typer

from reflectune.cli.beside import named, others_in
from reflectune.cli.hand_verdicts import Sat, conclude
from reflectune.cli.judging import Asked, check_files, paired
from reflectune.cli.screen import say
from reflectune.cli.verdicts import NOTE
from reflectune.errors import RunError, SettingsError
from reflectune.evaluate.judge.desk import Desk
from reflectune.evaluate.judge.evaluation import Judged
from reflectune.evaluate.judge.kept import by_judge, read_verdicts
from reflectune.evaluate.judge.people import name_of_person
from reflectune.evaluate.scores import FILE, Evaluation
from reflectune.generation.naming import file_name
from reflectune.optional import load_optional
from reflectune.runs import RunDir

_STOP_AFTER = 0.2
"""Seconds until the app ends after somebody presses the button, so that the page still gets its reply."""


@dataclass(frozen=True, slots=True)
class ByHand:
    """What is asked for.

    Attributes:
        asked: The files, the limit, what the models are called, the run's folder.
        annotator: Who judges; `None` for somebody without a name.
        seed: What draws the sides and the order.
        compare: Runs of judges on the same pairs.
        port: The port; 0 for any that is free.
        browser: Whether to open a browser.
    """

    asked: Asked
    annotator: str | None = None
    seed: int = 0
    compare: tuple[Path, ...] = ()
    port: int = 0
    browser: bool = True

    @property
    def judge(self) -> str:
        """The judge's name."""
        return name_of_person(self.annotator)


def carry_out(hand: ByHand, *, dry_run: bool, as_json: bool) -> None:
    """Serve the page until it is finished or Ctrl-C is pressed, and show what the verdicts come to.

    Raises:
        InputError: A file cannot be read, or the two have nothing in common.
        MissingExtraError: The extra `web` is not installed.
        RunError: The run's folder, or one that is compared with, cannot be used.
        SettingsError: What is asked does not fit.
    """
    load_optional("fastapi", "Judging by hand", "web")
    load_optional("uvicorn", "Judging by hand", "web")
    check_files(hand.asked)
    names, found, alone = paired(hand.asked)
    folder = hand.asked.run or Path("runs") / file_name(f"{names[0]}-against-{names[1]}-by-{hand.judge}")
    _check_folder(folder)
    compared = [(run, judged) for run in hand.compare for judged in _judges_of(run)]
    if dry_run:
        if as_json:
            typer.echo(orjson.dumps({"run": str(folder), "pairs": len(found.pairs)}).decode())
        return
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with RunDir(folder) as run:
        desk = Desk(found.pairs, run.store, hand.judge, hand.seed)
        hand.asked.settings.save(folder / NOTE)
        finished = _serve(hand, desk, folder, as_json=as_json)
        run.store.flush()
    if not desk.verdicts:
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        say("Nothing was judged.", quiet=hand.asked.quiet)
        raise typer.Exit(0 if finished else 130)
    sat = Sat(folder, names, hand.asked, hand.judge, found, alone, desk.verdicts, finished=finished)
    here = [(folder, judged) for judged in others_in(folder, hand.judge)]
    conclude(sat, named([*compared, *here], folder), as_json=as_json)


def _check_folder(folder: Path) -> None:
    """Refuse a folder whose files are another command's.

    Raises:
        RunError: Its evaluation cannot be read.
        SettingsError: They are.
    """
    if folder.is_file():
        raise SettingsError(f"{folder} is a file, not a run's folder.", mend="Name a folder with --run.")
    evaluation = folder / FILE
    other = evaluation.is_file() and Evaluation.load(evaluation).command != "judge"
    if other or ((folder / "state.sqlite").is_file() and not (folder / NOTE).is_file()):
        raise SettingsError(f"The run {folder} holds no verdicts.", mend="Name another folder with --run.")


def _judges_of(run: Path) -> list[Judged]:
    """What the judges of another run said.

    Raises:
        RunError: It holds no verdicts.
    """
    found = by_judge(read_verdicts(run))
    if not found:
        raise RunError(f"There are no verdicts in {run}.", mend="Name the folder of `reflectune judge` with --compare.")
    return found


def _serve(hand: ByHand, desk: Desk, folder: Path, *, as_json: bool) -> bool:
    """Serve the page; returns whether it was ended by its button."""
    from reflectune.web.app import create_app
    from reflectune.web.judging import Sitting
    from reflectune.web.listening import bound, listen
    from reflectune.web.state import WebState

    finished = False

    def end() -> None:
        nonlocal finished
        finished = True
        asyncio.get_running_loop().call_later(_STOP_AFTER, signal.raise_signal, signal.SIGINT)

    def ready(url: str) -> None:
        typer.echo(f"{url}/judging", err=as_json)  # standard output holds one JSON object then, and nothing else
        say(f"{desk.done:,} of {desk.total:,} judged. The button Finish or Ctrl-C ends it.", quiet=hand.asked.quiet)
        if hand.browser:
            webbrowser.open(f"{url}/judging")

    app = create_app(WebState(folder.resolve().parent))
    app.state.judging = Sitting(desk, end)
    _until_told(lambda: listen(app, bound("127.0.0.1", hand.port), ready))
    return finished


def _until_told(serve: Callable[[], None]) -> None:
    try:
        serve()
    except KeyboardInterrupt:  # the server has ended well, and passes on what ended it
        return
