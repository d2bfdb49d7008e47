"""The null band: against the literature's formula, and how often it holds what it promises."""

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from minilearn.metrics import null_band
from minilearn.metrics.band import FEWEST, Row, t_half_width

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=12)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12))
def test_interval_against_scipy(values):
    mean, error = sum(values) / len(values), stats.sem(values)
    expected = stats.t.interval(0.95, len(values) - 1, mean, error)[1] - mean if error else 0
    assert t_half_width(values) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    values = torch.randn(2000, 5, generator=torch.Generator().manual_seed(0)).tolist()
    covered = sum(abs(sum(v) / 5) <= t_half_width(v) for v in values) / 2000
    assert covered == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 2000))


@given(VALUES, st.integers(1, 9), st.floats(0.5, 0.99))
def test_band_against_scipy(values, more, level):
    """The difference of two means is divided by its standard error."""
    k, mean = len(values), sum(values) / len(values)
    scale = statistics.stdev(values) * math.sqrt(1 / more + 1 / k)
    low, high = stats.t.interval(level, k - 1, mean, scale) if scale else (mean, mean)
    found = null_band(values, more=more, level=level)
    assert found == pytest.approx((low, high), rel=1e-6, abs=1e-5)


def normal(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def share_inside(values: torch.Tensor, k: int, **options) -> tuple[float, float]:
    """The share of rows whose mean beyond the first k is inside; what chance allows."""
    more = values.shape[1] - k
    bands = [null_band(row[:k].tolist(), more=more, **options) for row in values]
    means = values[:, k:].mean(1).tolist()
    held = [low <= mean <= high for (low, high), mean in zip(bands, means, strict=True)]
    return sum(held) / len(held), 3 * math.sqrt(0.05 * 0.95 / len(held))


@pytest.mark.parametrize("k, more", [(3, 1), (5, 1), (5, 5), (10, 3)])
def test_normal_models_are_inside_as_often_as_the_level_says(k, more):
    share, chance = share_inside(normal(2000, k + more), k)
    assert share == pytest.approx(0.95, abs=chance)


@pytest.mark.parametrize("k, more", [(3, 1), (5, 1), (5, 5)])
def test_pairwise_values_are_inside_as_often_as_the_level_says(k, more):
    """Distances a pair is the sum of two parts, one a model, of normal size: exact by theory."""
    own = normal(2000, k + more)
    total = own[:, :k].sum(1, keepdim=True)
    null = own[:, :k] + (total - own[:, :k]) / (k - 1)  # the mean over the k - 1 others
    values = torch.cat([null, own[:, k:] + total / k], 1)
    share, chance = share_inside(values, k, pairwise=True)
    assert share == pytest.approx(0.95, abs=chance)
    narrow, _ = share_inside(values, k)
    assert narrow < 0.95 - chance


@pytest.mark.parametrize("k", [0, 1, 2])
def test_few_models_cannot_judge(k):
    assert k < FEWEST and null_band([0.5] * k) is None
    assert not Row("accuracy", "test", "m", (0.5,), None).inside


def test_the_side_of_a_distance_and_of_a_likeness():
    low, high = null_band([1.0, 2.0, 3.0])
    assert null_band([1.0, 2.0, 3.0], side="low") == (-math.inf, high)
    assert null_band([1.0, 2.0, 3.0], side="low", least=0) == (0, high)
    assert null_band([1.0, 2.0, 3.0], side="high") == (low, math.inf)


@given(st.lists(st.integers(0, 40), min_size=3, max_size=8), st.integers(1, 5))
def test_the_band_ends_where_the_values_must(right, more):
    shares = [n / 40 for n in right]
    low, high = null_band(shares, more=more, least=0, most=1, grain=1 / 40)
    assert -1e-8 < low < high < 1 + 1e-8


def test_equal_models_leave_room_for_one_example():
    band = null_band([1.0] * 5, least=0, most=1, grain=1 / 50)
    assert [Row("accuracy", "test", "m", (n / 50,), band).inside for n in (50, 49, 48)] == [
        True,
        True,
        False,
    ]


def test_adding_up_does_not_push_a_value_out_of_a_band_without_width():
    values = (0.1, 0.1, 0.1)
    assert sum(values) / 3 > 0.1  # by one bit
    assert Row("accuracy", "test", "m", values, null_band(values)).inside
    assert not Row("accuracy", "test", "m", (0.1 + 1e-6,), null_band(values)).inside
    assert Row("accuracy", "test", "m", (4000.0 + 1e-7,), null_band([4000.0] * 3)).inside


@given(VALUES, st.floats(-1e3, 1e3), st.floats(0.1, 10))
def test_another_zero_and_unit_move_the_band_along(values, shift, unit):
    moved = null_band([unit * value + shift for value in values])
    expected = [unit * end + shift for end in null_band(values)]
    assert moved == pytest.approx(expected, rel=1e-6, abs=1e-4)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"more": 0}, "more must be a whole number of at least 1, got 0"),
        ({"level": 1.0}, r"level must be a number in \(0, 1\), got 1.0"),
        ({"side": "left"}, "side is one of"),
        ({"values": [0.1, math.nan, 0.2]}, "a value must be a finite number, got nan"),
    ],
)
def test_silly_arguments_get_a_sentence(change, sentence):
    given = {"values": [0.1, 0.2, 0.3]} | change
    with pytest.raises(ValueError, match=sentence):
        null_band(given.pop("values"), **given)


def test_the_interval_of_the_retrained_column_holds_what_it_says():
    """Of pairwise values, 95 worlds in 100; as independent ones they would hold about 60."""
    order = torch.Generator().manual_seed(0)
    held, naive = 0, 0
    for _ in range(400):
        h = torch.randn(5, generator=order, dtype=torch.float64)
        values = [(h[i] + (h.sum() - h[i]) / 4).item() for i in range(5)]
        held += abs(sum(values) / 5) <= t_half_width(values, pairwise=True)
        naive += abs(sum(values) / 5) <= t_half_width(values)
    assert 0.92 < held / 400 < 0.98 and naive / 400 < 0.75
    assert math.isnan(t_half_width([0.1, 0.1], pairwise=True))


def test_the_interval_of_a_gap_counts_both_sides():
    """As scipy's Welch; a method as good as retraining has the gap 0 inside in 95 worlds of 100."""
    order = torch.Generator().manual_seed(1)
    for n, k in (5, 5), (5, 3), (10, 3):
        worlds = torch.randn(1000, n + k, generator=order).tolist()
        gaps = [(sum(w[:n]) / n - sum(w[n:]) / k, w[:n], w[n:]) for w in worlds]
        held = sum(abs(gap) <= t_half_width(own, less=less) for gap, own, less in gaps)
        alone = sum(abs(gap) <= t_half_width(own) for gap, own, _ in gaps)
        assert 0.93 < held / 1000 < 0.975 and alone / 1000 < 0.91
        _, own, less = gaps[0]
        low, high = stats.ttest_ind(own, less, equal_var=False).confidence_interval(0.95)
        assert t_half_width(own, less=less) == pytest.approx((high - low) / 2)
    assert math.isnan(t_half_width([0.1, 0.2], less=[0.1]))
    assert t_half_width([0.1, 0.1], less=[0.3, 0.3]) == 0
