"""What the strong attack says where there is nothing to find, and how often its interval holds.

A model that was retrained once more is attacked as if a method had made it. Every seed is an audit
of its own, of other candidates, draws and models: half of the candidates are chosen anew, the 64
least typical digits stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from book.experiments import Run
from book.experiments.audit_digits import NETWORKS, RECIPE, pool_of, strong, trials_folder
from minilearn import data
from minilearn.sweep import Unit
from minilearn.trials import AGAIN, trials

SEEDS = 25
DRAWS = {"toy": 16, "small": 64, "paper": 64}
AT_ONCE = 16


def units(run: Run) -> Iterator[Unit]:
    """An audit a seed."""
    settings = f"size={run.size}; {DRAWS[run.size]} draws, {AT_ONCE} at once; digits, 8 pixels; "
    settings += f"mlp; retrained={RECIPE}"
    for seed in run.seeds:
        request = "items: half of the pool, mlp"
        yield Unit("digits", request, "again", seed, settings, partial(_rows, run, seed))


def _rows(run: Run, seed: int) -> list[dict]:
    train, test = (part.to(run.device) for part in data.digits())
    train, pool = pool_of(train, "items", seed)
    options = {"draws": DRAWS[run.size], "at_once": AT_ONCE, "training": RECIPE, "seed": seed}
    with trials_folder(run) as place:
        found = trials(NETWORKS["mlp"], train, pool, test, {}, place, **options)
    return strong(found, AGAIN, "forget") + strong(found, AGAIN, "test", unseen=True)
