"""A stack against its networks: answers, training, methods; and what it refuses."""

import copy

import pytest
import torch
from shared import random
from torch import nn

from minilearn.data import Examples
from minilearn.evaluation import evaluate
from minilearn.identity import contents
from minilearn.methods import (
    METHODS,
    SCRUB,
    BadTeacher,
    Boundary,
    NegGrad,
    finetune,
    laf,
    retrain,
    unlearn,
)
from minilearn.models import allcnn, build, cnn, layer_names, resnet20, small_cnn
from minilearn.requests import Request
from minilearn.schedule import Plateau
from minilearn.stack import (
    LEAVES,
    STACKABLE,
    networks_in,
    rows,
    side_by_side,
    stack,
    unstack,
)
from minilearn.training import Training, fit

M = 3
NETWORKS = {
    "small_cnn": (lambda: small_cnn(10, 8), (1, 8, 8)),
    "cnn": (lambda: cnn(10, 8), (1, 8, 8)),
    "allcnn": (lambda: allcnn(10, 0.05), (3, 8, 8)),
    "resnet20": (lambda: resnet20(10), (3, 8, 8)),
    "line": (lambda: nn.Sequential(Line(), nn.Flatten(0)), (2, 6)),
}


class Line(nn.Module):
    """Sequences of six: every other kind of leaf, one that is used twice, and a part without."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 4, 3, padding=1, groups=2, padding_mode="circular")
        self.norms = nn.Sequential(nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.LayerNorm((4, 6)))
        self.twice = nn.Linear(6, 6)
        self.last = nn.Sequential(nn.LayerNorm(6, bias=False), nn.Linear(6, 1, bias=False))

    def forward(self, x):
        x = self.norms(self.first(x))
        return self.last(self.twice(self.twice(x).relu())).mean(1)


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))


def conv():
    return small_cnn(3, 4)


def images(n: int, seed: int) -> Examples:
    x = random(n, 1, 4, 4, seed=seed).sigmoid()
    return Examples(x, x.flatten(1)[:, :3].argmax(1))


SETS = [images(30, m) for m in range(M)]


def together(fresh, seed: int = 0) -> tuple[list[nn.Module], nn.Module]:
    networks = [build(fresh, seed + m) for m in range(M)]
    return networks, stack(networks, SETS[0].inputs)


def distance(one: nn.Module, other: nn.Module) -> float:
    """The largest difference of any number that they hold."""
    pairs = zip(contents(one).values(), contents(other).values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("train", [False, True])
def test_it_answers_and_learns_as_its_networks_do(name, train):
    fresh, shape = NETWORKS[name]
    networks = [build(fresh, m).train(train) for m in range(M)]
    one = stack(networks, random(2, *shape)).train(train)
    x = random(5, M, *shape, seed=1)
    answer = one(x.flatten(0, 1)).unflatten(0, (5, M))
    (answer.square().sum()).backward()
    for m, (network, back) in enumerate(zip(networks, unstack(one), strict=True)):
        expected = network(x[:, m])
        torch.testing.assert_close(answer[:, m], expected, rtol=1e-4, atol=1e-5)
        expected.square().sum().backward()
        assert distance(network, back) < 1e-5  # running statistics too
    for key, weight in one.named_parameters():
        apart = [network.get_parameter(key).grad for network in networks]
        torch.testing.assert_close(weight.grad, torch.cat(apart), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", ["small_cnn", "line"])
def test_of_no_rows_it_makes_no_rows(name):
    """A batch of a mixed pass may hold nothing that is forgotten, or nothing else."""
    fresh, shape = NETWORKS[name]
    networks = [build(fresh, m).eval() for m in range(M)]
    none = torch.zeros(0, *shape)
    assert stack(networks, random(2, *shape)).eval()(none).shape == networks[0](none).shape


@pytest.mark.parametrize("name", NETWORKS)
def test_taken_apart_they_are_the_networks_that_they_were(name):
    fresh, shape = NETWORKS[name]
    networks = [build(fresh, m) for m in range(M)]
    before = [copy.deepcopy(network) for network in networks]
    one = stack(networks, random(2, *shape))
    assert networks_in(one) == M and networks_in(networks[0]) == 1
    assert type(one) is type(networks[0]) and layer_names(one) == layer_names(networks[0])
    for network, back in zip(before, unstack(one), strict=True):
        assert repr(network) == repr(back)
        assert [type(part) for part in network.modules()] == [type(p) for p in back.modules()]
        assert distance(network, back) == 0
        x = random(4, *shape)
        assert torch.equal(network.eval()(x), back.eval()(x))
    for network, left in zip(networks, before, strict=True):
        assert distance(network, left) == 0


def test_hooks_tied_weights_and_frozen_parts_are_kept():
    def tied():
        net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
        net[2].weight = net[0].weight
        net[3].bias.requires_grad_(False)
        return net

    networks = [build(tied, m) for m in range(M)]
    seen = []
    networks[0][1].register_forward_hook(lambda part, given, out: seen.append(len(out)))
    networks[0][2].register_forward_hook(lambda part, given, out: seen.append(type(part)))
    one = stack(networks, random(2, 4))
    seen.clear()
    one(random(6, 4))
    assert seen == [6, LEAVES[nn.Linear]]
    assert one[0].weight is one[2].weight and not one[3].bias.requires_grad
    back = unstack(one)[1]
    assert back[0].weight is back[2].weight and not back[3].bias.requires_grad


@pytest.mark.parametrize("fresh", [mlp, conv])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_stack_is_trained_to_the_weights_of_separate_runs(fresh, optimizer):
    """Also with weight decay, which sees the size of a gradient."""
    config = Training(epochs=6, batch_size=8, weight_decay=0.01, optimizer=optimizer, lr=1e-2)
    networks, one = together(fresh)
    history = fit(one, side_by_side(SETS), config, seed=5)
    losses = []
    for network, data, back in zip(networks, SETS, unstack(one), strict=True):
        start = copy.deepcopy(network)
        losses.append(fit(network, data, config, seed=5).loss)
        assert distance(network, back) < 1e-5 < 0.01 < distance(network, start)
    torch.testing.assert_close(history.loss, torch.stack(losses).mean(0), rtol=1e-4, atol=1e-5)


SHORT = {
    "retrain": Training(epochs=2, batch_size=8),
    "finetune": Training(epochs=2, batch_size=8, lr=1e-2),
    "neggrad": NegGrad(epochs=3, batch_size=4, lr=1e-2),
    "bad_teacher": BadTeacher(epochs=3, batch_size=8, lr=1e-2),
    "scrub": SCRUB(epochs=2, ascents=0, batch_size=8, lr=1e-2),
    "boundary": Boundary(epochs=3, batch_size=4, lr=1e-2),
}


@pytest.mark.filterwarnings("ignore:fresh.. makes the same first weights")
@pytest.mark.parametrize("fresh", [mlp, conv])
@pytest.mark.parametrize("name", STACKABLE)
def test_a_method_on_a_stack_gives_the_networks_that_it_gives_one_by_one(name, fresh):
    mask = torch.arange(30) < 9
    networks, one = together(fresh)
    news = [build(fresh, 50 + m) for m in range(M)]
    options = {"config": SHORT[name], "seed": 4}

    def new():
        return stack([copy.deepcopy(network) for network in news], SETS[0].inputs)

    result = unlearn(METHODS[name], one, Request(side_by_side(SETS), mask), fresh=new, **options)
    separate = []
    for m in range(M):
        fresh_m, request = (lambda m=m: copy.deepcopy(news[m])), Request(SETS[m], mask)
        separate.append(unlearn(METHODS[name], networks[m], request, fresh=fresh_m, **options))
    for network, other, back in zip(networks, separate, unstack(result.model), strict=True):
        moved = distance(network, back)
        assert distance(other.model, back) < 0.02 * moved  # Adam makes much of rounding
        assert moved > 1e-3
    assert result.cost.by_source() == separate[0].cost.by_source()


def test_every_network_has_its_own_set_and_no_other():
    _, one = together(mlp)
    _, again = together(mlp)
    config = Training(epochs=1, batch_size=8)
    fit(one, side_by_side(SETS), config)
    fit(again, side_by_side([SETS[0], images(30, 77), SETS[2]]), config)
    apart = [distance(a, b) for a, b in zip(unstack(one), unstack(again), strict=True)]
    assert apart[1] > 1e-4 and max(apart[0], apart[2]) < 1e-6


def test_a_stack_of_one_is_trained_as_the_network():
    network = build(mlp, 0)
    one = stack([network], SETS[0].inputs)
    config = Training(epochs=2, batch_size=8)
    tuned = finetune(one, SETS[0], config=config)
    assert distance(unstack(tuned.model)[0], finetune(network, SETS[0], config=config).model) < 1e-6


class Mixing(nn.Module):
    """Reads the other rows of its batch."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 4)

    def forward(self, x):
        return self.body(x) - self.body(x).mean(0)


