"""Requests that make no sense: each is refused in one sentence."""

import numpy as np
import pytest
import torch
from shared import FOUR, classes_of, line
from torch import nn
from torch.utils.data import TensorDataset

from minilearn.data import Examples, digits
from minilearn.methods import finetune, neggrad, unlearn
from minilearn.requests import (
    Request,
    by_class,
    by_fraction,
    by_group,
    by_index,
    by_range,
    by_typicality,
    mislabel,
    near_duplicates,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        (2, "class 2 does not occur in the training set: it has 0, 1, 3"),
        ([1, 9], "class 9 does not occur"),
        (-1, "class -1 does not occur"),
        (1.0, "class numbers must be a flat list of integers"),
        ([0.5, 1], "class numbers must be"),
        (True, "class numbers must be"),
        (FOUR.targets == 1, "class numbers must be"),
        ("1", "class numbers must be"),
        (None, "class numbers must be"),
        ([[0, 1]], "class numbers must be"),
        ([], "nothing is to be forgotten; the forget set is empty"),
        ([0, 1, 3], "nothing is retained"),
    ],
    ids=repr,
)
def test_by_class_refuses(classes, sentence):
    with pytest.raises(ValueError, match=sentence):
        by_class(FOUR, classes)


def test_classes_need_class_labels():
    for make in (
        lambda d: by_class(d, 1),
        lambda d: by_fraction(d, 0.5),
        lambda d: mislabel(d, 0.5),
        lambda d: by_typicality(d, 1),
    ):
        with pytest.raises(ValueError, match="about classes, but the targets are floating-point"):
            make(line(0.0, 1.0, 2.0))


@pytest.mark.parametrize(
    ("group", "sentence"),
    [
        (14, "group 14 does not occur in the training set: it has 0, 1, 2, .*11, ..."),
        (-1, "group must be a whole number"),
        ("5", "group must be a whole number"),
        (5.0, "group must be a whole number"),
        (None, "group must be a whole number"),
        ([5], "group must be a whole number .* got list"),
    ],
)
def test_by_group_refuses(train, group, sentence):
    with pytest.raises(ValueError, match=sentence):
        by_group(train, group)


def test_by_group_needs_groups():
    for data in (FOUR, TensorDataset(FOUR.inputs, FOUR.targets)):
        with pytest.raises(ValueError, match="it has no groups"):
            by_group(data, 0)


@pytest.mark.parametrize(
    ("indices", "sentence"),
    [
        ([4], r"index 4 lies outside 0..3"),
        ([0, -1], "index -1 lies outside 0..3"),
        ([1, 3, 2, 3], "index 3 is named twice: name it once"),
        ([], "nothing is to be forgotten; the forget set is empty"),
        (range(4), "nothing is retained"),
        (FOUR.targets == 1, "of a boolean mask give mask.nonzero"),
        ([True, False, True, False], "of a boolean mask give mask.nonzero"),
        ([0.0, 1.0], "flat list of integers"),
        ([[0, 1]], "flat list of integers"),
        (2, "flat list of integers"),
        ("02", "flat list of integers"),
        ({0, 1}, "flat list of integers"),
        (None, "flat list of integers"),
    ],
    ids=repr,
)
def test_by_index_refuses(indices, sentence):
    with pytest.raises(ValueError, match=sentence):
        by_index(FOUR, indices)


FRACTIONS = [
    (0, r"fraction must be a number in \(0, 1\], got 0"),
    (-0.5, "got -0.5"),
    (1.1, "got 1.1"),
    (NAN, "got nan"),
    ("0.5", r"fraction must be a number in \(0, 1\], got '0.5'"),
    (None, "fraction must be a number .* got NoneType"),
    ([0.4], "fraction must be a number .* got list"),
    (1e-9, "nothing is to be forgotten; the forget set is empty"),
    (1, "nothing is retained"),
]


