"""What is a number, and what a choice: the same everywhere."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from minilearn import methods
from minilearn.checks import check_choice, check_number
from minilearn.training import Training

INF = math.inf
CONFIGS = [Training, methods.PGD, methods.L2UL, methods.LAF, methods.Blindspot, methods.Repair]
CONFIGS += [methods.Amnesiac, methods.BadTeacher, methods.SCRUB, methods.Boundary]
CONFIGS += [methods.NegGrad, methods.Unrolling]
NUMBERS = [
    (kind, field.name)
    for kind in CONFIGS
    for field in dataclasses.fields(kind)
    if field.type.split(" |")[0] == "float"
]


@pytest.mark.parametrize(
    "value", [2, 0.5, np.float32(0.5), np.float64(2), np.int64(3), np.uint8(1)]
)
def test_numbers_of_python_and_of_numpy(value):
    found = check_number("x", value)
    assert type(found) is float and found == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("2", "'2'"),
        (True, "True"),
        (np.True_, "bool"),
        (math.nan, "nan"),
        (INF, "inf"),
        (-INF, "-inf"),
        (np.float32(INF), ".*inf"),
        (None, "NoneType"),
        ([1.0], "list"),
        (1j, "complex"),
        (torch.tensor(1.0), "Tensor"),
        (10**400, "1000"),
    ],
    ids=lambda case: f"{case!r:.9}",
)
def test_what_is_no_finite_number(value, shown):
    with pytest.raises(ValueError, match=f"^x must be a finite number, got {shown}"):
        check_number("x", value)


@pytest.mark.parametrize(
    "low, high, ends, inside, outside, words",
    [
        (0, INF, "()", (1e-300, 1e300), (0, -1, INF), "a finite number above 0"),
        (0, INF, "[)", (0, 1e300), (-1e-300, INF), "a finite number from 0 on"),
        (0, 1, "(]", (0.5, 1), (0, 1.5, math.nan), r"a number in \(0, 1\]"),
        (0, 1, "[)", (0, 0.5), (1, -0.5), r"a number in \[0, 1\)"),
        (-INF, INF, "[]", (INF, -INF, 0), (math.nan, "0"), r"a number in \[-inf, inf\]"),
    ],
)
def test_the_ends_of_an_interval(low, high, ends, inside, outside, words):
    assert [check_number("x", value, low, high, ends=ends) for value in inside] == [*inside]
    for value in outside:
        with pytest.raises(ValueError, match=f"^x must be {words}, got "):
            check_number("x", value, low, high, ends=ends)


@pytest.mark.parametrize("kind, name", NUMBERS)
def test_every_setting_that_is_a_number(kind, name):
    value = np.float32(getattr(kind(), name))
    assert getattr(kind(**{name: value}), name) is value  # stored as it came
    for bad in ("0.5", True, math.nan, INF, [0.5], torch.tensor(0.5)):
        with pytest.raises(ValueError, match=r"^(lr|" + name + ") must be a (finite )?number"):
            kind(**{name: bad})


def test_a_choice():
    check_choice("x", "b", ("a", "b"))
    for wrong in ("c", None, ["a"], 1, ""):
        with pytest.raises(ValueError, match=r"^x is one of \('a', 'b'\), got "):
            check_choice("x", wrong, ("a", "b"))