class Scale(nn.Module):
    """Has a weight of its own, outside of any layer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.body = nn.Linear(4, 2)

    def forward(self, x):
        return self.scale * self.body(x)


class Folded(nn.Module):
    """Knows how many rows there are."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 2)

    def forward(self, x):
        return self.body(x).view(2, 2)


def counted(steps: int) -> nn.Module:
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    for _ in range(steps):
        network(random(4, 4))
    return network


def test_what_cannot_be_stacked_is_said_in_one_sentence():
    frozen = nn.Linear(4, 2)
    frozen.bias.requires_grad_(False)
    pairs = {
        "got none": [],
        "0 is a Embedding with weights; train them one by one": [
            nn.Sequential(nn.Embedding(4, 2)) for _ in range(2)
        ],
        "the network is a Scale with weights": [Scale(), Scale()],
        "the network is a LSTM with weights": [nn.LSTM(4, 2), nn.LSTM(4, 2)],
        "answers differ from theirs by": [Mixing(), Mixing()],
        r"the stack fails on \(2, 4\)": [Folded(), Folded()],
        "another architecture": [nn.Linear(4, 2), nn.Linear(4, 3)],
        "1 is another one in network 1 than in": [
            nn.Sequential(nn.Linear(4, 2), nn.Dropout(p)) for p in (0.1, 0.2)
        ],
        "bias is frozen in one of them only": [nn.Linear(4, 2), frozen],
        "1.num_batches_tracked differs": [counted(1), counted(2)],
        "StackedLinear with weights": [stack([nn.Linear(4, 2)], random(2, 4))] * 2,
    }
    for sentence, networks in pairs.items():
        with pytest.raises(ValueError, match=sentence):
            stack(networks, random(2, 4))


