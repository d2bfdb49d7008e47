"""Networks against published counts and a published model; hooks and flags leave nothing behind."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minilearn import models
from minilearn.data import Examples
from minilearn.models import activations, device_of, layer_names, mode, representation


def count(model) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    "model, parameters",
    [
        (lambda: models.cnn(), 449_098),
        (lambda: models.allcnn(), 1_618_273),
        (lambda: models.resnet20(), 269_722),  # the paper's 0.27 M
        (lambda: models.resnet18(), 11_173_962),
    ],
)
def test_published_parameter_counts(model, parameters):
    assert count(model()) == parameters


def test_resnet18_with_a_representation_differs_from_the_large_form_by_its_first_convolution():
    small = count(models.resnet18(representation=256))
    assert small == 11_173_962 - (512 * 10 + 10) + (512 * 256 + 256) + (256 * 10 + 10)
    assert small + 64 * 3 * (7 * 7 - 3 * 3) == 11_310_410  # the 224-pixel form's first layer


@pytest.mark.parametrize(
    "model, shape, output",
    [
        (lambda: models.cnn(3, 8, 2), (2, 2, 8, 8), (2, 3)),
        (lambda: models.allcnn(width=0.05, channels=1), (2, 1, 12, 12), (2,)),
        (lambda: models.allcnn(4, 0.05), (2, 3, 9, 9), (2, 4)),
        (lambda: models.allcnn(1, 0.05, squeeze=False), (2, 3, 9, 9), (2, 1)),
        (lambda: models.resnet20(7, 1), (2, 1, 9, 9), (2, 7)),
        (lambda: models.resnet18(5, 1, representation=6), (2, 1, 8, 8), (2, 5)),
    ],
)
def test_shapes_and_the_two_parts(model, shape, output):
    net, x = model().eval(), torch.randn(shape)
    assert net(x).shape == output
    torch.testing.assert_close(net.head(net.features(x)).reshape(output), net(x))
    assert net.features(x).ndim == 2


def test_shortcut_of_option_a_against_brute_force():
    block = models._Residual(4, 8, 2, projection=False).eval()
    x = torch.randn(2, 4, 7, 7)
    expected = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    for b in range(2):
        for channel in range(8):
            for i in range(4):
                for j in range(4):
                    if 2 <= channel < 6:  # two channels of zeros before and two after
                        expected[b, channel, i, j] += x[b, channel - 2, 2 * i, 2 * j]
    torch.testing.assert_close(block(x), F.relu(expected))
    same = models._Residual(4, 4, 1, projection=False).eval()
    plain = same.bn2(same.conv2(F.relu(same.bn1(same.conv1(x)))))
    torch.testing.assert_close(same(x), F.relu(plain + x))


@pytest.mark.realdata
def test_resnet20_is_the_published_one(realdata_root):
    weights = realdata_root / "pretrained" / "resnet20-12fca82f.th"
    batch = realdata_root / "cifar-10-batches-py" / "test_batch"
    if not weights.exists() or not batch.exists():
        pytest.skip(f"no pretrained ResNet-20 or no CIFAR-10 in {realdata_root}")
    theirs = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    net = models.resnet20()
    # their file is older than batch normalisation's step counter
    ours = {k: v for k, v in net.state_dict().items() if "num_batches_tracked" not in k}
    assert [v.shape for v in ours.values()] == [v.shape for v in theirs.values()]
    net.load_state_dict(dict(zip(ours, theirs.values(), strict=True)), strict=False)
    with open(batch, "rb") as file:
        raw = pickle.load(file, encoding="bytes")
    images = torch.from_numpy(raw[b"data"][:1000]).view(-1, 3, 32, 32) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with mode(net, train=False), torch.no_grad():
        right = net(images).argmax(1) == torch.tensor(raw[b"labels"][:1000])
    # published: 91.73 % of 10,000; 1,000 of them have a standard error of 0.9 %
    assert right.float().mean().item() == pytest.approx(0.9173, abs=0.018)


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
        (["head"], "left", "'output' or 'input'"),
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
        (nn.ReLU, (2, 3), None, "no linear layer"),
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


@pytest.mark.parametrize(
    "call",
    [
        lambda: models.cnn(size=3),
        lambda: models.cnn(size=8.0),
        lambda: models.cnn(classes=0),
        lambda: models.cnn(channels=0),
        lambda: models.allcnn(0),
        lambda: models.allcnn(width=0.001),
        lambda: models.allcnn(width=float("nan")),
        lambda: models.resnet18(classes=0),
        lambda: models.resnet18(representation=0),
        lambda: models.resnet20(channels=-1),
    ],
)
def test_networks_refuse_silly_sizes(call):
    with pytest.raises(ValueError) as caught:
        call()
    assert "\n" not in str(caught.value)
