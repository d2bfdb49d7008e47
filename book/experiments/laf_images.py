"""LAF's three tasks on colour images, CIFAR-10 and SVHN, with two forms of the paper's ResNet-18.

`laf_cifar10` and `laf_svhn` read 32 pixels in the field's form for small images; `laf_cifar10_224`
and `laf_svhn_224` enlarge them to 224 for the ImageNet form, as the authors do. Either form has the
layer of 256 numbers. Class 0 of CIFAR-10 stands beside the one run that the authors' notebook
prints. Size "paper" wants a GPU; "toy" has small images and networks.

Differs: from the authors' code: no augmentation, so that features can be kept
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from torch import nn

from book.experiments import Run
from book.experiments.label_free import TASKS, Case
from book.experiments.label_free import units as compare
from book.experiments.papers import brief, wanted
from minilearn import data
from minilearn.methods import LAF, Repair
from minilearn.models import Network, Normalize, resnet18, resnet20
from minilearn.sweep import Unit
from minilearn.training import Training

SEEDS = 3
ROWS = {  # data set, and pixels that the network reads
    "laf_cifar10": ("cifar10", 32),
    "laf_cifar10_224": ("cifar10", 224),
    "laf_svhn": ("svhn", 32),
    "laf_svhn_224": ("svhn", 224),
}
TOY = {32: 8, 224: 28}  # pixels of a toy
ALL = {"cifar10": 50_000, "svhn": 73_257}
IMAGES = {"toy": 500, "small": 5_000}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as theirs
SPLITS = ("retain", "forget", "test", "test_retain", "test_forget", "asr")
NOTEBOOK = {  # per cent, in the order of SPLITS; seed 0
    "original": (79.03, 78.52, 83.05, 83.01, 83.40),
    "retrained": (79.54, 0.00, 76.61, 85.12, 0.00),
    "laf": (75.80, 7.18, 72.63, 80.48, 2.00, 47.61),
}


def units(run: Run, name: str) -> Iterator[Unit]:
    """All three tasks of a row."""
    return compare(run, case(run, name))


def case(run: Run, name: str) -> Case:
    """The comparison of a row; the published figures are fractions here."""
    dataset, pixels = ROWS[name]
    count = IMAGES.get(run.size, ALL[dataset])
    shorten = brief if run.size == "toy" else lambda recipe: recipe

    def sets():
        train, test = wanted(dataset, lambda: data.load(dataset))
        return train.sample(count), test

    def fresh() -> nn.Module:
        return network(pixels, toy=run.size == "toy")

    return Case(
        dataset=dataset,
        data=sets,
        fresh=fresh,
        recipe=shorten(Training.paper(dataset, "laf")),
        laf={task: shorten(LAF.paper(dataset, task)) for task in TASKS},
        others={},
        repair=Repair.paper(dataset),
        settings=f"{dataset}, {count:,} images; resnet18, representation 256"
        + f", {pixels} pixels" * (pixels > 32),
        published=published() if dataset == "cifar10" else {},
        source="the authors' notebook, one run, 224 pixels, training images augmented",
    )


def published() -> dict[tuple[str, str, str], float]:
    """The notebook's figures by task, method and split."""
    return {
        ("class", method, split): number / 100
        for method, numbers in NOTEBOOK.items()
        for split, number in zip(SPLITS, numbers, strict=False)
    }


def network(pixels: int, toy: bool = False) -> Network:
    """The ResNet-18 that reads images at so many pixels of a side; a toy's is smaller, as they are.

    In the form for 224 pixels it is torchvision's, not pretrained: 11,310,410 parameters.
    """
    from torchvision.models.resnet import BasicBlock, ResNet

    if pixels == 32 and not toy:
        return resnet18(10, representation=256)
    layers = OrderedDict(draw=nn.Upsample(size=TOY[pixels] if toy else pixels, mode="bilinear"))
    if pixels == 32:
        layers |= {"trunk": resnet20().features, "representation": nn.Linear(64, 256)}
    else:
        layers["normalize"] = Normalize(MEAN, DEVIATION)
        layers["trunk"] = ResNet(BasicBlock, [1] * 4 if toy else [2] * 4, num_classes=256)
    return Network(nn.Sequential(layers), nn.Linear(256, 10))
