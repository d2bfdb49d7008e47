"""Forget the digits that are turned by less than 30 degrees: the experiment of chapter 3.

The errors are in degrees. `python -m book.experiments rotated_digits` runs it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from book.experiments import Run
from book.experiments.comparison import Case, compare
from minilearn import data
from minilearn.methods.amnesiac import Amnesiac
from minilearn.methods.blindspot import Blindspot
from minilearn.methods.neggrad import NegGrad
from minilearn.models import allcnn, small_cnn
from minilearn.requests import by_range
from minilearn.sweep import Unit
from minilearn.training import Training

SEEDS = 5
MIDDLE = 45.0  # degrees: what a new network answers
BAND = (0, 30)  # degrees
RECIPE = Training(epochs=12, lr=5e-3, schedule="cosine")
CONFIGS = {
    "finetune": Training(epochs=5, lr=5e-4),  # a tenth of the original's rate, as in the paper
    "neggrad": NegGrad(epochs=2, alpha=0.5),
    "amnesiac": Amnesiac(),
    "blindspot": Blindspot(teacher=Training(epochs=3, lr=1e-2)),
}
SIZES = {  # pixels, copies of every digit, network
    "toy": (12, 2, "small_cnn"),  # chapter 3
    "small": (24, 4, "allcnn, width 0.25"),
    "paper": (32, 10, "allcnn, width 1"),  # the paper's network and image size
}


def fresh(run: Run):
    """A new network on the run's device."""
    if run.size == "toy":
        return small_cnn(size=SIZES["toy"][0], start=MIDDLE).to(run.device)
    network = allcnn(width=0.25 if run.size == "small" else 1.0, channels=1)
    torch.nn.init.constant_(network.head.bias, MIDDLE)
    return network.to(run.device)


def units(run: Run) -> Iterator[Unit]:
    """Everything to be measured, method by method for every seed."""
    pixels, copies, network = SIZES[run.size]
    train, test = (part.to(run.device) for part in data.rotated_digits(pixels, copies))
    return compare(
        run,
        Case(
            dataset="rotated_digits",
            request=by_range(train, *BAND),
            unseen=by_range(test, *BAND),
            fresh=lambda: fresh(run),
            recipe=RECIPE,
            configs=CONFIGS,
            units=("degrees", "degrees"),
            settings=f"rotated_digits({pixels}, {copies}); {network} that begins at {MIDDLE}",
        ),
    )
