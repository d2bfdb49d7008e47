"""The papers' data sets and networks, a row each: which experiment it is, and what it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from minilearn.data.places import MissingData

T = TypeVar("T")
# Tasks in words, and what the requests of their rows begin with.
LAF_TASKS = {"random items": "random: ", "a class": "class: ", "wrong labels": "noisy: "}
L2UL_TASKS = {
    "misclassify": "misclassify",
    "relabel": "relabel",
    "a stream of requests": "a stream",
}
AGES = {"ages to 30": "targets in [0, 31)", "ages from 60": "targets in [60, "}
# By what terms a set comes, as its authors state them.
TERMS = {
    "mnist": "no licence is stated",
    "fashion_mnist": "its licence is MIT",
    "cifar10": "no licence is stated; cite Krizhevsky 2009",
    "cifar100": "no licence is stated; cite Krizhevsky 2009",
    "svhn": "its terms allow non-commercial use",
    "agedb": "its terms allow non-commercial research",
    "imdb_wiki": "its terms allow academic research",
    "utkface": "its terms allow non-commercial research",
    "imagenet": "its terms allow non-commercial research and teaching",
    "stsb": "its scores are CC BY-SA 4.0, the texts have terms of their own",
    "electricity": "its licence is CC BY 4.0",
}


@dataclass(frozen=True)
class Row:
    """A data set and a network of one of the papers.

    Args:
        experiment: `python -m book.experiments EXPERIMENT --size paper` measures it
        work: "LAF", "DRU" (Deep Regression Unlearning) or "L2UL"
        dataset: as `data.load` knows it
        network: in words
        tasks: what is forgotten, in words, and what the request of a row begins with
        reads: the files under the data folder, in words
        fetched: whether a program may fetch them, by `data.load(..., download=True)`
        beside: another experiment on this set, which asks something else
    """

    experiment: str
    work: str
    dataset: str
    network: str
    tasks: dict[str, str]
    reads: str
    fetched: bool = False
    beside: str = ""


def _laf(experiment: str, dataset: str, network: str, reads: str) -> Row:
    return Row(experiment, "LAF", dataset, network, LAF_TASKS, reads, fetched=True)


def _ages(dataset: str, reads: str) -> tuple[Row, ...]:
    nets = {"allcnn": "AllCNN", "resnet18": "ResNet-18", "mobilenet_v3": "MobileNetV3-Large"}
    return tuple(
        Row(f"{dataset}_{key}", "DRU", dataset, words, AGES, reads) for key, words in nets.items()
    )


def _l2ul(name: str, dataset: str, network: str, reads: str, **more) -> Row:
    return Row(name, "L2UL", dataset, network, L2UL_TASKS, reads, **more)


SMALL, LARGE = "ResNet-18 with 256 features, ", "224 pixels"
ROWS = (
    _laf("laf_mnist", "mnist", "CNN", "MNIST/raw"),
    _laf("laf_fashion", "fashion_mnist", "CNN", "FashionMNIST/raw"),
    _laf("laf_cifar10", "cifar10", SMALL + "32 pixels", "cifar-10-batches-py"),
    _laf("laf_cifar10_224", "cifar10", SMALL + LARGE, "cifar-10-batches-py"),
    _laf("laf_svhn", "svhn", SMALL + "32 pixels", "train_32x32.mat, test_32x32.mat"),
    _laf("laf_svhn_224", "svhn", SMALL + LARGE, "train_32x32.mat, test_32x32.mat"),
    *_ages("agedb", "AgeDB/agedb.csv and its pictures"),
    *_ages("imdb_wiki", "IMDB-WIKI/imdb_wiki.csv and its pictures"),
    Row(
        "stsb",
        "DRU",
        "stsb",
        "siamese LSTM",
        {"scores below 2": "targets in [0, 2)"},
        "stsb/sts-train.csv, sts-dev.csv, sts-test.csv",
    ),
    Row(
        "electricity",
        "DRU",
        "electricity",
        "Temporal Fusion Transformer",
        {"days of high load": "the days of high load"},
        "electricity/LD2011_2014.txt",
    ),
    _l2ul(
        "l2ul_cifar10_resnet18",
        "cifar10",
        "ResNet-18",
        "cifar-10-batches-py",
        fetched=True,
        beside="l2ul_width",
    ),
    _l2ul("l2ul_cifar100_resnet50", "cifar100", "ResNet-50", "cifar-100-python", fetched=True),
    _l2ul("l2ul_cifar100_vit", "cifar100", "ViT-B/16", "pretrained/vit_b_16_cifar100.pth"),
    _l2ul("l2ul_imagenet_resnet50", "imagenet", "ResNet-50", "imagenet/train, imagenet/val"),
    _l2ul("l2ul_utkface_resnet18", "utkface", "ResNet-18", "UTKFace"),
)


def row_of(experiment: str) -> Row | None:
    """The row that an experiment measures; None if it is of the book alone."""
    return next((row for row in ROWS if row.experiment == experiment), None)


def wanted(dataset: str, read: Callable[[], T]) -> T:
    """What `read()` returns; the sentence about missing files also says by what terms they come.

    Raises: MissingData, as `read` does; whatever else it raises
    """
    try:
        return read()
    except MissingData as error:
        raise MissingData(f"{error}; {TERMS[dataset]}") from None


def brief(config):
    """The same recipe with one pass over small batches and short attacks, for size "toy".

    Example:
        >>> from minilearn.methods import LAF
        >>> brief(LAF.paper("svhn", "class")).vae.epochs
        1
    """
    small = {"epochs": 1, "batch_size": 2 if hasattr(config, "vae") else 8, "adversarial_batch": 4}
    short = {name: value for name, value in small.items() if hasattr(config, name)}
    for field in fields(config):
        inner = getattr(config, field.name)
        if field.name in ("teacher", "vae"):
            short[field.name] = brief(inner)
        if field.name == "attack" and inner is not None:
            short[field.name] = replace(inner, steps=2, repeats=2)
    return replace(config, **short)