@pytest.mark.parametrize("make", [by_fraction, mislabel])
@pytest.mark.parametrize(("fraction", "sentence"), FRACTIONS)
def test_fractions_that_make_no_sense(make, fraction, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(FOUR, fraction)


@pytest.mark.parametrize("make", [by_fraction, mislabel])
def test_fractions_of_classes_that_do_not_occur(make):
    with pytest.raises(ValueError, match="class 2 does not occur"):
        make(FOUR, 0.5, [1, 2])
    with pytest.raises(ValueError, match="class numbers must be a flat list"):
        make(FOUR, 0.5, [1.5])


def test_mislabel_refuses():
    with pytest.raises(ValueError, match="at least two classes"):
        mislabel(classes_of(0, 0, 0), 0.5)
    with pytest.raises(
        ValueError, match="mislabel writes labels .* Examples first, got TensorData"
    ):
        mislabel(TensorDataset(FOUR.inputs, FOUR.targets), 0.5)


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (60, 30, r"the band \[60, 30\) is empty: low must be below high"),
        (30, 30, "is empty"),
        (NAN, 30, "low must be a number .* got nan"),
        (0, NAN, "high must be a number .* got nan"),
        ("20", 30, "low must be a number .* got '20'"),
        (0, None, "high must be a number .* got NoneType"),
        (70, 80, "nothing is to be forgotten"),
        (0, 70, "nothing is retained"),
    ],
)
def test_by_range_refuses(low, high, sentence):
    with pytest.raises(ValueError, match=sentence):
        by_range(line(0.0, 30.0, 60.0), low, high)


def test_by_range_needs_one_number_per_example():
    for data in (FOUR, Examples(torch.zeros(4, 2), torch.zeros(4, 2))):
        with pytest.raises(ValueError, match="one floating-point target per example"):
            by_range(data, 0, 1)


@pytest.mark.parametrize("count", [0, -1, 1.5, "3", None, 4, 99])
def test_by_typicality_refuses(count):
    with pytest.raises(ValueError, match="count must"):
        by_typicality(FOUR, count)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tolerance": -1}, "tolerance must be a finite number from 0 on, got -1"),
        ({"tolerance": NAN}, "from 0 on, got nan"),
        ({"tolerance": "low"}, "tolerance must be a finite number from 0 on, got 'low'"),
        ({"chunk": 0}, "chunk must be a whole number of at least 1"),
    ],
)
def test_near_duplicates_refuses(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        near_duplicates(by_index(FOUR, [0]), **options)


def test_near_duplicates_needs_a_request_over_tensors():
    with pytest.raises(ValueError, match="compares inputs .* Examples first, got TensorDataset"):
        near_duplicates(by_index(TensorDataset(FOUR.inputs, FOUR.targets), [0]))
    with pytest.raises(ValueError, match="must be a Request, got Examples"):
        near_duplicates(FOUR)


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (torch.zeros(4, dtype=torch.bool), "mine: nothing is to be forgotten; the forget set is"),
        (torch.ones(4, dtype=torch.bool), "mine: nothing is retained"),
        (torch.ones(3, dtype=torch.bool), "the mask has length 3 but the set has 4 examples"),
        (torch.ones(2, 2, dtype=torch.bool), r"boolean tensor of shape \(N,\)"),
        (torch.tensor([0, 1]), "boolean tensor"),
        (torch.tensor([0.0, 1, 1, 0]), "boolean tensor"),
        ([True, False, False, True], "boolean tensor"),
        (np.array([True, False, False, True]), "boolean tensor"),
        ("0110", "boolean tensor"),
    ],
)
def test_a_mask_that_makes_no_request(mask, sentence):
    with pytest.raises(ValueError, match=sentence):
        Request(FOUR, mask, "mine")


def test_one_example_cannot_be_split():
    one = classes_of(0)
    for make in (
        lambda: by_class(one, 0),
        lambda: by_index(one, [0]),
        lambda: by_fraction(one, 1.0),
        lambda: Request(one, torch.tensor([True])),
    ):
        with pytest.raises(ValueError, match="nothing is retained"):
            make()


@pytest.mark.parametrize(
    "data",
    [None, 3, "digits", digits, (1, 2), []],
    ids=["None", "a number", "a name", "a function", "a pair", "a list"],
)
def test_a_training_set_that_is_none(data):
    for make in (
        lambda: by_class(data, 1),
        lambda: by_index(data, [0]),
        lambda: by_fraction(data, 0.5),
        lambda: by_range(data, 0, 1),
        lambda: Request(data, torch.tensor([True, False])),
    ):
        with pytest.raises(ValueError, match="data (must be|came as)|no examples"):
            make()
    for make in (lambda: by_group(data, 1), lambda: mislabel(data, 0.5)):
        with pytest.raises(ValueError):
            make()


def test_without_the_retained_data_only_what_does_without_them_runs():
    alone = Request(FOUR, None, "patient 5")
    assert repr(alone) == "Request(patient 5: forget 4 of 4)" and len(alone.forget) == 4
    with pytest.raises(ValueError, match="patient 5: the retained data, needed here, are not"):
        unlearn(finetune, nn.Linear(2, 4), alone)
    assert unlearn(neggrad, nn.Linear(2, 4), alone, retain=None).method == "neggrad"
