"""Looking inside a network: what is recorded is what was there; hooks and flags leave nothing."""

import pytest
import torch
from torch import nn

from minilearn.data import Examples
from minilearn.models import (
    activations,
    chain,
    cnn,
    device_of,
    layer_names,
    mode,
    representation,
)


@pytest.mark.parametrize("side", ["output", "input"])
def test_activations_are_what_the_layer_saw(tiny_net, side):
    net, x = tiny_net().eval(), torch.randn(5, 6)
    with activations(net, ["body.1"], side) as taps:
        answer = net(x)
    given = net.body[0](x)
    expected = net.body[1](given) if side == "output" else given
    assert torch.equal(taps["body.1"], expected)
    assert torch.equal(answer, net(x))


@pytest.mark.parametrize("side", ["output", "input"])
def test_an_operation_in_place_does_not_change_what_was_recorded(side):
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))
    x = torch.randn(8, 4)
    with activations(net, ["0" if side == "output" else "1"], side) as taps:
        answer = net(x)
    (before,) = taps.values()
    assert torch.equal(before, net[0](x)) and bool((before < 0).any())
    assert torch.equal(answer, before.relu())
    (slope,) = torch.autograd.grad(answer.sum(), before)  # it lies on the way to the answer
    assert torch.equal(slope, (before > 0).float())


def test_two_models_do_not_mix(tiny_net):
    a, b, x = tiny_net(seed=1).eval(), tiny_net(seed=2).eval(), torch.randn(3, 6)
    with activations(a, ["head"]) as of_a, activations(b, ["head"]) as of_b:
        a(x), b(x)
    assert torch.equal(of_a["head"], a(x)) and torch.equal(of_b["head"], b(x))


def test_hooks_are_gone_after_the_block_and_after_an_exception(tiny_net, everything_of):
    net = tiny_net()
    before = everything_of(net)
    with activations(net, ["head", "body.0", "head"]):
        pass
    with pytest.raises(RuntimeError, match="ours"), activations(net, ["head"], "input"):
        raise RuntimeError("ours")
    with pytest.raises(ValueError, match="no layer named"), activations(net, ["head", "nowhere"]):
        pass
    assert everything_of(net) == before


@pytest.mark.parametrize(
    "layers, side, sentence",
    [
        (["haed"], "output", "no layer named 'haed'; it has body, body.0"),
        ([""], "output", "no layer named ''"),
        ("head", "output", "list of layers"),
        (["head"], "left", "side is one of .'output', 'input'."),
    ],
)
def test_activations_refuse(tiny_net, layers, side, sentence):
    with pytest.raises(ValueError, match=sentence), activations(tiny_net(), layers, side):
        pass


def test_representation_by_default_is_what_the_last_linear_layer_is_given(tiny_net, everything_of):
    net, x = tiny_net(), torch.randn(7, 6)
    before = everything_of(net)
    found = representation(net, x, batch_size=3)
    assert everything_of(net) == before and not found.requires_grad
    net.eval()
    torch.testing.assert_close(found, net.body(x))
    torch.testing.assert_close(representation(net, x, "head", batch_size=2), net.head(net.body(x)))
    pairs = [(row, 0) for row in x]
    for data in (Examples(x, torch.zeros(7)), pairs):
        torch.testing.assert_close(representation(net, data, batch_size=7), found)


class Odd(nn.Module):
    """A linear layer that does not run, and a recurrent one that gives a tuple."""

    def __init__(self):
        super().__init__()
        self.recurrent, self.unused = nn.LSTM(3, 4, batch_first=True), nn.Linear(2, 2)

    def forward(self, x):
        return self.recurrent(x)[0][:, -1]


@pytest.mark.parametrize(
    "model, data, layer, sentence",
    [
        (Odd, (2, 5, 3), None, "'unused' is no tensor"),
        (Odd, (2, 5, 3), "recurrent", "'recurrent' is no tensor"),
        (lambda: nn.Conv1d(1, 1, 1), (2, 1, 4), None, "no linear layer"),
        (lambda: nn.Linear(2, 2), (2, 2), None, "no linear layer inside"),
        (Odd, (2, 5, 3), "", "no layer named ''"),
        (nn.ReLU, (2, 3), None, "no parameters"),
    ],
)
def test_representation_refuses(model, data, layer, sentence):
    with pytest.raises(ValueError, match=sentence):
        representation(model(), torch.zeros(data), layer)


def test_mode_puts_every_flag_back(tiny_net):
    net = tiny_net()
    net.train()
    net.body[1].eval()  # a frozen batch normalisation in a network in training
    flags = [part.training for part in net.modules()]
    for train in (True, False):
        with pytest.raises(RuntimeError), mode(net, train):
            assert all(part.training == train for part in net.modules())
            raise RuntimeError
        assert [part.training for part in net.modules()] == flags


def test_layer_names_and_device(tiny_net):
    names = layer_names(tiny_net())
    assert names == ["body", "body.0", "body.1", "body.2", "body.3", "head"]
    assert device_of(tiny_net().to("meta")).type == "meta"
    for thing, sentence in ((nn.ReLU(), "no parameters"), (len, "torch.nn.Module, got builtin")):
        with pytest.raises(ValueError, match=sentence):
            device_of(thing)


def test_chain_is_what_the_input_passes_through_in_order(tiny_net):
    for net, x in ((cnn(size=8), torch.randn(2, 1, 8, 8)), (tiny_net(), torch.randn(2, 6))):
        net.eval()
        expected, found = x, chain(net)
        for name in found:
            expected = net.get_submodule(name)(expected)
        assert torch.equal(expected, net(x)) and len(found) > 3
    assert chain(nn.Linear(2, 2)) == []


def test_what_a_recurrent_layer_gives_is_kept_from_later_changes():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(2, 3, batch_first=True)

        def forward(self, x):
            return self.lstm(x)[0].mul_(0)

    net = Net()
    with activations(net, ["lstm"]) as taps:
        net(torch.ones(2, 4, 2))
    assert taps["lstm"][0].abs().max() > 0
