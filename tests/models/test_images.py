"""Networks for images against published counts, brute force and a published model."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from shared import count
from torch import nn

from minilearn import models
from minilearn.models import activations, mode, resnets


@pytest.mark.parametrize(
    "model, parameters",
    [
        (lambda: models.cnn(), 449_098),
        (lambda: models.allcnn(), 1_618_273),
        (lambda: models.resnet20(), 269_722),  # the paper's 0.27 M
        (lambda: models.resnet56(), 853_018),  # the paper's 0.85 M
        (lambda: models.resnet18(), 11_173_962),
        (lambda: models.resnet18(pool=True), 11_173_962),
        (lambda: models.resnet18(width=0.25), 701_466),
        (lambda: models.resnet50(), 23_705_252),
        (lambda: models.mobilenet_v3(), 2_972_913),
    ],
)
def test_published_parameter_counts(model, parameters):
    assert count(model()) == parameters


def test_pixels_are_normalised_as_by_torchvision():
    from torchvision.transforms import Normalize

    mean, std, x = (0.4, 0.5, 0.6), [0.1, 0.2, 0.3], torch.rand(2, 3, 4, 5)
    layer = models.Normalize(mean, std)
    torch.testing.assert_close(layer(x), Normalize(mean, std)(x))
    assert layer.double()(x.double()).dtype == torch.float64
    assert not layer.state_dict()  # weights of before it was put in front still fit


@pytest.mark.parametrize(
    "mean, std",
    [
        ((0.5,), (0.1, 0.2)),
        ((0.5,), (0.0,)),
        (0.5, 0.2),
        ((0.5,), (float("nan"),)),
        ((float("nan"),), (0.5,)),
        ((0.5,), (float("inf"),)),
        ((), ()),
        (None, None),
        ("ab", "cd"),
    ],
)
def test_bad_normalisations_are_one_sentence(mean, std):
    with pytest.raises(ValueError, match="a mean and a deviation above 0 for every channel, got"):
        models.Normalize(mean, std)


def test_other_channels_are_not_spread():
    with pytest.raises(ValueError, match=r"3 channels are normalised, not \(2, 1, 4, 4\)"):
        models.Normalize((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))(torch.rand(2, 1, 4, 4))


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
        (lambda: models.resnet20(7, 1), (2, 1, 9, 9), (2, 7)),
        (lambda: models.resnet56(7, 1), (2, 1, 9, 9), (2, 7)),
        (lambda: models.resnet50(7, 1), (2, 1, 9, 9), (2, 7)),
        (lambda: models.resnet18(5, 1, representation=6), (2, 1, 8, 8), (2, 5)),
        (lambda: models.resnet18(5, pool=True), (2, 3, 8, 8), (2, 5)),
        (lambda: models.resnet18(1), (2, 3, 8, 8), (2,)),
        (lambda: models.mobilenet_v3(), (2, 3, 32, 32), (2,)),
        (lambda: models.mobilenet_v3(channels=1), (2, 1, 9, 9), (2,)),
        (lambda: models.mobilenet_v3(4), (2, 3, 32, 32), (2, 4)),
    ],
)
def test_shapes_and_the_two_parts(model, shape, output):
    net, x = model().eval(), torch.randn(shape)
    assert net(x).shape == output
    torch.testing.assert_close(net.head(net.features(x)).reshape(output), net(x))
    assert net.features(x).ndim == 2


def test_shortcut_of_option_a_against_brute_force():
    block = resnets._padded(4, 8, 2).eval()
    x = torch.randn(2, 4, 7, 7)
    expected = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    for b in range(2):
        for channel in range(8):
            for i in range(4):
                for j in range(4):
                    if 2 <= channel < 6:  # two channels of zeros before and two after
                        expected[b, channel, i, j] += x[b, channel - 2, 2 * i, 2 * j]
    torch.testing.assert_close(block(x), F.relu(expected))
    same = resnets._padded(4, 4, 1).eval()
    plain = same.bn2(same.conv2(F.relu(same.bn1(same.conv1(x)))))
    torch.testing.assert_close(same(x), F.relu(plain + x))


def test_mobilenet_is_torchvisions_with_its_seventeen_blocks_by_name():
    from torchvision.models import mobilenet_v3_large

    theirs, net = mobilenet_v3_large().eval(), models.mobilenet_v3(3).eval()
    assert count(theirs) == 5_483_032  # as torchvision's pages say
    theirs.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(960, 3)).eval()  # Tarun et al.'s
    values = theirs.state_dict().values()
    net.load_state_dict(dict(zip(net.state_dict(), values, strict=True)))
    x = torch.randn(2, 3, 40, 40)
    blocks = [f"features.{i}" for i in range(17)]
    with activations(net, blocks) as taps, activations(theirs, blocks) as expected:
        torch.testing.assert_close(net(x), theirs(x))
    for block in blocks:
        torch.testing.assert_close(taps[block], expected[block])


def test_mobilenet_drops_half_of_its_features_in_training():
    net = models.mobilenet_v3(2)
    with activations(net, ["head.0"]) as taps, mode(net, train=True):
        net(torch.randn(8, 3, 32, 32))
    assert abs(float((taps["head.0"] == 0).double().mean()) - 0.5) < 0.05


def test_resnet50_is_the_released_one():
    """torchvision's with a 3 x 3 first layer and without a first pooling, which is that of Cha et
    al.: the stride stands in the 3 x 3 convolution, the shortcut has batch normalisation."""
    from torchvision.models import resnet50

    theirs, net = resnet50(num_classes=7), models.resnet50(7)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    with torch.no_grad():
        for module in theirs.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(), module.running_var.uniform_(0.5, 2)
    values = theirs.double().eval().state_dict().values()
    net.double().eval().load_state_dict(dict(zip(net.state_dict(), values, strict=True)))
    x = torch.randn(2, 3, 17, 17, dtype=torch.float64)
    torch.testing.assert_close(net(x), theirs(x))


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
        lambda: models.resnet18(width=0.0),
        lambda: models.resnet18(width="half"),
        lambda: models.resnet20(channels=-1),
        lambda: models.mobilenet_v3(0),
        lambda: models.mobilenet_v3(1.0),
        lambda: models.mobilenet_v3(channels=0),
        lambda: models.mobilenet_v3(channels="3"),
    ],
)
def test_networks_refuse_silly_sizes(call):
    with pytest.raises(ValueError) as caught:
        call()
    assert "\n" not in str(caught.value)
