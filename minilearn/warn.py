"""Warnings that point at the user's line."""

from __future__ import annotations

import sys
import warnings


def warn(message: str):
    """Warn at the line of the user's that led here, so that every call of theirs is warned."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("minilearn."):
        level += 1
        frame = frame.f_back
    warnings.warn(message, stacklevel=level)
