"""What data is like, and what became of it: statistics of instruction data, before and after.

figures         one row: lengths, perplexities, coherence, IFD and r-IFD
statistics      a data set: what its rows' figures come to, languages, diversity, duplicates
intervals       means with bootstrap intervals, and differences of means
plots           distributions as SVG or PNG
scores          what an evaluation of a model came to: a record for each figure
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
