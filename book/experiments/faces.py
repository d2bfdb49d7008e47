"""Deep Regression Unlearning on faces: AgeDB and IMDB-WIKI, each with the paper's three networks.

The errors are in years, of the faces to 30 (as in the authors' notebook) and from 60 on. The
original and the retrained models keep their best validation epoch, all others their last. The
paper's attack (`svc_published`, and `svc` corrected) and its index stand beside the errors, and
beside AllCNN on AgeDB the notebook's one run. Size "toy" draws smaller faces and trains briefly.

Differs: from the authors' code: pictures are neither cropped nor flipped. For ResNet-18 and
MobileNetV3 the number of pixels is not known: 64 is taken, where their last map has four places
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import nn

from book.experiments import Run
from book.experiments.comparison import Case, compare
from book.experiments.papers import brief, wanted
from minilearn.data import agedb, imdb_wiki
from minilearn.data.examples import Examples
from minilearn.methods import NegGrad
from minilearn.methods.amnesiac import Amnesiac
from minilearn.methods.blindspot import Blindspot
from minilearn.models import Network, allcnn, mobilenet_v3
from minilearn.requests import by_range
from minilearn.sweep import Unit
from minilearn.training import Training

SEEDS = 5
SETS = {"agedb": agedb, "imdb_wiki": imdb_wiki}
BANDS = {"agedb": ((0, 31), (60, 102)), "imdb_wiki": ((0, 31), (60, 121))}
RELEARNING = Training(10, 256, 1e-2, loss="absolute")  # as in the authors' code
SELECTED = ("original", "retrained")
SOURCE = "authors' notebook, one run (deep-regression-unlearning @ 97b097e), pictures augmented"
PUBLISHED = {  # mean absolute error on the retained and the forgotten part of its test set
    "original": (9.333, 12.767),
    "retrained": (11.382, 24.307),
    "finetune": (9.791, 14.830),
    "amnesiac": (9.813, 17.067),
    "blindspot": (9.977, 21.632),
}


def resnet() -> Network:
    """Torchvision's ResNet-18, not pretrained, whose nine maps have names; it predicts an age."""
    from torchvision.models import resnet18

    net = resnet18(weights=None)
    blocks = [*net.layer1, *net.layer2, *net.layer3, *net.layer4]
    layers = OrderedDict(stem=nn.Sequential(net.conv1, net.bn1, net.relu), pool=net.maxpool)
    layers |= {f"block{i}": block for i, block in enumerate(blocks, start=1)}
    layers |= {"average": net.avgpool, "flatten": nn.Flatten()}
    return Network(nn.Sequential(layers), nn.Linear(512, 1), squeeze=True)


# A function that makes the network, and the layers whose attention is copied.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "allcnn": (allcnn, tuple(f"features.{i}" for i in range(8))),
    "resnet18": (resnet, ("features.stem", *(f"features.block{i}" for i in range(1, 9)))),
    "mobilenet_v3": (mobilenet_v3, tuple(f"features.{i}" for i in range(17))),
}
PIXELS = {"allcnn": (32, 8), "resnet18": (64, 40), "mobilenet_v3": (64, 40)}  # and of a toy
ROWS = {f"{name}_{network}": (name, network) for name in SETS for network in NETWORKS}


def units(run: Run, name: str) -> Iterator[Unit]:
    """Everything to be measured, band by band."""
    dataset, network = ROWS[name]
    pixels = PIXELS[network][run.size == "toy"]
    train, validation, test = (part.to(run.device) for part in _faces(dataset, pixels))
    for band in BANDS[dataset][: 1 if run.made else None]:
        sets = [by_range(part, *band) for part in (train, validation, test)]
        yield from compare(run, case(run, dataset, network, band, sets))


def case(run: Run, dataset: str, network: str, band: tuple, sets: list) -> Case:
    """The comparison of one band, whose training, validation and test requests are `sets`."""
    make, layers = NETWORKS[network]
    shorten = brief if run.size == "toy" else lambda recipe: recipe
    request, validation, unseen = sets
    known = (dataset, network, band) == ("agedb", "allcnn", BANDS["agedb"][0])
    return Case(
        dataset=dataset,
        request=request,
        unseen=unseen,
        fresh=lambda: make().to(run.device),
        recipe=shorten(Training.paper(dataset, "blindspot")),
        configs={name: shorten(one) for name, one in recipes(dataset, layers).items()},
        units=("years", "years"),
        settings=f"{dataset}, {PIXELS[network][run.size == 'toy']} pixels; {network}; "
        f"best validation epoch of {' and '.join(SELECTED)}",
        validation=validation,
        selected=SELECTED,
        without_retain=("neggrad",),
        relearning=shorten(RELEARNING),
        published=published() if known and run.size == "paper" else {},
        source=SOURCE,
    )


def recipes(dataset: str, layers: tuple[str, ...]) -> dict:
    """The paper's settings of every method; `layers` are those whose attention is copied."""
    return {
        "finetune": Training.paper(dataset, "finetune"),
        "neggrad": NegGrad.paper(dataset),
        "amnesiac": Amnesiac.paper(dataset),
        "blindspot": replace(Blindspot.paper(dataset), layers=layers),
    }


def published() -> dict[tuple[str, str], float]:
    """The notebook's errors by method and split."""
    return {
        (method, split): figure
        for method, figures in PUBLISHED.items()
        for split, figure in zip(("test_retain", "test_forget"), figures, strict=True)
    }


def _faces(dataset: str, pixels: int) -> tuple[Examples, Examples, Examples]:
    """Training, validation and test part."""

    def read(held_out: str):
        return wanted(dataset, lambda: SETS[dataset](size=pixels, held_out=held_out))

    train, test = read("test")
    return train, read("val").test, test
