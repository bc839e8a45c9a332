"""The command line: one thin command per stage."""

from __future__ import annotations

import sqlite3
import sys

import typer

from reflectune.cli import (
    alpaca_eval,
    arms,
    benchmark,
    chat,
    doctor,
    export,
    gates,
    generate,
    init,
    judge,
    leaderboard,
    recycle,
    report,
    run,
    runs,
    score,
    select,
    serve,
    stats,
    traces,
    train,
    ui,
    verdict,
)
from reflectune.cli.screen import complain
from reflectune.errors import ReflectuneError, RunError, SettingsError

app = typer.Typer(
    name="reflectune",
    help="Make instruction data better by reflection, and keep every critique and every failure.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(init.command)
app.command("run")(run.command)
app.command("recycle")(recycle.command)
app.command("score")(score.command)
app.command("select")(select.command)
app.command("arms")(arms.command)
app.command("train")(train.command)
app.command("generate")(generate.command)
app.command("export")(export.command)
app.command("gates")(gates.command)
app.command("stats")(stats.command)
app.command("traces")(traces.command)
app.command("benchmark")(benchmark.command)
app.command("leaderboard")(leaderboard.command)
app.command("report")(report.command)
app.command("judge")(judge.command)
app.command("alpaca-eval")(alpaca_eval.command)
app.command("verdict")(verdict.command)
app.command("chat")(chat.command)
app.command("serve")(serve.command)
app.command("ui")(ui.command)
app.command("doctor")(doctor.command)
app.add_typer(runs.app, name="runs")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"reflectune {version('reflectune')}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line; every error of ours is one message with its mend, and an exit code."""
    try:
        app()
    except ReflectuneError as error:
        complain(error)
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    except sqlite3.Error as error:
        mend = "Free some disk space, or name another folder with --run."
        complain(RunError(f"The run's database cannot be used: {error}.", mend=mend))
        sys.exit(1)
