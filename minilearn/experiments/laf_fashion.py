"""LAF's three tasks on Fashion-MNIST: `laf_mnist` with other images."""

from __future__ import annotations

from collections.abc import Iterator

from minilearn.experiments.label_free import units as compare
from minilearn.experiments.laf_mnist import SEEDS as SEEDS
from minilearn.experiments.laf_mnist import case
from minilearn.experiments.runner import Run, Unit


def units(run: Run) -> Iterator[Unit]:
    """All three tasks on Fashion-MNIST."""
    return compare(run, case("fashion_mnist", run.size))
