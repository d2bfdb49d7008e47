"""What a student sees of a test."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager


def key() -> int:
    """A number that hidden tests draw their data with: the instructor's when answers are graded.

    It comes from the variable MINILEARN_KEY, which is set while a test runs and at no other time;
    without it the number is 0, else one of ten thousand.
    """
    text = os.environ.get("MINILEARN_KEY", "")
    return 1 + int(hashlib.sha256(text.encode()).hexdigest(), 16) % 10_000 if text else 0


@contextmanager
def attempt(name: str):
    """Say how a question stands, in one line, and let the notebook go on.

    When a submission is graded, the tests run without this: there an error is an error.

    Example:
        >>> with attempt("mean"):
        ...     raise NotImplementedError
        mean: not attempted
        >>> with attempt("mean"):
        ...     assert 1 + 1 == 3, "the mean of one and three is two"
        mean: not yet (AssertionError: the mean of one and three is two)
    """
    try:
        yield
    except NotImplementedError:
        print(f"{name}: not attempted")
    except Exception as error:
        words = " ".join(str(error).split())[:300]
        print(f"{name}: not yet ({type(error).__name__}{': ' if words else ''}{words})")
    else:
        print(f"{name}: right, as far as the tests go that you can see")
