"""What a function of the user's has measured."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping


def checked_numbers(name: str, found) -> dict:
    """What a function of the user's returned: finite numbers by name; ValueError if anything else.

    A name is a text, or a pair of texts, which are a metric and a split.
    """
    if not isinstance(found, Mapping):
        raise ValueError(f"{name} returns a dictionary of numbers, got {found!r:.60}")
    numbers = {}
    for key, number in found.items():
        pair = isinstance(key, tuple) and len(key) == 2 and all(isinstance(k, str) for k in key)
        if not (isinstance(key, str) or pair):
            raise ValueError(f"{name} returns numbers by name or (metric, split), got {key!r:.60}")
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            numbers[key] = float(number)
        if isinstance(number, bool) or not math.isfinite(numbers.get(key, math.nan)):
            raise ValueError(f"{name} returned {number!r:.60} for {key!r}, not a finite number")
    said = [key if isinstance(key, str) else " on ".join(key) for key in numbers]
    if len(set(said)) < len(said):
        raise ValueError(f"{name} returned two numbers of one name: {', '.join(said)}")
    return numbers
