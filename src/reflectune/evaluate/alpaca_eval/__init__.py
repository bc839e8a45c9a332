"""AlpacaEval: how often a judge prefers a model's answers to a reference's, raw and at equal length.

pairs            two files of answers, matched by their instructions
annotator        a judge's preference for each pair
verdicts         what a judge's reply says
annotations      preferences in AlpacaEval's file format
win_rate         the raw win rate
length_control   the length-controlled one, official or approximate
fitting          the logistic model behind it
official_files   AlpacaEval's difficulties and annotations of answers that play with their length
report           both side by side
leaderboard      a row in AlpacaEval's columns

Source: AlpacaEval (Li et al. 2023, github.com/tatsu-lab/alpaca_eval), Length-Controlled AlpacaEval (arXiv 2404.04475).
"""

from reflectune.evaluate.alpaca_eval.annotations import Annotation, Annotations, read_annotations
from reflectune.evaluate.alpaca_eval.annotator import Judged, annotate, requests_per_pair
from reflectune.evaluate.alpaca_eval.leaderboard import write_leaderboard
from reflectune.evaluate.alpaca_eval.length_control import Anchors, LengthControlled, length_controlled
from reflectune.evaluate.alpaca_eval.official_files import read_difficulty, read_gamed
from reflectune.evaluate.alpaca_eval.pairs import Answers, Pair, matched, read_outputs
from reflectune.evaluate.alpaca_eval.report import Report, report_of
from reflectune.evaluate.alpaca_eval.win_rate import WinRate, win_rate

__all__ = [
    "Anchors",
    "Annotation",
    "Annotations",
    "Answers",
    "Judged",
    "LengthControlled",
    "Pair",
    "Report",
    "WinRate",
    "annotate",
    "length_controlled",
    "matched",
    "read_annotations",
    "read_difficulty",
    "read_gamed",
    "read_outputs",
    "report_of",
    "requests_per_pair",
    "win_rate",
    "write_leaderboard",
]
