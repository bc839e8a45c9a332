"""All evaluated models of a project in one place.

board.py       evaluations in, one table for each form out: forms never mix
wording.py     what figures are called, their units, and how sure they are
markdown.py    the tables for a README
html.py        the page, with the charts that charts.py draws
"""

from reflectune.evaluate.leaderboard.board import Board, Cell, Column, Row, boards, find_evaluations
from reflectune.evaluate.leaderboard.html import write_html
from reflectune.evaluate.leaderboard.markdown import as_markdown

__all__ = ["Board", "Cell", "Column", "Row", "as_markdown", "boards", "find_evaluations", "write_html"]