class Steps(nn.Module):
    """Sequences of 5 steps whose rows a layer sees as a batch of its own."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm, self.head = norm, nn.Linear(4, 2)

    def forward(self, x):
        steps = self.norm(x[:, None] * torch.arange(1, 6)[:, None].to(x))
        flat = self.norm(steps.flatten(0, 1)).unflatten(0, (len(x), -1))
        return self.head(flat.mean(1))


class Noted(nn.Module):
    """A layer without weights that keeps a mean of what it has seen."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x):
        if self.training:
            self.seen.lerp_(x.detach().mean(0), 0.1)
        return x - self.seen


class Mixup(nn.Module):
    def forward(self, x):
        return x + x.flip(0) if self.training else x


class InDictionary(nn.Linear):
    def __init__(self, p: float):
        super().__init__(4, 2)
        self.options = {"p": [p]}


def test_networks_that_would_mix_only_after_their_training_are_refused_before():
    """Fresh layers are all alike, so their rows can be anyone's; and training mode has its own."""
    several = {
        "answers differ from theirs by": [Steps(nn.LayerNorm(4)) for _ in range(M)],
        "answers differ": [Steps(nn.Linear(4, 4)) for _ in range(M)],
        "in training mode from theirs": [nn.Sequential(Mixup(), nn.Linear(4, 2)) for _ in range(M)],
        "1.running_mean follows the examples": [
            nn.Sequential(
                nn.Unflatten(1, (1, 4)),
                nn.InstanceNorm1d(1, track_running_stats=True),
                nn.Flatten(),
                nn.Linear(4, 2),
            )
            for _ in range(M)
        ],
        "0.seen follows the examples": [nn.Sequential(Noted(), nn.Linear(4, 2)) for _ in range(M)],
        "options is another one in network 1": [InDictionary(0.1), InDictionary(0.9)],
    }
    shared = copy.deepcopy(several["answers differ"][0])
    several["answers differ from"] = [
        copy.deepcopy(shared) for _ in range(M)
    ]  # one encoder for all
    for sentence, networks in several.items():
        before = [copy.deepcopy(network.state_dict()) for network in networks]
        with pytest.raises(ValueError, match=sentence):
            stack(networks, random(2, 4))
        for network, state in zip(networks, before, strict=True):
            assert all(
                torch.equal(a, b)
                for a, b in zip(network.state_dict().values(), state.values(), strict=True)
            )


