"""The methods of chapter 9 before attacks that know one digit at a time, on real MNIST.

The number of images and draws are the size's: "toy" takes 2,000 training images and 16 draws,
which took one core two hours beside other work; "small" 10,000 and 32, "paper" all and 64. Network
and recipe are the LAF paper's, but for learning rates that fit fewer steps: those of `laf_digits`.
Tasks, columns and metrics are those of `audit_digits`, but that L2UL, which attacks every single
image many times, is not run on a class. Split `test` are 1,000 of the test images.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

from torch import nn

from book.experiments import Run, said
from book.experiments.audit_digits import methods_of, pool_of, rows_of, trials_folder
from book.experiments.laf_digits import RECIPE
from book.experiments.laf_mnist import IMAGES
from book.experiments.papers import wanted
from minilearn import data
from minilearn.models import cnn
from minilearn.sweep import Unit
from minilearn.trials import AGAIN, ORIGINAL, RETRAINED, Trials, trials

SEEDS = 1
DRAWS = {"toy": 16, "small": 32, "paper": 64}
TASKS = ("items", "mislabelled", "class")
AT_ONCE = 8
UNSEEN = 1_000


def units(run: Run) -> Iterator[Unit]:
    """A unit is a column of the trials of a task, which are made when the first is measured."""
    about = f"size={run.size}; {DRAWS[run.size]} draws, {AT_ONCE} at once; "
    about += f"mnist, {IMAGES[run.size]:,} images; cnn; original={RECIPE}"
    for seed in run.seeds:
        for task in TASKS:
            whole = "all" if task == "class" else "half"
            methods = _methods(task)
            done = cache(partial(_trials, run, task, seed))
            for column in (ORIGINAL, RETRAINED, AGAIN, *methods):
                if (task, column) == ("class", RETRAINED):  # of which the weak attack is all
                    continue
                name = "again" if column == AGAIN else column.replace(" ", "_")
                settings = f"; {column}={said(methods[column])}" if column in methods else ""
                measure = partial(rows_of, done, column)
                request = f"{task}: {whole} of the pool, cnn"
                yield Unit("mnist", request, name, seed, about + settings, measure)


def _methods(task: str) -> dict:
    methods = methods_of("cnn", task)
    return {name: c for name, c in methods.items() if (task, name) != ("class", "l2ul")}


def _trials(run: Run, task: str, seed: int) -> Trials:
    train, test = wanted("mnist", lambda: data.load("mnist"))
    train = train.sample(IMAGES[run.size]).to(run.device)
    test = test.sample(UNSEEN).to(run.device)
    train, pool = pool_of(train, task, seed)
    options = {"draws": DRAWS[run.size], "training": RECIPE, "seed": seed, "at_once": AT_ONCE}
    options["whole"] = task == "class"
    with trials_folder(run) as place:
        fresh = partial(_fresh, run)
        return trials(fresh, train, pool, test, _methods(task), place, **options)


def _fresh(run: Run) -> nn.Module:
    return cnn().to(run.device)
