"""Relearning with a closed form, and what must not depend on the order of calls."""

import math

import numpy as np
import pytest
import torch
from shared import ORIGIN, SGD, Bowl
from torch import nn

from minilearn.evaluation import evaluate
from minilearn.losses import Quantile
from minilearn.metrics import anamnesis_index, relearn_area, relearn_curve, relearn_time
from minilearn.training import Training


def test_a_quadratic_relearns_in_closed_form():
    """Gradient descent on w^2 / 2: w_t = w_0 (1 - lr)^t."""
    steps = (0, 1, 2, 5, 22, 29)
    curve = relearn_curve(Bowl(2.0), ORIGIN, ORIGIN, steps=steps, config=SGD)
    expected = torch.tensor([2.0 * 0.9 ** (2 * t) for t in steps], dtype=torch.float64)
    torch.testing.assert_close(curve, expected, rtol=1e-6, atol=1e-9)


def test_the_quadratic_from_two_starts_takes_29_and_22_steps():
    """From a distance of 1 and of 0.5 down to 0.05."""
    for start, needed in ((1.0, 29), (0.5, 22)):
        steps = range(needed + 1)
        distance = (2 * relearn_curve(Bowl(start), ORIGIN, ORIGIN, steps=steps, config=SGD)).sqrt()
        assert int((distance <= 0.05).nonzero()[0]) == needed


def bowl_time(start: float, target: float, **options) -> int | None:
    return relearn_time(Bowl(start), ORIGIN, ORIGIN, target, config=SGD, **options)


def test_times_of_the_quadratic():
    """Distance d_t = d_0 0.9^t, loss d_t^2 / 2: from 1 and from 0.5 down to 0.05."""
    target = 0.05**2 / 2
    assert (bowl_time(1.0, target), bowl_time(0.5, target)) == (29, 22)
    assert bowl_time(1.0, 1 / 2) == 0  # there before any step
    assert bowl_time(1.0, target, cap=29) == 29
    assert bowl_time(1.0, target, cap=28) is None  # censored
    assert bowl_time(1.0, -1.0, cap=3) is None  # no loss is that low


@pytest.mark.parametrize("every, found", [(1, 29), (2, 30), (29, 29), (10, 30), (1000, 40)])
def test_looking_less_often_rounds_up(every, found):
    assert bowl_time(1.0, 0.05**2 / 2, cap=40, every=every) == found


def test_times_as_published():
    """A step before the first look, and a missed target taken for met."""
    assert bowl_time(1.0, 0.05**2 / 2, published=True) == 29
    assert bowl_time(1.0, 1 / 2, published=True) == 1
    assert bowl_time(1.0, -1.0, cap=3, published=True) == 3
    assert bowl_time(1.0, 0.05**2 / 2, cap=40, every=50, published=True) == 40


def test_the_time_is_where_the_curve_crosses(classification, tiny_net):
    config = Training(lr=0.01, batch_size=8)
    given = classification, classification
    curve = relearn_curve(tiny_net(), *given, steps=range(20), config=config, seed=3)
    target = float(curve.min())
    time = relearn_time(tiny_net(), *given, target + 1e-12, config=config, seed=3, cap=19)
    assert time == int(curve.argmin())


@pytest.mark.parametrize("loss", ["auto", "squared", Quantile((0.2, 0.7))])
def test_the_loss_of_the_settings_is_trained_and_measured(regression, tiny_net, loss):
    outputs = 2 if isinstance(loss, Quantile) else 1
    config = Training(lr=0.01, batch_size=8, loss=loss)
    net = tiny_net(outputs, dropout=0.0)
    curve = relearn_curve(net, regression, regression, steps=(0, 200), config=config)
    assert curve[0].item() == evaluate(net, regression, loss=loss).loss.double().mean().item()
    assert curve[1] < curve[0] / 2


@pytest.fixture
def three(classification, tiny_net):
    """Curves of three networks on the same stream, and how they were made."""

    def curve(weights: int, **options):
        config = Training(lr=0.01, batch_size=8)
        return relearn_curve(
            tiny_net(seed=weights),
            classification,
            classification,
            steps=(0, 1, 4),
            config=config,
            **options,
        )

    return curve


