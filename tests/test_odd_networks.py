"""Every method and metric on networks and data of one's own: as on plain ones, or a sentence."""

import copy
import dataclasses
import inspect
import random

import numpy as np
import pytest
import torch
from shared import Pairs, bits, unseen
from torch import nn

from minilearn.data import Examples
from minilearn.evaluation import evaluate
from minilearn.methods import METHODS, PGD, unlearn
from minilearn.metrics import METRICS, report
from minilearn.models import Normalize, chain, extractor, mode, representation, unwrapped
from minilearn.requests import by_index
from minilearn.training import Training, fit

FOR_NUMBERS = ("blindspot", "amnesiac")
ITEMS = ("l2ul", "boundary")  # they forget the very items that they are given
SETTINGS = {
    "epochs": 2,
    "batch_size": 8,
    "lr": 1e-2,
    "attack": PGD(eps=20.0, step=4.0, steps=6, repeats=2),
    "vae": Training(epochs=1, batch_size=8),
    "teacher": Training(epochs=1, batch_size=8),
}


class Shift(nn.Module):
    """The first operation of a network, which may write into what it is given."""

    def __init__(self, in_place: bool):
        super().__init__()
        self.in_place = in_place

    def forward(self, x):
        return x.sub_(0.5).mul_(2.0) if self.in_place else (x - 0.5) * 2.0


class Mean(nn.Module):
    """Keeps a running mean in a buffer that may be missing in the state_dict."""

    def __init__(self, persistent: bool):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4, 1, 1), persistent=persistent)

    def forward(self, x):
        if self.training:  # another tensor takes the buffer's place, as many write it
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean((0, 2, 3))[:, None, None]
        return x - self.mean


class Adapter(nn.Module):
    """A frozen weight with a trainable part of low rank, which `eval()` may merge into it."""

    def __init__(self, merging: bool):
        super().__init__()
        self.base = nn.Parameter(torch.randn(64, 64) / 8, requires_grad=False)
        self.down = nn.Parameter(torch.randn(2, 64) / 8)
        self.up = nn.Parameter(torch.randn(64, 2) / 8)
        self.merging, self.merged = merging, False

    def train(self, mode=True):
        super().train(mode)
        if self.merging and mode == self.merged:
            self.base.data += (-1 if mode else 1) * (self.up.data @ self.down.data)
            self.merged = not mode
        return self

    def forward(self, x):
        return x @ self.base.T if self.merged else x @ (self.base + self.up @ self.down).T


class Net(nn.Module):
    """An image network; `inside` stands after the first layer, `first` before it."""

    def __init__(self, outputs: int, first=nn.Identity, inside=nn.Identity, dense=nn.Identity):
        super().__init__()
        self.first, self.conv, self.inside = first(), nn.Conv2d(1, 4, 3), inside()
        self.norm, self.dense = nn.BatchNorm2d(4), dense()
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(64, outputs)

    def forward(self, x):
        maps = self.norm(self.inside(self.conv(self.first(x)))).relu()
        out = self.head(self.drop(self.dense(maps.flatten(1))))
        return out.squeeze(1) if out.shape[1] == 1 else out


class Wrapper(nn.Module):
    """A wrapper of the user's own."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


class HeadFirst(nn.Module):
    """The classifier is defined before what runs before it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(10, 3)
        self.one, self.two = nn.Linear(6, 20), nn.Linear(20, 10)

    def forward(self, x):
        return self.head(self.two(self.one(x).relu()).relu())


WRAPPERS = {
    "normalised": lambda net: nn.Sequential(Normalize([0.0], [1.0]), net),
    "data parallel": nn.DataParallel,
    "own": Wrapper,
    "twice": lambda net: nn.DataParallel(Wrapper(net)),
    "compiled": lambda net: torch.compile(net, backend="eager"),
}
DRAWS = {
    "torch": lambda: torch.rand(1).item(),
    "numpy": lambda: float(np.random.rand()),
    "python": random.random,
}


class Augmented(Pairs):
    """Every reading of an item is another one."""

    def __init__(self, data, draw):
        super().__init__(data)
        self.draw = draw

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return (x + 0.1 * self.draw()).clamp(0, 1), y


@pytest.fixture(params=METHODS.values(), ids=list(METHODS))
def method(request):
    return request.param


def examples(method) -> Examples:
    x = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    if method.__name__ in FOR_NUMBERS:
        return Examples(x, 10 * x.mean((1, 2, 3)))
    return Examples(x, torch.arange(40) % 3)


