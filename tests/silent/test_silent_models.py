"""Networks and sets of one's own that once gave a wrong model without a word."""

import copy
import warnings

import pandas
import pytest
import torch
from shared import SHORT, Net, Pairs, labelled, random
from torch import nn
from torch.nn.utils import prune, spectral_norm, weight_norm
from torch.utils.data import Subset

from minilearn.data import Examples
from minilearn.evaluation import Evaluation
from minilearn.methods import NegGrad, finetune, importance, neggrad
from minilearn.metrics import auc, divergence_of_fits, report, signal
from minilearn.models import build
from minilearn.precision import fast
from minilearn.requests import by_index
from minilearn.stack import stack
from minilearn.training import Training, fit
from minilearn.unlearned import NonFiniteLoss


def test_a_copy_that_would_compute_with_the_originals_weights_is_refused(train):
    net = build(Net, 0)
    replaced, before = net.forward, net.two.forward
    for part, forward, named in (
        (net, lambda x: net.two(net.one(x).relu()) * 2, "the model"),
        (net, lambda x: replaced(x) * 2, "the model"),
        (net.two, lambda x: before(x) * 2, "two"),
    ):
        part.forward = forward
        with pytest.raises(
            ValueError, match=f"{named} keeps a function, .*that names this very network"
        ):
            finetune(net, train, config=SHORT)
        assert net.one.weight.grad is None
        del part.forward
    assert finetune(net, train, config=SHORT)


def test_a_step_that_no_trained_weight_takes_part_in_is_refused(train):
    net = build(Net, 0)
    held = [net.one, net.two]
    net.forward = lambda x: held[1](held[0](x).relu()) * 2
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


def stop_after_one(epoch, net):
    if epoch == 2:
        raise KeyboardInterrupt
    return {}


@pytest.mark.parametrize("kind", [Annealed, Tabled])
def test_a_run_goes_on_with_the_numbers_that_a_network_counts_in(train, tmp_path, kind):
    longer = Training(epochs=5, batch_size=16, lr=1e-2)
    whole = build(kind, 0)
    fit(whole, train, longer)
    with pytest.raises(KeyboardInterrupt):
        fit(build(kind, 0), train, longer, checkpoint=tmp_path / "run", watch=stop_after_one)
    new = build(kind, 0)
    fit(new, train, longer, checkpoint=tmp_path / "run")
    assert whole.steps == 5 * 4 and torch.equal(new.one.weight, whole.one.weight)
    if kind is Annealed:
        assert new.steps == whole.steps


class Mixed(Net):
    """Draws as dropout does, and in training mode mixes the rows of a batch."""

    def __init__(self, mixed: bool = True):
        super().__init__()
        self.drop, self.mixed = nn.Dropout(0.1), mixed

    def forward(self, x):
        h = self.drop(self.one(x).relu())
        if self.training and self.mixed:
            h = (h + h[torch.randperm(len(h))]) / 2
        return self.two(h)


def test_a_stack_of_networks_that_mix_rows_beside_dropout_is_refused(train):
    with pytest.raises(ValueError, match="in training mode the answers of one depend on"):
        stack([Mixed() for _ in range(3)], train.inputs)
    assert stack([Mixed(False) for _ in range(3)], train.inputs)


class Straying(Pairs):
    """Draws from a generator of its own."""

    def __init__(self, data):
        super().__init__(data)
        self.draws = torch.Generator().manual_seed(0)

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x + torch.randn(5, generator=self.draws), y


def test_data_that_no_checkpoint_can_give_again_are_said(train, tmp_path):
    call = {"config": SHORT, "checkpoint": tmp_path / "run"}
    with pytest.raises(KeyboardInterrupt):
        finetune(build(Net, 0), Straying(train), watch=stop_after_one, **call)
    with pytest.warns(UserWarning, match="a generator of their own that a checkpoint does not"):
        finetune(build(Net, 0), Straying(train), **call)


def test_a_report_refuses_the_original_as_a_methods_model(train):
    net, request = build(Net, 0), by_index(train, range(9))
    told = {"original": [net], "metrics": ["accuracy"]}
    with pytest.raises(ValueError, match="mine holds the original itself"):
        report(request, labelled(40, seed=2), methods={"mine": [net]}, **told)
    assert report(request, labelled(40, seed=2), methods={"mine": [copy.deepcopy(net)]}, **told)


def test_a_position_that_is_forgotten_once_and_retained_once_is_said(train):
    twice = Subset(Subset(Pairs(train), range(20)), [*range(10)] * 2)
    with pytest.warns(UserWarning, match="4 of the forgotten examples stand in the Subset once"):
        by_index(twice, range(4))
    assert by_index(twice, [*range(4), *range(10, 14)])


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_answers_in_half_precision_are_told_apart(half):
    logits, labels = (8 * random(400, 10, seed=0)).to(half), torch.arange(400) % 10
    result, exact = (Evaluation(z, labels, torch.zeros(400)) for z in (logits, logits.double()))
    torch.testing.assert_close(signal(result), signal(exact), rtol=1e-5, atol=1e-5)


def test_one_draw_has_no_spread():
    forgotten = torch.tensor([[True, False], [False, True]])
    with pytest.raises(ValueError, match="one model per candidate, of 2 draws, has no spread"):
        divergence_of_fits(random(2, 2, seed=0), random(2, 2, seed=1), forgotten)
    both = torch.ones(2, 2, dtype=torch.bool)
    assert divergence_of_fits(random(2, 2, seed=0), random(2, 2, seed=1), both) >= 0


def test_columns_of_pandas_are_read_in_their_order(train):
    frame = pandas.DataFrame({"place": range(9), "who": [*"abcabcabc"]})
    theirs = frame[frame.who == "a"].place
    assert by_index(train, theirs).indices.tolist() == [0, 3, 6]
    assert torch.equal(train[theirs[::-1]].targets, train[[6, 3, 0]].targets)
    assert auc(theirs, theirs.iloc[:1]) == auc([0, 3, 6], [0])
    for wrong in ({1, 2}, {1: 0}.keys(), frame.who):
        with pytest.raises(ValueError, match=f"got a {type(wrong).__name__}: .*of a set sorted"):
            by_index(train, wrong)


def test_what_has_no_weights_yet_or_is_sparse_is_said(train):
    net = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))
    for call in (lambda: fit(net, train, SHORT), lambda: finetune(net, train, config=SHORT)):
        with pytest.raises(ValueError, match="no weights yet: call it once on a batch"):
            call()
    net(train.inputs)
    assert finetune(net, train, config=SHORT)
    with pytest.raises(ValueError, match=r"inputs is a sparse tensor.*give inputs.to_dense\(\)"):
        Examples(train.inputs.to_sparse(), train.targets)