def test_the_same_seed_gives_the_same_stream_in_any_order_of_calls(three):
    first = [three(0), three(1), three(2)]
    torch.rand(7)  # nobody else's random numbers count
    second = [three(2), three(1), three(0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(three(0, seed=1), first[0])


def by_hand(net, data, steps, config, seed, train: bool = True) -> list[float]:
    """The curve in plain torch: `net` itself is trained, the data shuffled anew in every pass."""
    optimizer = torch.optim.Adam(net.parameters(), config.lr)
    torch.manual_seed(seed)
    order, losses = torch.Generator().manual_seed(seed), []
    parts = iter(())
    for step in range(max(steps) + 1):
        if step in steps:
            answers = net.eval()(data.inputs).double().log_softmax(1)
            losses.append(-answers.gather(1, data.targets[:, None]).mean().item())
        part = next(parts, None)
        if part is None:
            parts = iter(torch.randperm(len(data), generator=order).split(config.batch_size))
            part = next(parts)
        optimizer.zero_grad()
        nn.functional.cross_entropy(
            net.train(train)(data.inputs[part]), data.targets[part]
        ).backward()
        optimizer.step()
    return losses


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_curve_is_that_of_a_plain_loop(classification, tiny_net, seed, dropout):
    """In training mode, with batch statistics and dropout, and measured in evaluation mode; the
    order of the data is the seed's. In another mode or order it would be another curve."""
    steps, config = (0, 1, 3, 8), Training(lr=0.03, batch_size=7)
    net = tiny_net(dropout=dropout)
    curve = relearn_curve(net, *[classification] * 2, steps=steps, config=config, seed=seed)
    call = classification, steps, config
    expected = by_hand(tiny_net(dropout=dropout), *call, seed)
    torch.testing.assert_close(curve, torch.tensor(expected).double(), rtol=1e-5, atol=1e-6)
    for others in (
        by_hand(tiny_net(dropout=dropout), *call, seed, train=False),
        by_hand(tiny_net(dropout=dropout), *call, seed + 1),
    ):
        assert (curve - torch.tensor(others).double())[1:].abs().min() > 1e-4
    time = relearn_time(net, *[classification] * 2, curve[2], config=config, seed=seed, cap=9)
    losses = by_hand(tiny_net(dropout=dropout), classification, range(9), config, seed)
    assert time == next(t for t, loss in enumerate(losses) if loss <= curve[2] + 1e-6)


def test_a_coarser_grid_of_steps_is_the_same_curve(classification, tiny_net):
    net = tiny_net()
    fine = relearn_curve(net, classification, classification, steps=(0, 1, 2, 3, 4))
    coarse = relearn_curve(net, classification, classification, steps=(0, 2, 4))
    assert torch.equal(fine[::2], coarse)


def test_step_0_is_the_model_as_it_is(classification, tiny_net):
    net = tiny_net()
    curve = relearn_curve(net, classification, classification, steps=[0])
    assert curve.item() == evaluate(net, classification).loss.double().mean().item()


def test_any_dataset_gives_the_same_curve(classification, tiny_net):
    pairs = list(zip(classification.inputs, classification.targets.tolist(), strict=True))
    net = tiny_net(dropout=0.0)
    torch.testing.assert_close(
        relearn_curve(net, pairs, pairs), relearn_curve(net, classification, classification)
    )


def test_the_global_generators_are_left_alone(three):
    before = torch.get_rng_state()
    three(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_area_is_exactly_0_and_1_at_the_anchors(three):
    retrained, original = three(1), three(1) - torch.tensor([0.3, 0.2, 0.1])
    assert relearn_area(retrained, retrained, original) == 0
    assert relearn_area(original, retrained, original) == 1


def test_area_closed_forms():
    retrained, original = torch.tensor([4.0, 2.0, 1.0]), torch.tensor([1.0, 1.0, 1.0])
    assert relearn_area(torch.tensor([3.0, 2.0, 1.0]), retrained, original) == 0.25
    assert relearn_area(torch.tensor([6.0, 3.0, 2.0]), retrained, original) == -1  # slower
    assert relearn_area([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]) == 0.5


@pytest.mark.parametrize("steps", [[], [-1, 0], [2, 1], [1, 1], [0, 1.5], ["1"], [None]])
def test_clear_error_for_steps(classification, tiny_net, steps):
    with pytest.raises(ValueError, match="whole numbers? (that ascend|of at least 0)"):
        relearn_curve(tiny_net(), classification, classification, steps=steps)


def test_clear_errors_for_curves(classification, tiny_net):
    with pytest.raises(ValueError, match="smaller learning rate than 1e\\+30"):
        config = Training(optimizer="sgd", lr=1e30)
        relearn_curve(tiny_net(), classification, classification, config=config)
    with pytest.raises(ValueError, match="no examples"):
        relearn_curve(tiny_net(), [], classification)
    with pytest.raises(ValueError, match="no examples"):
        relearn_curve(tiny_net(), classification, [])
    with pytest.raises(ValueError, match="Module"):
        relearn_curve(lambda x: x, classification, classification)


def test_numbers_of_numpy_and_tensors_will_do(classification, tiny_net):
    """As they come out of a measurement."""
    data, steps = (classification, classification), np.array([0, 2])
    curve = relearn_curve(tiny_net(), *data, steps=steps)
    assert torch.equal(curve, relearn_curve(tiny_net(), *data, steps=[0, 2]))
    target = curve[1].item()
    times = [
        relearn_time(tiny_net(), *data, t, cap=3) for t in (target, curve[1], np.float64(target))
    ]
    assert times[0] in (1, 2) and len(set(times)) == 1


@pytest.mark.parametrize(
    "says, change",
    [
        ("target must be a finite number, got nan", {"target": math.nan}),
        ("target must be a finite number, got inf", {"target": math.inf}),
        ("target must be a finite number, got NoneType", {"target": None}),
        ("cap must be a whole number of at least 1", {"cap": 0}),
        ("every must be a whole number of at least 1", {"every": 0.5}),
        ("seed must be a whole number", {"seed": -1}),
        ("config must be a Training", {"config": 0.1}),
        ("no examples", {"data": []}),
        ("no examples", {"probe": []}),
        ("inputs without targets", {"data": torch.zeros(3, 6)}),
        ("inputs without targets", {"probe": torch.zeros(3, 6)}),
        ("Module", {"model": None}),
        ("smaller learning rate", {"config": Training(optimizer="sgd", lr=1e30)}),
    ],
)
def test_clear_errors_for_times(classification, tiny_net, says, change):
    given = {"model": tiny_net(), "data": classification, "probe": classification, "target": 0.0}
    with pytest.raises(ValueError, match=says):
        relearn_time(**given | change)


def test_clear_errors_for_areas():
    flat, high = torch.ones(3), torch.full((3,), 2.0)
    with pytest.raises(ValueError, match="same steps"):
        relearn_area(torch.ones(2), high, flat)
    with pytest.raises(ValueError, match="same steps"):
        relearn_area(torch.ones(()), torch.ones(()), torch.ones(()))
    with pytest.raises(ValueError, match="no head start"):
        relearn_area(flat, flat, flat)
    with pytest.raises(ValueError, match="no head start"):
        relearn_area(flat, flat, high)  # the original is slower: the sign would flip
    with pytest.raises(ValueError, match="finite"):
        relearn_area(torch.tensor([1.0, math.nan, 1.0]), high, flat)


@pytest.mark.parametrize(
    "measure",
    [
        lambda good, bad, data: relearn_curve(bad, data, data, steps=(0, 1)),
        lambda good, bad, data: relearn_time(bad, data, data, 0.1, cap=2),
        lambda good, bad, data: anamnesis_index(good, good, bad, data, data, cap=2, seeds=1),
        lambda good, bad, data: anamnesis_index(bad, good, good, data, data, cap=2, seeds=1),
    ],
)
def test_a_model_that_came_broken_is_not_blamed_on_the_relearning(tiny_net, regression, measure):
    good, bad = tiny_net(1), tiny_net(1)
    torch.nn.init.constant_(bad.head.weight, math.nan)
    with pytest.raises(ValueError, match="NaN or infinite: it has diverged"):
        measure(good, bad, regression)
