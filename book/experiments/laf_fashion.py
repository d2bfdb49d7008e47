"""LAF's three tasks on Fashion-MNIST: `laf_mnist` with other images."""

from __future__ import annotations

from collections.abc import Iterator

from book.experiments import Run
from book.experiments.label_free import units as compare
from book.experiments.laf_mnist import SEEDS as SEEDS
from book.experiments.laf_mnist import case
from minilearn.sweep import Unit


def units(run: Run) -> Iterator[Unit]:
    """All three tasks on Fashion-MNIST."""
    return compare(run, case("fashion_mnist", run.size, run.made))
