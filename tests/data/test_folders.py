"""ImageNet's form on small files that are written here, good and broken."""

import pytest
import torch
from PIL import Image
from torch import nn

from minilearn.data import MissingData, imagenet, load
from minilearn.evaluation import evaluate
from minilearn.methods import L2UL, PGD, importance, l2ul
from minilearn.requests import by_index

COLOURS = {"n01": (255, 0, 0), "n02": (0, 0, 255)}


@pytest.fixture
def root(tmp_path):
    """Two classes, four pictures each in train and two in val, of several sizes."""
    for part, count in (("train", 4), ("val", 2)):
        for name, colour in COLOURS.items():
            folder = tmp_path / "imagenet" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (20 + i, 30 - i), colour).save(folder / f"{i}.png")
    return tmp_path


def test_it_reads_both_parts(root):
    train, val = imagenet(root=root, size=16)
    assert (len(train), len(val)) == (8, 4) and train.targets == [0] * 4 + [1] * 4
    image, target = train[5]
    assert image.shape == (3, 16, 16) and target == 1
    assert torch.equal(image[:, 3, 4], torch.tensor([0.0, 0.0, 1.0]))
    assert len(load("imagenet", root=root)[0]) == 8


def test_a_request_and_l2ul_take_it_as_it_is(root):
    """The network normalises; the model is one of torchvision's, with no layer of ours in it."""
    from torchvision.models import VisionTransformer
    from torchvision.transforms import Normalize

    train, _ = imagenet(root=root, size=16)
    request = by_index(train, [0, 5])
    vit = VisionTransformer(16, 8, 1, 2, 8, 8, num_classes=2)
    nn.init.normal_(vit.heads.head.weight)  # made of zeros: no image could be moved
    net = nn.Sequential(Normalize((0.5,) * 3, (0.2,) * 3), vit).eval()
    said = evaluate(net, request.forget).outputs.argmax(1)
    pairs = [(train[i][0], int(y)) for i, y in zip((0, 5), said, strict=True)]
    config = L2UL(
        PGD(4.0, step=1.0, steps=8, repeats=2),
        epochs=200,
        lr=0.02,
        anchor=0.01,
        forget_loss_on="remaining",
    )
    result = l2ul(net, pairs, config=config)
    assert result.finished
    assert (evaluate(result.model, request.forget).outputs.argmax(1) != said).all()
    assert set(importance(net, torch.stack([x for x, _ in pairs]))) == {
        name for name, _ in net.named_parameters()
    }


def test_what_is_missing_is_one_sentence(root, tmp_path):
    belongs = "one folder of images for each class belongs in the folder .*imagenet/train, which"
    with pytest.raises(MissingData, match=f"imagenet is not there: {belongs} does not exist; put"):
        imagenet(root=tmp_path / "nowhere")
    with pytest.raises(MissingData, match="other is not there: .*other/train"):
        imagenet(root=root, folder="other")
    with pytest.raises(ValueError, match="size must be"):
        imagenet(root=root, size=0)


def test_classes_that_do_not_agree_and_empty_ones_are_one_sentence(root):
    extra = root / "imagenet" / "val" / "n03"
    extra.mkdir()
    with pytest.raises(ValueError, match="no set of images.*n03"):
        imagenet(root=root)
    Image.new("RGB", (9, 9)).save(extra / "0.png")
    with pytest.raises(ValueError, match="n03 is in one alone"):
        imagenet(root=root)
