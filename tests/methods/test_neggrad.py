"""Gradient ascent against one step written by hand."""

import copy

import pytest
import torch
import torch.nn.functional as F

from minilearn.data import daily_loads
from minilearn.evaluation import evaluate
from minilearn.methods import NegGrad, neggrad, unlearn
from minilearn.models import quantile_net
from minilearn.requests import by_index
from minilearn.training import NonFiniteLoss

CASE = {"access": ("model", "forget", "retain")}

ONE = NegGrad(epochs=1, batch_size=100, lr=1e-3)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_one_small_step_climbs(request, tiny_net, task):
    data = request.getfixturevalue(task)
    model = tiny_net(3 if data.classes else 1, dropout=0.0)
    after = neggrad(model, data[:9], config=ONE).model
    # in training mode, where the step was taken: the batch's own statistics
    loss = [F.cross_entropy if data.classes else F.l1_loss][0]
    values = [loss(net.train()(data.inputs[:9]), data.targets[:9]) for net in (model, after)]
    assert values[1] > values[0]


def pinball(out, y):
    """The mean over three levels, hours and examples."""
    gap = y[..., None] - out
    levels = torch.tensor([0.1, 0.5, 0.9])
    return torch.maximum(levels * gap, (levels - 1) * gap).mean()


@pytest.mark.parametrize(
    "name, loss", [("agedb", F.l1_loss), ("stsb", F.mse_loss), ("electricity", pinball)]
)
def test_the_papers_ascent_climbs_the_loss_of_its_data(tiny_net, regression, name, loss):
    data, net = regression[:9], tiny_net(1, dropout=0.0)
    if name == "electricity":
        data, net = daily_loads(1, 60).train[:9], quantile_net()
    result = neggrad(net, data, config=NegGrad.paper(name))
    expected = -loss(net.train()(data.inputs), data.targets).item()
    assert result.history.loss.tolist() == pytest.approx([expected], rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.95, 1.0])
@pytest.mark.parametrize("with_retain", [False, True])
def test_two_epochs_by_hand_bit_for_bit(tiny_net, classification, alpha, with_retain):
    forget, retain = classification[:9], classification[9:]
    config = NegGrad(epochs=2, batch_size=4, lr=1e-2, alpha=alpha)
    model = tiny_net()
    result = neggrad(model, forget, retain if with_retain else None, config=config, seed=6)

    by_hand = copy.deepcopy(model)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-2)
    torch.manual_seed(6)
    order = torch.Generator().manual_seed(6)
    for _ in range(2):
        forget_order = torch.randperm(9, generator=order)
        steps = [forget_order[:4], forget_order[4:]]  # the last one joins the batch before it
        retain_order = torch.randperm(15, generator=order) if with_retain else None
        for i, part in enumerate(steps):
            loss = -F.cross_entropy(by_hand(forget.inputs[part]), forget.targets[part])
            if with_retain:
                kept = retain_order[4 * i : 4 * i + 4]
                descent = F.cross_entropy(by_hand(retain.inputs[kept]), retain.targets[kept])
                loss = alpha * descent + (1 - alpha) * loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for ours, theirs in zip(
        result.model.state_dict().values(), by_hand.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_small_retained_sets_are_read_again(tiny_net, classification):
    config = NegGrad(epochs=1, batch_size=4)
    result = neggrad(tiny_net(), classification[:20], classification[20:], config=config)
    assert result.cost.by_source() == {"forget": 3 * 20, "retain": 3 * 4 * 5}


def test_the_retained_data_can_be_withheld(tiny_net, classification):
    request = by_index(classification, range(9))
    alone = unlearn(neggrad, tiny_net(), request, config=ONE, retain=None)
    assert alone.cost.by_source() == {"forget": 27}
    both = unlearn(neggrad, tiny_net(), request, config=ONE)
    assert both.cost.by_source() == {"forget": 27, "retain": 45}


def test_it_forgets_more_with_every_epoch(tiny_net, classification):
    losses = []

    def watch(epoch, model):
        losses.append(evaluate(model, classification[:9]).loss.mean().item())
        return {}

    config = NegGrad(epochs=8, lr=1e-2)
    neggrad(tiny_net(dropout=0.0), classification[:9], config=config, watch=watch)
    assert losses[-1] > losses[0]


def test_an_ascent_that_overflows_is_one_sentence(regression):
    model = torch.nn.Sequential(torch.nn.Linear(6, 1), torch.nn.Flatten(0))
    with pytest.raises(NonFiniteLoss, match="usual cure is a smaller learning rate"):
        neggrad(model, regression, config=NegGrad(epochs=40, lr=1e37))
    with pytest.raises(ValueError, match="without overflow"):  # torch's own words
        neggrad(model, regression, config=NegGrad(epochs=1, lr=1e38))


@pytest.mark.parametrize(
    "change", [{"alpha": -0.1}, {"alpha": 1.1}, {"alpha": float("nan")}, {"alpha": "all"}]
)
def test_alpha_must_lie_between_0_and_1(change):
    with pytest.raises(ValueError, match=r"alpha must be a number in \[0, 1\], got"):
        NegGrad(**change)


@pytest.mark.parametrize("change", [{"epochs": -1}, {"batch_size": 0}, {"lr": -1.0}])
def test_the_rest_is_checked_as_in_training(change):
    with pytest.raises(ValueError, match=f"^{next(iter(change))} must be"):
        NegGrad(**change)


@pytest.mark.parametrize("part", ["forget", "retain"])
def test_inputs_without_labels_are_refused(tiny_net, classification, part):
    sets = {"forget": classification[:9], "retain": classification[9:]}
    with pytest.raises(ValueError, match="inputs without targets"):
        neggrad(tiny_net(), **sets | {part: sets[part].inputs})
