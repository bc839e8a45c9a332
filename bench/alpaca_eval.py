"""Recompute every published figure of AlpacaEval that real annotations give, and say how far ours lie from it.

make proof-alpaca-eval

The length-controlled win rates are beside the published ones with the gap. Two further questions are answered: whether
the published column of the first leaderboard can have been predicted from the second one's weights, and what a
difficulty of the instructions, estimated from other models' verdicts, would change.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import least_squares, minimize
from scipy.special import expit

from measure import finished, save
from on_real_rows import real_data
from reflectune.evaluate.alpaca_eval import Anchors, Annotations, length_controlled, read_annotations, report_of

NAME = "alpaca_eval"
FOLDER = "alpaca_eval"
FIRST, SECOND = "alpaca_eval_gpt4", "weighted_alpaca_eval_gpt4_turbo"
SETS = {
    "recycled-wizardlm-7b-v2.0": FIRST,
    "alpaca-7b": FIRST,
    "wizardlm-13b": FIRST,
    "alpaca-7b, AlpacaEval 2": SECOND,
}
EXACT = ("win_rate", "standard_error", "discrete_win_rate")
COUNTS = ("n_wins", "n_wins_base", "n_draws", "n_total")
NEAR = 3.0
"""Percentage points that the two figures of Recycled WizardLM 7B V2 and Alpaca 7B may lie from the published ones."""
KNOTS = 41


def leaderboard(name: str) -> dict[str, dict[str, str]]:
    with real_data(f"{FOLDER}/{name}_leaderboard.csv").open() as stream:
        return {row[""]: row for row in csv.DictReader(stream)}


def read(name: str) -> Annotations:
    return read_annotations(real_data(f"{FOLDER}/{name.partition(',')[0]}/{SETS[name]}/annotations.json"))


def swapped(annotations: Annotations) -> float:
    """The length-controlled win rate of the reference against the model."""
    rows = [
        row.model_copy(
            update={
                "output_1": row.output_2,
                "output_2": row.output_1,
                "preference": 3 - row.preference if row.preference else row.preference,
            }
        )
        for row in annotations.rows
    ]
    return length_controlled(rows).value


def recomputed(name: str) -> dict[str, Any]:
    """The figures of one set, published and ours, and the largest gap of those that are to be equal."""
    started = time.perf_counter()
    annotations, published = read(name), leaderboard(SETS[name])[name.partition(",")[0]]
    report = report_of(annotations)
    raw, level = report.win_rate, report.length_controlled
    assert level is not None
    figures = {column: {"published": float(published[column]), "ours": getattr(raw, column)} for column in EXACT}
    gap = max(abs(one["published"] - one["ours"]) for one in figures.values())
    counts = all(int(published[column]) == getattr(raw, column) for column in COUNTS)
    official = float(published["length_controlled_winrate"])
    return {
        **figures,
        "largest_gap": gap,
        "counts_equal": counts and int(published["avg_length"]) == int(report.mean_length),
        "length_controlled": {
            "published": official,
            "ours": level.value,
            "gap": level.value - official,
            "interval": [level.interval.low, level.interval.high],
            "label": level.label,
            "longer_percent": level.longer,
            "both_sides": level.value + swapped(annotations),
        },
        "seconds": round(time.perf_counter() - started, 2),
    }


def levels(weights: Any, difficulty: Any) -> Any:
    """Length-controlled win rates that weights predict: (models,) of (models, 2) and (instructions,)."""
    return 100 * expit(weights[:, 1:] + weights[:, :1] * difficulty).mean(axis=1)


def from_the_weights() -> dict[str, Any]:
    """Whether the published weights explain the published columns, with one unknown distribution of difficulties.

    The second leaderboard's column is a function of its weights and the difficulties alone, so that it tells their
    distribution. Under it, the first leaderboard's column is looked for with the reference's two weights free.
    """
    with real_data(f"{FOLDER}/lc_weights_baseline_gpt4_1106_preview.csv").open() as stream:
        weights = {row[0]: [float(row[2]), float(row[3])] for row in list(csv.reader(stream))[1:]}

    def column(name: str) -> tuple[Any, Any]:
        rows = {model: row["length_controlled_winrate"] for model, row in leaderboard(name).items()}
        known = [model for model, value in rows.items() if value and any(weights.get(model, ()))]
        return np.array([weights[model] for model in known]), np.array([float(rows[model]) for model in known])

    (second, its), (first, theirs) = column(SECOND), column(FIRST)

    def spread(steps: Any) -> Any:
        return np.cumsum(np.r_[steps[0], np.exp(steps[1:])])

    start = np.r_[-2, np.log(np.full(KNOTS - 1, 4 / (KNOTS - 1)))]
    difficulty = spread(least_squares(lambda steps: levels(second, spread(steps)) - its, start, max_nfev=400).x)
    missed = levels(second, difficulty) - its
    reference = least_squares(lambda base: levels(first - base, difficulty) - theirs, [1.0, -4.0]).x
    other = levels(first - reference, difficulty) - theirs
    return {"second": apart(missed), "first_from_second": apart(other)}


def apart(gaps: Any) -> dict[str, float]:
    return {
        "models": len(gaps),
        "median": float(np.median(abs(gaps))),
        "rms": float(np.sqrt((gaps**2).mean())),
        "largest": float(abs(gaps).max()),
    }


def estimated(others: Sequence[Annotations]) -> Mapping[int, float]:
    """The difficulty of each instruction by the verdicts on other models: a logistic model with a ridge of 1 on it."""
    lengths = np.array([[len(row.output_1) - len(row.output_2) for row in one.rows] for one in others], dtype=float)
    bent = np.tanh(lengths / lengths.std(axis=1, ddof=1, keepdims=True))
    shares = np.array([[np.nan if row.share is None else row.share for row in one.rows] for one in others])
    known, shares = ~np.isnan(shares), np.nan_to_num(shares)
    count = len(others)

    def loss(point: Any) -> tuple[float, Any]:
        own, slopes, hard = point[:count, None], point[count : 2 * count, None], point[2 * count :]
        logits = own + slopes * bent + hard
        error = (expit(logits) - shares) * known
        value = ((np.logaddexp(0, logits) - shares * logits) * known).sum() + hard @ hard / 2
        slope = np.r_[error.sum(axis=1), (error * bent).sum(axis=1), error.sum(axis=0) + hard]
        return float(value), slope

    found = minimize(loss, np.zeros(2 * count + bent.shape[1]), jac=True, method="L-BFGS-B")
    return dict(enumerate(found.x[2 * count :].tolist()))


def with_difficulty() -> dict[str, float]:
    """How far an estimated difficulty moves the figures of the first leaderboard, in percentage points."""
    sets = {name: read(name) for name, judge in SETS.items() if judge == FIRST}
    moved = {}
    for name, own in sets.items():
        anchors = Anchors(estimated([other for label, other in sets.items() if label != name]))
        moved[name] = length_controlled(own.rows, anchors).value - length_controlled(own.rows).value
    return moved


def show(name: str, figures: dict[str, Any]) -> None:
    level = figures["length_controlled"]
    print(name)
    for column in EXACT:
        print(f"  {column:18} published {figures[column]['published']:9.5f}  ours {figures[column]['ours']:9.5f}")
    low, high = level["interval"]
    print(
        f"  length-controlled  published {level['published']:9.5f}  ours {level['ours']:9.5f} ({level['label']},"
        f" {low:.1f} to {high:.1f})  gap {level['gap']:+.2f}; with the sides swapped {level['both_sides']:.4f} in all"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true")
    if parser.parse_args().resume and finished(NAME):
        return
    figures = {name: recomputed(name) for name in SETS}
    for name, found in figures.items():
        show(name, found)
    weights, moved = from_the_weights(), with_difficulty()
    for name, found in weights.items():
        print(f"weights, {name}: {found}")
    print("an estimated difficulty moves:", {name: round(value, 2) for name, value in moved.items()})
    near = (figures[name]["length_controlled"]["gap"] for name in ("recycled-wizardlm-7b-v2.0", "alpaca-7b"))
    met = (
        all(found["largest_gap"] < 1e-4 and found["counts_equal"] for found in figures.values())
        and all(abs(found["length_controlled"]["both_sides"] - 100) < 0.1 for found in figures.values())
        and all(abs(gap) < NEAR for gap in near)
    )
    save(NAME, met=met, figures=figures, weights=weights, difficulty_moves=moved)


if __name__ == "__main__":
    main()
