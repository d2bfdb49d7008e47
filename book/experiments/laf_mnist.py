"""LAF's three tasks on MNIST with the published network, recipe and sizes.

`python -m book.experiments laf_mnist --size paper` runs it; the smaller sizes take a part of
the training images, drawn by a fixed seed, and all test images.
"""

from __future__ import annotations

from collections.abc import Iterator

from book.experiments import Run
from book.experiments.label_free import TASKS, Case
from book.experiments.label_free import units as compare
from book.experiments.papers import brief, wanted
from minilearn import data
from minilearn.methods import LAF, Repair
from minilearn.models import cnn
from minilearn.sweep import Unit
from minilearn.training import Training

SEEDS = 5
IMAGES = {"toy": 2_000, "small": 10_000, "paper": 60_000}


def case(name: str, size: str, made: bool = False) -> Case:
    """The comparison on "mnist" or "fashion_mnist"; on made files it is brief."""
    shorten = brief if made else lambda recipe: recipe

    def sets():
        train, test = wanted(name, lambda: data.load(name))
        return train.sample(IMAGES[size]), test

    return Case(
        dataset=name,
        data=sets,
        fresh=cnn,
        recipe=shorten(Training.paper(name, "laf")),
        laf={task: shorten(LAF.paper(name, task)) for task in TASKS},
        others={},
        repair=Repair.paper(name),
        settings=f"{name}, {IMAGES[size]:,} images; cnn",
    )


def units(run: Run) -> Iterator[Unit]:
    """All three tasks on MNIST."""
    return compare(run, case("mnist", run.size, run.made))