def built(method, wrap=lambda net: net, seed: int = 0, **parts):
    """A network of the method's task, its weights decided by the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return wrap(Net(1 if method.__name__ in FOR_NUMBERS else 3, **parts))


def answers(method, train, make, model=None, seed: int = 0):
    """What the method returns for a short run with networks of one kind."""
    config = inspect.signature(method).parameters["config"].default
    fields = {field.name for field in dataclasses.fields(config)}
    config = dataclasses.replace(config, **{k: v for k, v in SETTINGS.items() if k in fields})
    model = make() if model is None else model
    start = make()
    with torch.no_grad():
        for parameter in start.parameters():  # the network before training had other weights
            parameter.mul_(0.5)
    options = {"fresh": make, "start": start, "config": config, "seed": seed}
    return unlearn(method, model, by_index(train, range(12)), **options)


def parameters(result) -> list[torch.Tensor]:
    return [parameter.detach() for parameter in result.model.parameters()]


# An adapter that is merged cannot be trained, nor can a method ask what one of its weights does.
UNTRAINED_ADAPTER = (
    "no weight that can be trained comes before the representation",
    'importance="loop" in L2UL',
)


# ---- methods


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # of torch's own compiler
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_network_gives_the_bits_of_the_bare_one(method, wrap):
    train = examples(method)
    bare = answers(method, train, lambda: built(method))
    wrapped = answers(method, train, lambda: built(method, wrap))
    assert torch.equal(bare.history.loss, wrapped.history.loss)
    assert all(map(torch.equal, parameters(bare), parameters(wrapped)))


@pytest.mark.parametrize("own", [False, True], ids=["examples", "dataset"])
def test_what_a_network_writes_into_its_input_reaches_no_other(method, own):
    train = examples(method)
    before = train.inputs.clone()
    data = Pairs(train) if own else train
    results = [
        answers(method, data, lambda x=x: built(method, first=lambda: Shift(in_place=x)))
        for x in (False, True)
    ]
    assert torch.equal(train.inputs, before)
    assert all(map(torch.equal, *map(parameters, results)))


def test_a_buffer_that_is_not_saved_is_carried_all_the_same(method):
    train = examples(method)
    given = [built(method, inside=lambda p=p: Mean(p)) for p in (True, False)]
    for net in given:
        net.inside.mean = torch.full((4, 1, 1), 0.25)
    results = [
        answers(method, train, lambda p=p: built(method, inside=lambda: Mean(p)), model=net)
        for p, net in zip((True, False), given, strict=True)
    ]
    assert all(torch.equal(net.inside.mean, torch.full((4, 1, 1), 0.25)) for net in given)
    assert all(map(torch.equal, *map(parameters, results)))
    assert torch.equal(*(result.model.inside.mean for result in results))


def test_an_adapter_that_merges_is_trained_as_one_that_does_not(method):
    train = examples(method)
    results = []
    for merging in (False, True):
        net = built(method, dense=lambda m=merging: Adapter(m))
        before = copy.deepcopy(net.state_dict())
        try:
            make = lambda m=merging: built(method, dense=lambda: Adapter(m))  # noqa: E731
            results.append(answers(method, train, make, model=net))
        except ValueError as error:
            assert any(sentence in str(error) for sentence in UNTRAINED_ADAPTER)
            return
        assert all(torch.equal(before[name], v) for name, v in net.state_dict().items())
        assert not net.dense.merged
    outputs = [evaluate(result.model, train).outputs for result in results]
    if method.__name__ == "repair":  # it trains in evaluation mode, where merged parts stand still
        return
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_augmented_data_are_drawn_by_the_seed_or_refused(method, draw):
    train = Augmented(examples(method), draw)
    if method.__name__ in ITEMS:
        with pytest.raises(ValueError, match="gives other inputs when an item is read again"):
            answers(method, train, lambda: built(method))
        return
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    one = answers(method, train, lambda: built(method))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all() and before[2] == random.getstate()
    draw()
    assert bits(one) == bits(answers(method, train, lambda: built(method)))


def test_gradients_that_are_switched_off_are_switched_on(method):
    train = examples(method)
    plain = answers(method, train, lambda: built(method))
    with torch.no_grad():
        assert bits(answers(method, train, lambda: built(method))) == bits(plain)
        assert not torch.is_grad_enabled()
    with torch.inference_mode(), pytest.raises(ValueError, match=r"inside torch.inference_mode"):
        answers(method, train, lambda: built(method))


def test_weights_that_are_no_numbers_are_refused_at_the_door(method):
    if "model" not in inspect.signature(method).parameters:
        pytest.skip("it does not see the model")
    net = built(method)
    net.head.weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="a weight of the model is NaN or infinite"):
        answers(method, examples(method), lambda: built(method), model=net)


@pytest.mark.filterwarnings("ignore:fresh.. makes the same first weights")
@pytest.mark.parametrize("other", [np.int64(3), torch.tensor(3)], ids=["numpy", "tensor"])
def test_a_seed_of_another_library_is_the_number(method, other):
    train = examples(method)
    found = answers(method, train, lambda: built(method), seed=other)
    assert bits(found) == bits(answers(method, train, lambda: built(method), seed=3))
    assert found.seed == 3


# ---- looking


def test_a_representation_is_found_through_every_wrapper():
    net = built(METHODS["laf"]).eval()
    x = torch.rand(5, 1, 6, 6)
    bare = extractor(net)(x)
    for wrap in WRAPPERS.values():
        assert torch.equal(extractor(wrap(net))(x), bare)
        assert [name.rpartition(".")[2] for name in chain(wrap(net))] == chain(net)
        assert unwrapped(wrap(net))[1] is net


def test_the_representation_is_what_the_layer_is_given_that_runs_last():
    net, x = HeadFirst(), torch.randn(5, 6)
    expected = net.two(net.one(x).relu()).relu()
    extract = extractor(net)
    assert torch.equal(extract(x), expected)
    calls = []
    net.head.register_forward_hook(lambda *_: calls.append(1))
    assert torch.equal(extract(x), expected) and not calls  # by now it knows where to stop
    assert torch.equal(representation(net, x), expected)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_layers_that_cannot_be_watched_are_refused():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)))
    with pytest.raises(ValueError, match="scripted network cannot be watched"):
        extractor(scripted)(torch.zeros(1, 2))
    several = nn.DataParallel(nn.Linear(2, 2))
    several.device_ids = [0, 1]
    with pytest.raises(ValueError, match="give the network alone, model.module"):
        extractor(several)


def test_looking_puts_weights_and_buffers_back_bit_for_bit():
    net = built(METHODS["laf"], dense=lambda: Adapter(True), inside=lambda: Mean(False)).train()
    before = [tensor.clone() for tensor in (*net.parameters(), *net.buffers())]
    mean = net.inside.mean
    for _ in range(3):
        with mode(net, train=False):
            assert net.dense.merged and not torch.equal(net.dense.base, before[0])
            net.inside.mean = torch.ones(4, 1, 1)
    assert not net.dense.merged and net.inside.mean is mean
    assert all(map(torch.equal, before, (*net.parameters(), *net.buffers())))


def test_modes_that_differ_inside_a_network_are_put_back():
    net = built(METHODS["laf"]).train()
    net.norm.eval()
    flags = [module.training for module in net.modules()]
    for train in (True, False):
        with mode(net, train=train):
            assert all(module.training == train for module in net.modules())
        assert [module.training for module in net.modules()] == flags


def test_watching_does_not_disturb_an_adapter():
    method = METHODS["finetune"]
    train = examples(method)
    plain, watched = (built(method, dense=lambda: Adapter(True)) for _ in range(2))
    recipe = Training(epochs=3, batch_size=8, lr=0.05)
    fit(plain, train, recipe)
    fit(watched, train, recipe, watch=lambda _, net: {"loss": evaluate(net, train).loss.mean()})
    assert all(map(torch.equal, plain.parameters(), watched.parameters()))


def test_probabilities_in_place_of_logits_are_said():
    data = examples(METHODS["finetune"])
    net = nn.Sequential(built(METHODS["finetune"]), nn.Softmax(1))
    with pytest.warns(UserWarning, match="as after a softmax"):
        evaluate(net, data)


# ---- reports


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("kind", ["examples", *DRAWS, "adapter", "compiled"])
def test_a_model_and_its_copy_differ_by_nothing_in_any_metric(task, kind):
    method = METHODS["blindspot" if task == "regression" else "finetune"]
    train, test = examples(method), unseen(examples(method)[20:])
    if kind in DRAWS:
        train, test = Augmented(train, DRAWS[kind]), Augmented(test, DRAWS[kind])
    parts = {"dense": lambda: Adapter(True)} if kind == "adapter" else {}
    wrap = WRAPPERS["compiled"] if kind == "compiled" else lambda net: net
    first, *retrained = (built(method, wrap, seed, **parts) for seed in range(4))
    twin = built(method, wrap, 0, **parts)
    found = report(
        by_index(train, range(12)),
        test,
        original=[first],
        retrained=retrained,
        methods={"twin": [twin]},
        metrics=[name for name, metric in METRICS.items() if task in metric.tasks],
    )
    assert ("drawn at random, for all models alike: forget, retain, test" in str(found)) == (
        kind in DRAWS
    )
    rows = {(row.metric, row.split, row.method): row.values for row in found.rows}
    for (metric, split, name), values in rows.items():
        if name == "original":
            assert values == rows[metric, split, "twin"], (metric, split)
