"""Quality gates for whole data sets: they look at rewrites beside each other, and beside what must not be in them.

    duplicate       says the same, or nearly, as the rewrite of an earlier row
    contamination   shares a run of words with an evaluation set
    drift           is in another language than the original
    length          is far shorter or longer than the other rewrites, or than the original

A gate marks rows, with what it found; whether marked rows are dropped is for a person to say. Rules that judge one
rewrite by itself, while it is made, are in `reflectune.quality`.
"""

from reflectune.gates.find import find_marks
from reflectune.gates.marks import GATES, Candidate, GateName, GateSettings, Mark

__all__ = ["GATES", "Candidate", "GateName", "GateSettings", "Mark", "find_marks"]
