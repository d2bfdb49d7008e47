"""LAF's three tasks on the digits, with every method that the paper compares.

The paper's network at 8 pixels, and its recipe but for the number of steps: MNIST's class 0 alone
makes 3,720 pairs of batches, that of the digits 100, so that learning rates are larger here.
"""

from __future__ import annotations

from minilearn.training import Training

SEEDS = 5
RECIPE = Training(epochs=10, batch_size=32, weight_decay=1e-4)


def recipe(task: str) -> LAF:
    """The released one with four times its learning rates."""
    released = LAF.paper("cnn", task)
    rates = {"lr_extraction": 4 * released.lr_extraction, "lr_alignment": 4 * released.lr_alignment}
    return replace(released, **rates)


def units(run: Run) -> Iterator[Unit]:
    """All three tasks and all methods."""
    return compare(run, case())


def case() -> Case:
    """The comparison; chapters 7 and 8 have the same settings."""
    recipes = {task: recipe(task) for task in ("random", "class", "noisy")}
    given = ("digits", data.digits, lambda: cnn(10, 8), RECIPE, recipes, {})
    return Case(*given, "digits, 8 pixels; cnn")
