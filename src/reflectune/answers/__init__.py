"""Answers of questions that have a right one: read out of replies, and checked by rule.

rules.py      is this the right answer: numbers exactly, LaTeX by math-verify, choices by their letter
numbers.py    numbers and sums as they are written in prose
reading.py    the answer that a reply in free text gives
"""
