"""The losses and the attention of a layer, against closed forms and loops in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from shared import random

from minilearn.losses import (
    Quantile,
    check_loss,
    divergence,
    loss_per_example,
)
from minilearn.parts.attention import attention_gap, attention_map, attention_transfer

SHAPES = st.lists(st.integers(1, 4), max_size=3).map(tuple)
LEVELS = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4, unique=True).map(
    lambda levels: tuple(sorted(levels))
)


# ---- one loss per example


@given(n=st.integers(1, 5), rest=SHAPES, loss=st.sampled_from(["auto", "absolute", "squared"]))
def test_the_error_of_several_targets_is_their_mean(n, rest, loss):
    outputs, targets = random(n, *rest), random(n, *rest, seed=1)
    found = loss_per_example(outputs, targets, loss=loss)
    power = 2 if loss == "squared" else 1
    for i in range(n):
        gaps = (outputs[i].double() - targets[i].double()).flatten().tolist()
        assert found[i].item() == pytest.approx(sum(abs(g) ** power for g in gaps) / len(gaps))
    assert found.shape == (n,) and found.dtype == torch.float32


@given(n=st.integers(1, 4), rest=SHAPES, levels=LEVELS)
def test_the_quantile_loss_is_its_definition(n, rest, levels):
    outputs, targets = random(n, *rest, len(levels)), random(n, *rest, seed=1)
    found = loss_per_example(outputs, targets, loss=Quantile(levels))
    assert found.shape == (n,)
    for i in range(n):
        y, f = targets[i].flatten().tolist(), outputs[i].reshape(-1, len(levels)).tolist()
        each = [
            q * (y[h] - f[h][k]) if y[h] >= f[h][k] else (1 - q) * (f[h][k] - y[h])
            for h in range(len(y))
            for k, q in enumerate(levels)
        ]
        assert found[i].item() == pytest.approx(sum(each) / len(each), abs=1e-6)


def test_what_a_quantile_costs_on_either_side():
    f, y = torch.zeros(2, 1), torch.tensor([1.0, -1.0])
    torch.testing.assert_close(
        loss_per_example(f, y, loss=Quantile((0.2,))), torch.tensor([0.2, 0.8])
    )
    median = loss_per_example(f, 3 * y, loss=Quantile((0.5,)))
    assert torch.equal(median, loss_per_example(f[:, 0], 3 * y) / 2)


@given(q=st.floats(0.05, 0.95), targets=st.lists(st.integers(-50, 50), min_size=1, max_size=30))
def test_it_is_smallest_where_a_share_q_lies_below(q, targets):
    """Over every constant forecast, by trying them: no other beats the empirical quantile."""
    y = torch.tensor(targets).float()

    def mean_loss(forecast: float) -> float:
        return (
            loss_per_example(torch.full((len(y), 1), float(forecast)), y, loss=Quantile((q,)))
            .double()
            .mean()
            .item()
        )

    best = sorted(targets)[math.ceil(q * len(y)) - 1]
    assert mean_loss(best) <= min(map(mean_loss, range(-51, 52))) + 1e-4


def test_labels_give_the_cross_entropy_and_only_auto():
    logits, labels = random(6, 4), torch.arange(6) % 4
    expected = F.cross_entropy(logits, labels, reduction="none")
    assert torch.equal(loss_per_example(logits, labels), expected)
    for loss in ("absolute", "squared", Quantile()):
        with pytest.raises(ValueError, match="is for floating-point targets, but these are class"):
            loss_per_example(logits, labels, loss=loss)


@pytest.mark.parametrize(
    "outputs, targets, loss, sentence",
    [
        (random(3, 2), random(3), Quantile(), "for 3 quantile levels the output needs one axis"),
        (random(3), random(3), Quantile(), "for 3 quantile levels the output needs one axis more"),
        (random(3, 4, 3), random(3, 5), Quantile(), r"shape \(3, 4, 3\) for targets of shape"),
        (random(3, 1), random(3), "squared", "for regression they must agree"),
        (random(3), random(2), "absolute", "for regression they must agree"),
        ((random(3),), random(3), "auto", "must return one tensor, got tuple"),
        (None, random(3), "auto", "must return one tensor, got NoneType"),
        (random(3), [1.0, 2.0, 3.0], "auto", "targets must be a tensor, got list"),
        (random(3), None, "auto", "targets must be a tensor, got NoneType"),
        (random(3), random(3), "mse", "'auto', 'absolute', 'squared' or Quantile"),
    ],
)
def test_what_makes_no_loss_is_one_sentence(outputs, targets, loss, sentence):
    with pytest.raises(ValueError, match=sentence):
        loss_per_example(outputs, targets, loss=loss)


@pytest.mark.parametrize(
    "loss", ["l1", "", None, 3, 0.5, Quantile, ("squared",), ["auto"], F.mse_loss]
)
def test_what_is_no_loss(loss):
    with pytest.raises(ValueError, match="loss is one of 'auto', 'absolute', 'squared' or Quant"):
        check_loss(loss)


@pytest.mark.parametrize("loss", ["auto", "absolute", "squared", Quantile(), Quantile((0.3,))])
def test_what_is_one(loss):
    assert check_loss(loss) is loss


NAN = float("nan")


@pytest.mark.parametrize(
    "levels",
    [(), (0.0,), (1.0,), (0.5, 0.5), (0.9, 0.1), (NAN,), (1,), [0.5], 0.5, None, ("0.5",), (-0.1,)],
)
def test_levels_ascend_between_0_and_1(levels):
    with pytest.raises(
        ValueError, match=r"levels must be a tuple of numbers .* inside \(0, 1\), g"
    ):
        Quantile(levels)


# ---- attention


@given(
    shape=st.tuples(*[st.integers(1, 4)] * 2, st.integers(2, 4))
    | st.tuples(*[st.integers(2, 4)] * 4),
    axis=st.sampled_from([1, -1, 2, -2]),
)
def test_the_map_is_its_formula_in_float64(shape, axis):
    activation = random(*shape, seed=sum(shape)) + 0.1
    if math.prod(shape[1:]) // shape[axis] < 2:
        with pytest.raises(ValueError, match="leaves nothing to compare per example"):
            attention_map(activation, axis)
        return
    found = attention_map(activation, axis)
    for one, row in zip(activation.double(), found, strict=True):
        along = one.movedim(axis - 1 if axis > 0 else axis, 0)
        v = sum(part**2 for part in along).flatten() / len(along)
        torch.testing.assert_close(row.double(), v / math.sqrt((v**2).sum()), rtol=1e-5, atol=1e-6)


def test_a_layer_of_features_is_its_own_map():
    a = random(5, 7)
    v = a.double().square()
    expected = v / v.square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(attention_map(a, axis=None).double(), expected, rtol=1e-5, atol=1e-6)
    assert attention_map(random(2, 3, 4, 5), axis=None).shape == (2, 60)


def one_hot(place: int, height: int = 3, width: int = 4) -> torch.Tensor:
    maps = torch.zeros(1, 2, height * width)
    maps[:, :, place] = 1.0
    return maps.unflatten(2, (height, width))


def test_two_that_look_elsewhere_are_2_over_P_apart():
    assert attention_transfer(one_hot(3), one_hot(7)).item() == pytest.approx(2 / 12)
    assert attention_transfer(one_hot(3), one_hot(3)).item() == 0
    half = one_hot(3) + one_hot(7)  # (1, 1) / sqrt 2 against (1, 0)
    expected = ((1 - 0.5**0.5) ** 2 + 0.5) / 12
    assert attention_transfer(half, one_hot(3)).item() == pytest.approx(expected)


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(2, 4)),
    seed=st.integers(0, 1000),
)
def test_the_gap_lies_between_0_and_2_over_P_and_is_symmetric(shape, seed):
    a, b = random(*shape, seed=seed), random(*shape, seed=seed + 1)
    gap = attention_transfer(a, b)
    assert gap.shape == shape[:1]
    assert bool((gap >= 0).all()) and bool((gap <= 2 / (shape[2] * shape[3]) + 1e-6).all())
    assert torch.equal(gap, attention_transfer(b, a))
    assert attention_transfer(a, a).tolist() == [0.0] * shape[0]


def test_scale_sign_and_order_of_channels_do_not_matter_but_positions_do():
    a, b = random(4, 6, 3, 5), random(4, 6, 3, 5, seed=1)
    gap = attention_transfer(a, b)
    for same in (1e3 * a, 1e-3 * a, -a, a[:, torch.randperm(6)]):
        torch.testing.assert_close(attention_transfer(same, b), gap)
    moved = attention_transfer(a.flip(3), b)
    assert not torch.isclose(moved, gap).any()
    torch.testing.assert_close(attention_transfer(a.flip(3), b.flip(3)), gap)
    torch.testing.assert_close(attention_transfer(a.flip(0), b.flip(0)), gap.flip(0))


def test_of_a_sequence_the_axes_are_time_and_features():
    a, b = random(4, 6, 5), random(4, 6, 5, seed=1)
    over_features = attention_transfer(a, b, axis=-1)
    assert attention_map(a, -1).shape == (4, 6) and attention_map(a, 1).shape == (4, 5)
    turned = attention_transfer(a.transpose(1, 2), b.transpose(1, 2), axis=1)
    torch.testing.assert_close(over_features, turned)
    torch.testing.assert_close(attention_transfer(a, b, axis=2), over_features)


def test_the_gradient_is_that_of_differences():
    a, b = random(2, 3, 2, 2, dtype=torch.float64), random(2, 3, 2, 2, seed=1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: attention_transfer(x, b), a.requires_grad_())
    flat, other = random(2, 5, dtype=torch.float64), random(2, 5, seed=1, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: attention_transfer(x, other, axis=None), flat.requires_grad_()
    )


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-8])
def test_where_nothing_is_active_nothing_is_undefined(value):
    dead = torch.full((2, 3, 4, 4), value, requires_grad=True)
    gap = attention_transfer(dead, random(2, 3, 4, 4))
    gap.sum().backward()
    assert gap.isfinite().all() and dead.grad.isfinite().all()


@pytest.mark.parametrize(
    "activation, axis",
    [
        (random(3, 4), 1),  # one number would be left, its norm 1, its gradient 0
        (random(3, 4), -1),
        (random(3, 4), 0),
        (random(3, 4, 1, 1), 1),
        (random(3, 1, 4), -1),
        (random(3, 4, 5), 0),
        (random(3, 4, 5), -3),
        (random(3, 4, 5), 3),
        (random(3, 4, 5), 5),
        (random(3, 4, 5), -7),
        (random(3, 4, 5), "1"),
        (random(3, 4, 5), 1.5),
        (random(3), None),
        (random(3, 1), None),
        (random(3, 0, 4), 1),
        (torch.ones(3, 4, 5).long(), 1),
        (torch.tensor(1.0), 1),
    ],
)
def test_what_leaves_nothing_to_compare_is_refused(activation, axis):
    nothing = (
        "leaves nothing to compare per example: take axis=None|axis must be a whole number but 0"
    )
    with pytest.raises(ValueError, match=nothing):
        attention_map(activation, axis)


def test_what_is_no_activation_is_refused():
    with pytest.raises(ValueError, match="must be a tensor, got list"):
        attention_map([1.0, 2.0])
    with pytest.raises(ValueError, match=r"one shape, got \(2, 3, 4\) and \(2, 4, 3\)"):
        attention_transfer(random(2, 3, 4), random(2, 4, 3))


# ---- over layers


def test_the_gap_is_the_sum_over_layers_of_the_first_n_rows():
    student = {"a": random(5, 2, 3, 3), "b": (random(5, 4, 6, seed=1), "state"), "c": random(5, 9)}
    teacher = {"a": random(2, 2, 3, 3, seed=2), "b": (random(2, 4, 6, seed=3), None)}
    expected = attention_transfer(student["a"][:2], teacher["a"])
    torch.testing.assert_close(attention_gap(student, teacher, ["a"], 2), expected)
    expected = expected + attention_transfer(student["b"][0][:2], teacher["b"][0])
    found = attention_gap(student, teacher, ["a", "b"], 2)
    assert found.shape == (2,)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(attention_gap(student, teacher, ("b", "a"), 2), expected)
    twice = attention_gap(student, teacher, ["a", "b", "a"], 2)
    assert bool((twice > found).all())
    assert attention_gap(student, teacher, [], 2) == 0.0


# Layers that have no map: what the student's gives for 5 examples, what the teacher's for 2.
WITHOUT = {
    "did not run": (None, None),
    "no tensor": ("text", "text"),
    "nested": (((random(5, 3, 4),),), ((random(2, 3, 4),),)),
    "time first": (random(7, 5, 4), random(7, 2, 4)),
    "time first, by chance as long": (random(2, 5, 4), random(2, 2, 4)),
    "two rows per example": (random(10, 3, 4), random(4, 3, 4)),
    "one number for all": (torch.tensor(1.0), torch.tensor(1.0)),
}
FLAT = {
    "features": (random(5, 4), random(2, 4)),
    "an answer": (random(5), random(2)),
    "one position": (random(5, 4, 1, 1), random(2, 4, 1, 1)),
    "whole numbers": (torch.ones(5, 3, 4).long(), torch.ones(2, 3, 4).long()),
}


@pytest.mark.parametrize("case", [*WITHOUT, *FLAT])
def test_a_layer_without_a_map_is_passed_over_or_refused(case):
    mine, theirs = (WITHOUT | FLAT)[case]
    student, teacher = (
        {"a": random(5, 2, 3), "x": mine},
        {"a": random(2, 2, 3, seed=1), "x": theirs},
    )
    alone = attention_gap(student, teacher, ["a"], 2)
    assert torch.equal(attention_gap(student, teacher, ["a", "x"], 2, skip=True), alone)
    with pytest.warns(UserWarning, match="no layer of this network has an attention map"):
        assert attention_gap(student, teacher, ["x"], 2, skip=True) == 0.0
    sentence = "gives no row per example" if case in WITHOUT else "leaves nothing to compare"
    with pytest.raises(ValueError, match=sentence):
        attention_gap(student, teacher, ["a", "x"], 2)


@pytest.mark.parametrize(
    "teacher, student",
    [((1, 2), (2, 2)), ((2, 1), (2, 2)), ((2,), (2,))],
    ids=["one row for all", "one class for all", "no classes"],
)
def test_a_divergence_of_two_shapes_is_refused(teacher, student):
    with pytest.raises(ValueError, match=r"are \(B, C\) and alike"):
        divergence(torch.zeros(teacher), torch.zeros(student))


def test_a_divergence_at_temperature_nought_is_refused():
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        divergence(torch.zeros(2, 2), torch.zeros(2, 2), temperature=0)
