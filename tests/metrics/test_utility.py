"""Accuracy, errors, gaps and the tug of war against values worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from minilearn.data.examples import Examples
from minilearn.evaluation import Evaluation, evaluate
from minilearn.losses import Quantile, loss_per_example
from minilearn.metrics import accuracy, gap, loss_attack, mae, mean_loss, mse, tow
from minilearn.metrics.utility import constant_answer


def evaluation(outputs, targets, loss="auto") -> Evaluation:
    outputs, targets = torch.as_tensor(outputs), torch.as_tensor(targets)
    return Evaluation(outputs, targets, loss_per_example(outputs, targets, loss=loss))


def right(*flags: int) -> Evaluation:
    """Two classes, the true one always 1; a flag says whether the answer is right."""
    return evaluation([[2.0 - 2 * f, 2.0 * f] for f in flags], [1] * len(flags))


def test_accuracy_is_the_share_of_right_answers():
    assert accuracy(right(1, 1, 1, 0)) == 0.75


def test_mae_is_the_mean_absolute_error():
    assert mae(evaluation([1.0, 5.0, 2.0], [2.0, 2.0, 2.0])) == pytest.approx(4 / 3)


@pytest.mark.parametrize("loss", ["auto", "absolute", "squared"])
def test_errors_come_from_the_outputs_whatever_the_loss(loss):
    one = evaluation([1.0, 5.0, 2.0], [2.0, 2.0, 2.0], loss)
    assert (mae(one), mse(one)) == (pytest.approx(4 / 3), pytest.approx(10 / 3))
    several = evaluation([[1.0, 4.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]], loss)
    assert (mae(several), mse(several)) == (1.0, 2.5)


def test_the_mean_loss_is_that_of_the_evaluation():
    outputs, targets = [1.0, 5.0], [2.0, 2.0]
    assert mean_loss(evaluation(outputs, targets)) == 2
    assert mean_loss(evaluation(outputs, targets, "squared")) == 5
    assert mean_loss(right(1)) == pytest.approx(math.log(1 + math.exp(-2)))


@pytest.mark.parametrize("error", [mae, mse])
def test_errors_refuse_quantiles(error):
    forecast = evaluation([[0.0, 1.0]], [0.5], Quantile((0.1, 0.9)))
    with pytest.raises(ValueError, match=r"\(1, 2\) for targets of shape \(1,\); for quantiles"):
        error(forecast)
    assert mean_loss(forecast) == pytest.approx(0.05)  # both levels are half a unit off, inside


def test_gap_of_a_model_to_itself_is_zero():
    assert gap(right(1, 0, 1), right(1, 0, 1)) == 0


def test_gap_of_three_and_two_right_of_four():
    assert gap(right(1, 1, 1, 0), right(0, 1, 0, 1)) == 0.25


def test_gap_of_errors_has_the_targets_unit():
    u, r = evaluation([12.0, 8.0], [10.0, 10.0]), evaluation([11.0, 10.0], [10.0, 10.0])
    assert gap(u, r) == 1.5


def test_gap_is_of_the_loss_asked_for():
    targets = [10.0, 10.0]
    u, r = (evaluation(out, targets, "squared") for out in ([12.0, 8.0], [11.0, 10.0]))
    assert gap(u, r) == 3.5


def test_gap_refuses_two_sets():
    with pytest.raises(ValueError, match="different data"):
        gap(right(1, 0), right(1, 0, 1))
    with pytest.raises(ValueError, match="different data"):
        gap(evaluation([1.0], [1.0]), evaluation([1.0], [2.0]))


@pytest.mark.parametrize(
    "gaps, value", [((0.1, 0, 0), 0.9), ((0.1, 0.1, 0.1), 0.729), ((-0.1, 0.1, 0), 0.81)]
)
def test_tow_closed_form(gaps, value):
    assert tow(*gaps) == pytest.approx(value, abs=1e-15)


def test_tow_of_a_gap_above_one_is_zero_and_never_negative():
    assert tow(2.0, 0, 0) == 0
    assert tow(-3.0, 2.0, 0) == 0


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3))
def test_tow_lies_between_0_and_1_and_ignores_order_and_sign(gaps):
    assert 0 <= tow(*gaps) <= 1
    assert tow(*gaps) == pytest.approx(tow(-gaps[2], gaps[0], -gaps[1]))


def test_errors_of_the_constant_answer_in_closed_form():
    assert mean_loss(constant_answer(torch.tensor([10.0, 30.0]))) == 10
    assert mean_loss(constant_answer(torch.tensor([7.0]))) == 0
    assert (
        mean_loss(constant_answer(torch.tensor([0.0, 0.0, 0.0, 8.0]))) == 3
    )  # from the mean, no median
    # two targets of different size: each column has its own mean
    assert mean_loss(constant_answer(torch.tensor([[0.0, 100.0], [2.0, 104.0]]))) == 1.5
    grid = (torch.arange(10_000) + 0.5) / 10_000
    assert mean_loss(constant_answer(grid)) == pytest.approx(0.25, abs=1e-6)
    assert mean_loss(constant_answer(grid, "squared")) == pytest.approx(1 / 12, abs=1e-6)
    # the median level charges half the error on either side; outer levels that mirror each other
    # charge as much on average
    for levels in ((0.5,), (0.1, 0.9)):
        assert mean_loss(constant_answer(grid, Quantile(levels))) == pytest.approx(0.125, abs=1e-6)


@given(st.integers(1, 9), st.sampled_from([(), (3,), (2, 3)]), st.sampled_from([1, 2, 4]))
def test_the_constant_answer_fits_any_shape(count, rest, levels):
    targets = torch.randn(count, *rest, generator=torch.Generator().manual_seed(count))
    quantile = Quantile(tuple((i + 1) / 8 for i in range(levels)))
    for loss in ("auto", "squared", quantile):
        answer = constant_answer(targets, loss)
        assert answer.loss.shape == (count,)
        apart = answer.outputs - answer.outputs[:1]
        assert bool((apart == 0).all())


@given(st.integers(1, 40), st.integers(2, 5), st.integers(1, 45))
def test_batch_size_changes_nothing(count, classes, size):
    generator = torch.Generator().manual_seed(count)
    data = Examples(
        torch.randn(count, 3, generator=generator),
        torch.randint(classes, (count,), generator=generator),
    )
    model = nn.Linear(3, classes)
    whole, parts = evaluate(model, data), evaluate(model, data, batch_size=size)
    # not the mean of batch means: a ragged last batch would count too much
    assert accuracy(parts) == accuracy(whole)
    torch.testing.assert_close(parts.loss, whole.loss)


@pytest.mark.parametrize("metric", [accuracy, mae, mse, mean_loss, lambda e: gap(e, e)])
def test_clear_errors(metric):
    with pytest.raises(ValueError, match="evaluate the model first"):
        metric(torch.zeros(3))
    with pytest.raises(ValueError, match="at least one example"):
        metric(Evaluation(torch.zeros(0, 2), torch.zeros(0).long(), torch.zeros(0)))
    broken = torch.tensor([[0.0, math.nan], [1.0, 0.0]])
    with pytest.raises(ValueError, match="1 of 2 examples are NaN or infinite"):
        metric(Evaluation(broken, torch.tensor([0, 1]), torch.zeros(2)))
    masked = torch.tensor([[0.0, -math.inf], [1.0, 0.0]])
    with pytest.raises(ValueError, match="1 of 2 examples are -inf for a class, .* with -1e4"):
        metric(Evaluation(masked, torch.tensor([0, 1]), torch.zeros(2)))


def test_each_error_belongs_to_its_task():
    with pytest.raises(ValueError, match="use mae"):
        accuracy(evaluation([1.0], [1.0]))
    for error in (mae, mse):
        with pytest.raises(ValueError, match="use accuracy"):
            error(right(1))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_tow_refuses_what_is_not_finite(bad):
    with pytest.raises(ValueError, match="finite"):
        tow(0.1, bad, 0.1)


@pytest.mark.parametrize("bad", [torch.zeros(0), torch.tensor([1.0, math.nan]), 3.0])
def test_the_constant_answer_refuses(bad):
    with pytest.raises(ValueError, match="finite targets"):
        constant_answer(bad)


@pytest.mark.parametrize("loss", ["cosine", None, 0.5, ["squared"]])
def test_the_constant_answer_refuses_what_is_no_loss(loss):
    with pytest.raises(ValueError, match="loss is one of"):
        constant_answer(torch.arange(3.0), loss)


SIX = 5 + torch.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    "outputs, targets",
    [(SIX, torch.tensor([1])), (SIX, torch.zeros(6, 1).long()), (SIX[:1], torch.ones(6).long())],
)
@pytest.mark.parametrize("metric", [accuracy, mean_loss, lambda e: loss_attack(e, e)])
def test_one_target_is_not_spread_over_many_outputs(metric, outputs, targets):
    with pytest.raises(ValueError, match="targets and losses of the same examples, got shapes"):
        metric(Evaluation(outputs, targets, torch.zeros(6)))
