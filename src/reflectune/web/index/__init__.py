"""A fast index over a run: what its rows can be searched, filtered and sorted by. SQLite alone, and safe to delete.

folding.py   what text is searched for, and how it is compared
entry.py     a row as the index has it
tables.py    the database
making.py    brings it up to date with the run
asking.py    a question, as SQL
keeper.py    keeps the index of a run up to date in the background, and answers meanwhile
"""

from reflectune.web.index.asking import COLUMNS, Answer, Line, Question
from reflectune.web.index.keeper import Keeper, Keepers, State

__all__ = ["COLUMNS", "Answer", "Keeper", "Keepers", "Line", "Question", "State"]