def test_one_rate_for_several_networks_is_refused():
    net = stack([nn.Linear(4, 2) for _ in range(M)], random(2, 4))
    sets = [Examples(random(8, 4, seed=m), torch.arange(8) % 2) for m in range(M)]
    plateau = Training(epochs=1, schedule=Plateau(follows="loss"))
    with pytest.raises(ValueError, match="follows the loss of one network, and a stack has one"):
        fit(net, side_by_side(sets), plateau)


def test_what_a_stack_is_not_for_is_said_in_one_sentence():
    _, one = together(mlp)
    with pytest.raises(ValueError, match="laf takes one network, and this is a stack of 3"):
        laf(one, SETS[0].inputs, SETS[1].inputs)
    with pytest.raises(ValueError, match="evaluate takes one network"):
        evaluate(one, SETS[0])
    with pytest.raises(ValueError, match=r"reads batches \(B, 3, ...\), got \(8, 1, 4, 4\)"):
        fit(one, SETS[0], Training(epochs=1, batch_size=8))
    for sets, found in (
        ([SETS[0], SETS[1][:29]], "of one size, got .*30, 1, 4, 4"),
        ([SETS[0], SETS[0].with_targets(torch.rand(30))], "of one size"),
        ([SETS[0], SETS[0].inputs], "no Examples"),
        ([], "got none"),
    ):
        with pytest.raises(ValueError, match=found):
            side_by_side(sets)


def test_rows_are_item_by_item_network_by_network():
    items = torch.arange(6).view(2, 3)
    assert rows(3, items)[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert rows(1, items)[0] is items
    both = side_by_side(SETS)[torch.tensor([4, 2])]
    assert torch.equal(both.inputs[1, 2], SETS[2].inputs[2])
    assert torch.equal(both.targets[:, 1], SETS[1].targets[[4, 2]])


def test_retraining_makes_the_networks_that_it_makes_one_by_one():
    """`fresh` makes a whole stack, under one seed."""
    config = Training(epochs=1, batch_size=8)

    def networks():
        return [mlp() for _ in range(M)]

    made = retrain(
        lambda: stack(networks(), SETS[0].inputs), side_by_side(SETS), config=config, seed=3
    )
    alone = [
        retrain(lambda m=m: networks()[m], data, config=config, seed=3)
        for m, data in enumerate(SETS)
    ]
    for back, other in zip(unstack(made.model), alone, strict=True):
        assert distance(back, other.model) < 1e-5
