"""Checkers that answer back: is a function of yours right, and if not, which mistake is it?

>>> check("importance", lambda a, g: (g.T @ a).abs())
importance: not right. It looks as if absolute values were taken after the sum over items.
"""

from minilearn.check.checking import EXERCISES, check, verdict

__all__ = ["EXERCISES", "check", "verdict"]
