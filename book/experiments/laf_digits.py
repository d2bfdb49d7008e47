"""LAF's three tasks on the digits, with every method that the paper compares.

The paper's network at 8 pixels, and its recipe but for the number of steps: MNIST's class 0 alone
makes 3,720 pairs of batches, that of the digits 100, so that learning rates are larger here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from book.experiments import Run
from book.experiments.label_free import TASKS, Case
from book.experiments.label_free import units as compare
from minilearn import data
from minilearn.methods import LAF, SCRUB, SISA, BadTeacher, Boundary, NegGrad, Unrolling
from minilearn.models import cnn
from minilearn.sweep import Unit
from minilearn.training import Training

SEEDS = 5
RECIPE = Training(epochs=20, batch_size=32, weight_decay=1e-4)
FASTER = 20  # than the released learning rates
# What the other methods are run with: chosen on seed 0, for class 0 to be forgotten at the least
# price; what is not named is their default.
OTHERS = {
    "finetune": Training(epochs=5),
    "neggrad": NegGrad(epochs=5, batch_size=32),
    "boundary": Boundary(batch_size=32, lr=1e-3),
    "bad_teacher": BadTeacher(epochs=5, batch_size=32, lr=1e-3),
    "scrub": SCRUB(batch_size=32, forget_batch=32, lr=1e-3),
    "unrolling": Unrolling(epochs=20, batch_size=32, lr=1e-2),
    "sisa": SISA(shards=5, slices=2, training=RECIPE),
}


def recipe(task: str) -> LAF:
    """The released one for a task, with the temperature of the file and larger learning rates."""
    released = LAF.paper("mnist", task, source="file")
    rates = FASTER * released.lr_extraction, FASTER * released.lr_alignment
    return replace(released, lr_extraction=rates[0], lr_alignment=rates[1])


def units(run: Run) -> Iterator[Unit]:
    """All three tasks and all methods; chapters 8 and 9 have the same settings."""
    case = Case(
        dataset="digits",
        data=data.digits,
        fresh=lambda: cnn(10, 8),
        recipe=RECIPE,
        laf={task: recipe(task) for task in TASKS},
        others=OTHERS,
        settings="digits, 8 pixels; cnn",
    )
    return compare(run, case)
