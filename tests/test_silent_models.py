"""Networks and sets of one's own that once gave a wrong model without a word."""

import copy
import warnings

import pytest
import torch
from shared import labelled, random
from torch import nn
from torch.nn.utils import prune, spectral_norm, weight_norm

from minilearn.data import Examples
from minilearn.methods import NegGrad, finetune, importance, neggrad
from minilearn.models import build
from minilearn.precision import fast
from minilearn.training import Training, fit
from minilearn.unlearned import NonFiniteLoss

SHORT = Training(epochs=2, batch_size=8, lr=1e-2)


@pytest.fixture
def train() -> Examples:
    return labelled(60, seed=1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(5, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.two(self.one(x).relu())


def test_a_copy_that_computes_with_the_originals_weights_is_refused(train):
    net = build(Net, 0)
    net.forward = lambda x: net.two(net.one(x).relu()) * 2
    with pytest.raises(ValueError, match="no weight that is trained has a gradient.*its class"):
        finetune(net, train, config=SHORT)


def test_a_run_all_of_whose_steps_overflow_is_refused():
    large = Examples(random(40, 5, seed=0) * 1_000, torch.arange(40) % 3)
    with fast(torch.float16):
        with pytest.raises(NonFiniteLoss, match="1 of 1 steps overflowed, so that nothing"):
            neggrad(build(Net, 0), large, config=NegGrad(epochs=1))
        with pytest.warns(UserWarning, match="of 20 steps overflowed, and these were left out"):
            neggrad(build(Net, 0), large, config=NegGrad(epochs=20, lr=1e-9))


def test_a_hook_on_a_gradient_is_said_to_be_lost(train):
    net = build(Net, 0)
    net.one.weight.register_hook(lambda gradient: gradient * 0)
    with pytest.warns(UserWarning, match="lacks the hook on the gradient of one.weight"):
        finetune(net, train, config=SHORT)


def pruned():
    net = Net()
    prune.l1_unstructured(net.one, "weight", 0.5)
    return net


def normed(by):
    net = Net()
    with warnings.catch_warnings(action="ignore"):  # torch has newer ones
        net.one = by(net.one)
    return net


@pytest.mark.parametrize(
    "make",
    [pruned, lambda: normed(weight_norm), lambda: normed(spectral_norm)],
    ids=["pruned", "weight norm", "spectral norm"],
)
def test_a_network_that_computes_its_weights_is_copied_as_it_is_after_training(train, make):
    net = build(make, 0)
    fit(net, train, SHORT)
    before = copy.deepcopy(net.state_dict())
    new = finetune(net, train, config=SHORT).model
    assert net.one.weight.grad_fn is not None, "the original is as it was"
    assert all(map(torch.equal, before.values(), net.state_dict().values()))
    assert not torch.equal(new(train.inputs), net(train.inputs))
    if make is pruned:
        assert bool(((new.one.weight == 0) == (net.one.weight == 0)).all())
    with pytest.raises(ValueError, match='one computes a weight from others.*importance="loop"'):
        importance(net, train[:5])
    assert importance(net, train[:5], "loop")


def test_a_frozen_part_keeps_its_statistics_without_weights_of_their_own(train):
    body = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8, affine=False))
    net = nn.Sequential(body, nn.Linear(8, 3)).eval()
    body.requires_grad_(False)
    before = body(train.inputs)
    new = finetune(net, Examples(3 * train.inputs + 2, train.targets), config=SHORT).model
    assert torch.equal(new.eval()[0](train.inputs), before)


class Annealed(Net):
    """Counts its steps in a number of Python."""

    steps = 0

    def forward(self, x):
        self.steps = self.steps + self.training
        return super().forward(x) * (1 + 0.1 * self.steps)


class Tabled(Net):
    """Keeps a table, and the size that it is for."""

    def __init__(self):
        super().__init__()
        self.size, self.table, self.steps = 0, None, 0

    def forward(self, x):
        self.steps += self.training
        if self.size < len(x):
            self.size, self.table = len(x), torch.arange(len(x))
        return super().forward(x) + 0 * self.table[: len(x), None]


def stop_after_two(epoch, net):
    if epoch == 3:
        raise KeyboardInterrupt
    return {}


@pytest.mark.parametrize("kind", [Annealed, Tabled])
def test_a_run_goes_on_with_the_numbers_that_a_network_counts_in(train, tmp_path, kind):
    longer = Training(epochs=5, batch_size=16, lr=1e-2)
    whole = build(kind, 0)
    fit(whole, train, longer)
    with pytest.raises(KeyboardInterrupt):
        fit(build(kind, 0), train, longer, checkpoint=tmp_path / "run", watch=stop_after_two)
    new = build(kind, 0)
    fit(new, train, longer, checkpoint=tmp_path / "run")
    assert whole.steps == 5 * 4 and torch.equal(new.one.weight, whole.one.weight)
    if kind is Annealed:
        assert new.steps == whole.steps
