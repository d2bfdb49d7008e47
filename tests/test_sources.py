"""Sources of variance: by hand, against worlds with known ones, and the surest design."""

import math

import pytest
import torch
from shared import random

from minilearn.sources import STAGES, design, sources_of_variance


def world(draws, seeds, unlearned, sizes, seed=0) -> torch.Tensor:
    """Values whose three stages have these standard deviations."""
    shapes = (draws, 1, 1), (draws, seeds, 1), (draws, seeds, unlearned)
    pairs = enumerate(zip(sizes, shapes, strict=True))
    return 5 + sum(size * random(*shape, seed=7 * seed + i) for i, (size, shape) in pairs)


def test_two_of_each_by_hand():
    values = torch.tensor([[[0.0, 2.0], [4.0, 6.0]], [[10.0, 10.0], [20.0, 20.0]]])
    # Inside: variances 2, 2, 0, 0. Means 1, 5 | 10, 20: variances 8, 50. Means 3, 15: 72.
    table = sources_of_variance(values)
    assert list(table.index) == list(STAGES)
    assert table["variance"].tolist() == pytest.approx([72 - 29 / 2, 29 - 1 / 2, 1.0])
    assert table["share"].sum() == pytest.approx(1)
    assert table["models"].tolist() == [2, 4, 8]


@pytest.mark.parametrize("sizes", [(3.0, 1.0, 2.0), (0.0, 2.0, 1.0), (1.0, 0.0, 0.0)])
def test_many_draws_give_the_variances_that_were_put_in(sizes):
    table = sources_of_variance(world(4000, 3, 4, sizes))
    assert table["variance"].tolist() == pytest.approx([s * s for s in sizes], rel=0.08, abs=0.06)


def test_few_draws_give_them_on_average():
    """Without the cut at nought, which these sizes do not meet."""
    tables = [sources_of_variance(world(5, 2, 2, (9.0, 3.0, 1.0), seed)) for seed in range(400)]
    mean = sum(torch.tensor(table["variance"].to_numpy()) for table in tables) / len(tables)
    assert mean.tolist() == pytest.approx([81, 9, 1], rel=0.12)


def test_a_stage_that_adds_nothing_is_nought_and_not_below():
    alike = torch.tensor([[[0.0, 2.0], [2.0, 0.0]], [[1.0, 1.0], [0.0, 2.0]]])
    assert sources_of_variance(alike)["variance"].tolist()[:2] == [0.0, 0.0]
    same = sources_of_variance(torch.ones(2, 2, 2))
    assert same["share"].tolist() == [0.0, 0.0, 0.0]


def test_the_design_is_near_the_closed_form_and_within_the_budget():
    variances, costs = (1.0, 4.0, 9.0), (90.0, 10.0, 1.0)
    draws, seeds, unlearned = design(variances, costs, 1e5)
    assert seeds == pytest.approx(math.sqrt(4 / 1 * 90 / 10), abs=1)
    assert unlearned == pytest.approx(math.sqrt(9 / 4 * 10 / 1), abs=1)
    assert draws * (90 + seeds * (10 + unlearned)) <= 1e5
    assert design((0.0, 0.0, 1.0), (5.0, 5.0, 1.0), 100.0)[:2] == (1, 1)
    assert design((1.0, 0.0, 0.0), (5.0, 5.0, 1.0), 100.0) == (9, 1, 1)


def test_bad_input_is_one_sentence():
    for values in (torch.ones(2, 2), torch.ones(1, 2, 2), torch.full((2, 2, 2), math.nan), "text"):
        with pytest.raises(ValueError, match="values must be"):
            sources_of_variance(values)
    for arguments, sentence in (
        (((1.0, 1.0), (1.0, 1.0, 1.0), 9.0), "three numbers each"),
        (((1.0, 1.0, -1.0), (1.0, 1.0, 1.0), 9.0), "a variance must be"),
        (((1.0, 1.0, 1.0), (1.0, 0.0, 1.0), 9.0), "a cost must be"),
        (
            ((1.0, 1.0, 1.0), (4.0, 4.0, 4.0), 9.0),
            "one of each costs 12, more than the budget of 9",
        ),
    ):
        with pytest.raises(ValueError, match=sentence):
            design(*arguments)


def test_a_budget_that_is_met_but_for_rounding_is_met():
    assert design((1, 0, 0), (0.1, 0.1, 0.1), 3.0) == (10, 1, 1)
    assert design((1, 1, 1), (0.1, 0.1, 0.1), 0.3) == (1, 1, 1)


def test_the_design_takes_the_table_s_column():
    table = sources_of_variance(world(4, 3, 2, (3.0, 1.0, 2.0)))
    costs = (10.0, 10.0, 1.0)
    assert design(table["variance"], costs, 1e3) == design(list(table["variance"]), costs, 1e3)
