"""Unrolling against SGD itself: exact to first order in the learning rate, and not beyond."""

import copy

import pytest
import torch
from torch import nn

from minilearn.methods import Unrolling, retrain, unrolling
from minilearn.models import build
from minilearn.training import NonFiniteLoss, Training, fit

CASE = {"access": ("model", "forget", "start"), "one_step": True}


def sgd(net, data, lr, epochs, batch):
    """Plain SGD in the given order, each step the sum over its batch divided by `batch`."""
    for _ in range(epochs):
        for i in range(0, len(data), batch):
            part = data[i : i + batch]
            loss = nn.functional.cross_entropy(net(part.inputs), part.targets, reduction="sum")
            grads = torch.autograd.grad(loss / batch, list(net.parameters()))
            with torch.no_grad():
                for p, g in zip(net.parameters(), grads, strict=True):
                    p.sub_(lr * g)
    return net


def gap(net, other):
    pairs = zip(net.parameters(), other.parameters(), strict=True)
    return sum((a - b).detach().square().sum().item() for a, b in pairs) ** 0.5


@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
def test_one_step_of_a_network_with_batch_statistics_is_taken_back(classification, train):
    """The gradient is that of training, whatever mode the start comes in."""

    def network():
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    start = build(network, 0).train(train)
    one_step = {"epochs": 1, "batch_size": 24, "lr": 0.1}
    whole = copy.deepcopy(start)
    fit(whole, classification, Training(**one_step, optimizer="sgd", momentum=0.0), progress=False)
    found = unrolling(whole, classification, start=start, config=Unrolling(**one_step)).model
    assert gap(found, start) < 1e-5 < gap(whole, start)


def test_the_seed_draws_the_dropout(tiny_net, classification):
    net, start, items = tiny_net(seed=1), tiny_net(), classification[:7]
    runs = [unrolling(net, items, start=start, seed=seed).model for seed in (0, 0, 1)]
    assert gap(runs[0], runs[1]) == 0 < gap(runs[0], runs[2])


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"lr": 0.0}])
def test_a_training_that_moved_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Unrolling(**wrong)


def test_it_is_exact_to_first_order(classification):
    """Halving the rate quarters the distance to the model that never saw them."""
    start = build(lambda: nn.Sequential(nn.Linear(6, 3)), 0).double()
    data = copy.copy(classification)
    object.__setattr__(data, "inputs", classification.inputs.double())
    errors, moves = [], []
    for lr in (1e-2, 5e-3):
        whole = sgd(copy.deepcopy(start), data, lr, 2, 8)
        without = copy.deepcopy(start)
        for _ in range(2):  # the same batches, the forgotten items left out of each
            for i in range(0, 24, 8):
                keep = [j for j in range(i, i + 8) if j >= 7]
                if keep:
                    sgd(without, data[torch.tensor(keep)], lr * len(keep) / 8, 1, len(keep))
        found = unrolling(whole, data[:7], start=start, config=Unrolling(2, 8, lr)).model
        errors.append(gap(found, without))
        moves.append(gap(whole, without))
    assert errors[0] < 0.1 * moves[0]
    assert 3.5 < errors[0] / errors[1] < 4.5 and 1.8 < moves[0] / moves[1] < 2.2


@pytest.mark.parametrize("loss", ["absolute", "squared"])
def test_of_one_step_of_a_regression_it_takes_back_that_step(regression, loss):
    start = build(lambda: nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)), 0)
    one_step = {"epochs": 1, "batch_size": 24, "lr": 0.01, "loss": loss}
    whole = copy.deepcopy(start)
    fit(whole, regression, Training(**one_step, optimizer="sgd", momentum=0.0), progress=False)
    found = unrolling(whole, regression, start=start, config=Unrolling(**one_step)).model
    assert gap(found, start) < 1e-5 < gap(whole, start)


def test_after_a_real_training_it_is_not(classification, tiny_net):
    """What the page says of it: trained well beyond first order, it misses."""
    kind = type(tiny_net())
    start, recipe = build(lambda: kind(3, dropout=0.0), 0), Training(30, 8, 0.05, "sgd")
    model = copy.deepcopy(start)
    fit(model, classification, recipe, progress=False)
    found = unrolling(model, classification[:7], start=start, config=Unrolling(30, 8, 0.05)).model
    again = retrain(lambda: copy.deepcopy(start), classification[7:], config=recipe).model
    assert gap(found, again) > 0.2 * gap(model, again)


def test_a_frozen_part_stays_and_the_start_is_as_before(tiny_net, classification, everything_of):
    net, start = tiny_net(), tiny_net(seed=1)
    net.body[0].requires_grad_(False)
    before = everything_of(start)
    found = unrolling(net, classification[:7], start=start).model
    assert everything_of(start) == before
    assert torch.equal(found.body[0].weight, net.body[0].weight)
    assert not torch.equal(found.head.weight, net.head.weight)
    thawed, frozen = tiny_net(), start
    frozen.body[0].requires_grad_(False)
    both = [
        unrolling(thawed, classification[:7], start=each).model
        for each in (frozen, tiny_net(seed=1))
    ]
    assert gap(*both) == 0 < gap(both[0], thawed)


def test_bad_input(tiny_net, classification):
    net, items = tiny_net(), classification[:7]
    with pytest.raises(ValueError, match="another architecture"):
        unrolling(net, items, start=tiny_net(4))
    with pytest.raises(ValueError, match="torch.nn.Module"):
        unrolling(net, items, start=None)
    with pytest.raises(ValueError, match="the model is on cpu but the new one on meta"):
        unrolling(net, items, start=tiny_net().to("meta"))
    broken = tiny_net()
    nn.init.constant_(broken.head.weight, torch.nan)
    with pytest.raises(NonFiniteLoss, match="a gradient at the start is not finite"):
        unrolling(net, items, start=broken)
    for wrong in ({"lr": -1}, {"lr": "1"}, {"epochs": -1}, {"batch_size": 0}, {"loss": 1}):
        with pytest.raises(ValueError, match="must be|loss"):
            Unrolling(**wrong)
