"""What data is like, and what became of it: statistics of instruction data, before and after.

figures         one row: lengths, perplexities, coherence, IFD and r-IFD
statistics      a data set: what its rows' figures come to, languages, diversity, duplicates
intervals       means with bootstrap intervals, and differences of means
plots           distributions as SVG or PNG
scores          what an evaluation of a model came to: a record for each figure
judge           two models' answers compared by a judge, in both orders
alpaca_eval     answers compared with a reference's, raw and at equal length
benchmarks      questions whose answer a rule can check, through lm-eval
leaderboard     everything that was evaluated, on one page
"""

from reflectune.evaluate.figures import METRICS, Figures, Metric
from reflectune.evaluate.intervals import Difference, Interval, Summary
from reflectune.evaluate.statistics import Comparison, Statistics, compare, stats

__all__ = [
    "METRICS",
    "Comparison",
    "Difference",
    "Figures",
    "Interval",
    "Metric",
    "Statistics",
    "Summary",
    "compare",
    "stats",
]
