"""Examples: what they refuse, how they are indexed and sampled."""

import numpy as np
import pytest
import torch
from shared import Pairs, numbered

from minilearn.data import Examples, with_targets
from minilearn.data.examples import subset

LABELS = torch.tensor([0, 1, 2, 1])
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("inputs", "targets", "groups", "sentence"),
    [
        (np.zeros((4, 2)), LABELS, None, "inputs must be a torch tensor, got ndarray"),
        ([[0.0]], LABELS, None, "inputs must be a torch tensor, got list"),
        (torch.zeros(4, 2), [0, 1, 2, 1], None, "targets must be a torch tensor, got list"),
        (torch.zeros(4, 2), None, None, "targets must be a torch tensor, got NoneType"),
        (torch.tensor(1.0), torch.tensor(1), None, "inputs is a single number"),
        (torch.zeros(4, 2), torch.tensor(1), None, "targets is a single number"),
        (torch.zeros(3, 2), LABELS, None, "the first sizes must agree"),
        (torch.zeros(0, 2), torch.zeros(0), None, "no examples"),
        (torch.zeros(4, 2, dtype=torch.cfloat), LABELS, None, "real numbers"),
        (torch.tensor([[0.0], [NAN], [NAN], [1]]), LABELS, None, r"2 example\(s\).*position 1"),
        (torch.tensor([[0.0], [0], [0], [-INF]]), LABELS, None, r"1 example\(s\).*position 3"),
        (torch.tensor([INF, 0.0, -INF, 1]), LABELS, None, r"2 example\(s\).*position 0"),
        (torch.zeros(4, 2), torch.tensor([0.0, 1, NAN, 2]), None, "targets of 1 example"),
        (torch.zeros(4, 2), torch.tensor([0, 1, 1e300, 2]).double(), None, "targets of 1"),
        (torch.zeros(4, 2), torch.tensor([0, -1, 2, 1]), None, "start at 0, got -1"),
        (torch.zeros(4, 2), torch.zeros(4, 1).long(), None, r"integers of shape \(N,\)"),
        (torch.zeros(4, 2), torch.zeros(4, dtype=torch.cfloat), None, "got torch.complex64"),
        (torch.zeros(4, 2), LABELS, [0, 1, 2, 3], "groups must be a torch tensor"),
        (torch.zeros(4, 2), LABELS, torch.zeros(4), "groups must be integers"),
        (torch.zeros(4, 2), LABELS, torch.zeros(3).long(), "the first sizes must agree"),
        (torch.zeros(4, 2), torch.zeros(4, device="meta"), None, r"is on meta.*\.to\(device\)"),
    ],
)
def test_examples_refuse(inputs, targets, groups, sentence):
    with pytest.raises(ValueError, match=sentence):
        Examples(inputs, targets, groups)


def test_large_finite_values_are_no_infinity():
    inputs = torch.full((4, 3), 3e38)  # their sum is infinite, none of them is
    assert torch.equal(Examples(inputs, LABELS).inputs, inputs)


def test_targets_decide_the_task():
    classes = Examples(torch.zeros(4, 2), LABELS.to(torch.uint8))
    assert (classes.task, classes.classes, classes.targets.dtype) == (
        "classification",
        3,
        torch.int64,
    )
    values = Examples(torch.zeros(4, 2), LABELS.double())
    assert (values.task, values.classes, values.targets.dtype) == ("regression", 0, torch.float32)


@pytest.mark.parametrize(
    "index",
    [
        slice(1, 3),
        [1, 2],
        (1, 2),
        range(1, 3),
        np.array([1, 2]),
        np.array([False, True, True, False]),
        torch.tensor([1, 2]),
        torch.tensor([1, 2], dtype=torch.uint8),
        torch.tensor([-3, -2]),
        [False, True, True, False],
    ],
    ids=repr,
)
def test_indexing_keeps_the_parts_together(index):
    part = numbered(4)[index]
    assert part.inputs.tolist() == [[2, 3], [4, 5]]
    assert part.targets.tolist() == [1, 2] and part.groups.tolist() == [0, 1]


def test_one_position_keeps_its_axis():
    for index in (2, -2, np.int64(2), torch.tensor(2)):
        assert numbered(4)[index].inputs.shape == (1, 2)
    assert sum(len(one) for one in numbered(4)) == 4


@pytest.mark.parametrize(
    ("index", "error", "sentence"),
    [
        (4, IndexError, "outside the 4 examples"),
        (torch.tensor([0, 9]), IndexError, "outside the 4 examples"),
        ([-5], IndexError, "outside the 4 examples"),
        ("0", ValueError, "slice, a mask or positions, got str"),
        (None, ValueError, "slice, a mask or positions, got NoneType"),
        (1.0, ValueError, "positions must be integers .* got torch.float32"),
        (torch.zeros(2, 2).long(), ValueError, r"positions must be integers of shape \(N,\)"),
        (torch.ones(3, dtype=torch.bool), ValueError, "length 3 but the set has 4"),
        ([], ValueError, "no examples"),
        (slice(4, 9), ValueError, "no examples"),
    ],
)
def test_indexing_refuses(index, error, sentence):
    with pytest.raises(error, match=sentence):
        numbered(4)[index]


def test_sample_draws_without_replacement():
    data = numbered(10)
    drawn = data.sample(4, seed=3).inputs[:, 0]
    assert len(drawn.unique()) == 4 and torch.equal(drawn, data.sample(4, seed=3).inputs[:, 0])
    assert len(data.sample(99)) == 10


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", None])
def test_sample_refuses(count):
    with pytest.raises(ValueError, match="count must be a whole number of at least 1"):
        numbered(4).sample(count)


def test_with_targets_checks_them():
    assert numbered(4).with_targets(torch.zeros(4)).task == "regression"
    with pytest.raises(ValueError, match="the first sizes must agree"):
        numbered(4).with_targets(torch.zeros(3))
    for wrong, got in ((torch.zeros(3, 2), r"torch.float32 of shape \(3, 2\)"), ([1], "list")):
        with pytest.raises(ValueError, match=f"must be a tensor of 4 rows, got {got}"):
            with_targets(Pairs(numbered(4)), wrong)
        with pytest.raises(ValueError, match=f"a mask must be a boolean tensor .*, got {got}"):
            subset(numbered(4), wrong)


def test_targets_that_single_precision_cannot_tell_apart_are_refused():
    """Seconds since 1970, one a second: a band of them would hold many others."""
    seconds = 1.7e9 + torch.arange(400, dtype=torch.float64)
    with pytest.raises(ValueError, match="400 distinct targets become 4 .* subtract their mean"):
        Examples(torch.zeros(400, 1), seconds)
    kept = Examples(torch.zeros(400, 1), seconds - seconds.mean())
    assert len(kept.targets.unique()) == 400
