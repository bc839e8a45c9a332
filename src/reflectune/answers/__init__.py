"""Answers of questions that have a right one: read out of replies, and checked by rule.

rules.py      is this the right answer: numbers exactly, LaTeX by math-verify, choices by their letter
numbers.py    numbers and sums as they are written in prose
letters.py    the letter of the option that a reply decides for, in English or Chinese
reading.py    the answer that a reply in free text gives
"""
