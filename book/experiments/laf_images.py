"""LAF's three tasks on colour images, CIFAR-10 and SVHN, with two forms of the paper's ResNet-18.

`laf_cifar10` and `laf_svhn` read 32 pixels in the field's form for small images; `laf_cifar10_224`
and `laf_svhn_224` enlarge them to 224 for the ImageNet form, as the authors do. Either form has the
layer of 256 numbers. Class 0 of CIFAR-10 stands beside the one run that the authors' notebook
prints, except at size "small". Size "paper" wants a GPU; "toy" has small images and networks.

Size "small" is what a core of a CPU trains in half an hour a seed: a fifth of CIFAR-10, images of
16 pixels, a ResNet-20 with the same layer of 256 numbers, and a recipe of ours for originals. LAF
makes a twentieth of the paper's steps there, so each is twenty times as long; the autoencoders make
as many as in the paper; of the repair's there is a fifth, five times as long. (Of SVHN it is a
seventh, with the same factors.)

Differs: from the authors' code: no augmentation, so that features can be kept
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace

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
DRAWN = {  # pixels that images are drawn at, by those that the network of size "paper" reads
    "toy": {32: 8, 224: 28},
    "small": {32: 16, 224: 28},
    "paper": {32: None, 224: None},
}
REDUCED = Training(epochs=20, batch_size=64, lr=1e-3, weight_decay=1e-4, schedule="cosine")
ALL = {"cifar10": 50_000, "svhn": 73_257}
IMAGES = {"toy": 500, "small": 10_000}
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
    drawn = DRAWN[run.size][pixels]
    original, repair = Training.paper(dataset, "laf"), Repair.paper(dataset)
    laf = {task: LAF.paper(dataset, task) for task in TASKS}
    if run.size == "toy":
        original = brief(original)
        laf = {task: brief(recipe) for task, recipe in laf.items()}
    elif run.size == "small":
        original, repair = REDUCED, replace(repair, lr=5 * repair.lr)
        laf = {task: reduced(recipe) for task, recipe in laf.items()}

    def sets():
        train, test = wanted(dataset, lambda: data.load(dataset))
        return train.sample(count), test

    def fresh() -> nn.Module:
        return network(pixels, drawn)

    return Case(
        dataset=dataset,
        data=sets,
        fresh=fresh,
        recipe=original,
        laf=laf,
        others={},
        repair=repair,
        settings=in_words(dataset, count, pixels, drawn),
        published=published() if dataset == "cifar10" and run.size != "small" else {},
        source="the authors' notebook, one run, 224 pixels, training images augmented",
    )


def reduced(recipe: LAF) -> LAF:
    """A recipe of the paper with fewer and longer steps, see above."""
    rates = {"lr_extraction": 20 * recipe.lr_extraction, "lr_alignment": 20 * recipe.lr_alignment}
    vae = replace(recipe.vae, epochs=5 * recipe.vae.epochs)
    return replace(recipe, epochs=recipe.epochs // 4, vae=vae, **rates)


def in_words(dataset: str, count: int, pixels: int, drawn: int | None) -> str:
    """The data and the network of a row."""
    if drawn:
        net = "resnet20" if pixels == 32 else "resnet10"
        net += f", representation 256, {drawn} pixels"
    else:
        net = "resnet18, representation 256" + f", {pixels} pixels" * (pixels > 32)
    return f"{dataset}, {count:,} images; {net}"


def published() -> dict[tuple[str, str, str], float]:
    """The notebook's figures by task, method and split."""
    return {
        ("class", method, split): number / 100
        for method, numbers in NOTEBOOK.items()
        for split, number in zip(SPLITS, numbers, strict=False)
    }


def network(pixels: int, drawn: int | None = None) -> Network:
    """The ResNet-18 that reads images at so many pixels of a side.

    In the form for 224 pixels it is torchvision's, not pretrained: 11,310,410 parameters.

    Args: drawn: images are drawn at so many pixels instead, for a smaller network; None: not
    """
    from torchvision.models.resnet import BasicBlock, ResNet

    if pixels == 32 and drawn is None:
        return resnet18(10, representation=256)
    layers = OrderedDict(draw=nn.Upsample(size=drawn or pixels, mode="bilinear"))
    if pixels == 32:
        layers |= {"trunk": resnet20().features, "representation": nn.Linear(64, 256)}
    else:
        layers["normalize"] = Normalize(MEAN, DEVIATION)
        layers["trunk"] = ResNet(BasicBlock, [1] * 4 if drawn else [2] * 4, num_classes=256)
    return Network(nn.Sequential(layers), nn.Linear(256, 10))
