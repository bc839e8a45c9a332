"""A row of AlpacaEval's leaderboard, in its own columns."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from reflectune.errors import RunError
from reflectune.files import replacing

if TYPE_CHECKING:
    from reflectune.evaluate.alpaca_eval.report import Report

__all__ = ["COLUMNS", "leaderboard_row", "write_leaderboard"]

COLUMNS = (
    *("win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total", "discrete_win_rate", "mode"),
    *("avg_length", "length_controlled_winrate", "lc_standard_error"),
)


def leaderboard_row(report: Report) -> dict[str, float | int | str | None]:
    """The row of a model.

    Its `mode` is `community` where the length-controlled win rate is AlpacaEval's own, else `dev`: the format has no
    other place to say that a figure is not to be compared with the published ones.
    """
    raw, level = report.win_rate, report.length_controlled
    values = {
        "win_rate": raw.win_rate,
        "standard_error": raw.standard_error,
        "n_wins": raw.n_wins,
        "n_wins_base": raw.n_wins_base,
        "n_draws": raw.n_draws,
        "n_total": raw.n_total,
        "discrete_win_rate": raw.discrete_win_rate,
        "mode": "community" if level and level.official else "dev",
        "avg_length": int(report.mean_length),
        "length_controlled_winrate": level.value if level else None,
        "lc_standard_error": level.standard_error if level else None,
    }
    return {name: values[name] for name in COLUMNS}


def write_leaderboard(path: Path, reports: Iterable[Report]) -> None:
    """Write a leaderboard as CSV: the models' names in a first column without a name, the best first.

    Raises:
        RunError: It cannot be written.
    """
    ranked = sorted(reports, key=lambda report: -report.win_rate.win_rate)
    try:
        with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["", *COLUMNS])
            for report in ranked:
                row = leaderboard_row(report)
                writer.writerow([report.model, *("" if row[name] is None else row[name] for name in COLUMNS)])
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error}.", mend="Name another folder with --run.") from error
