"""The methods of chapter 3 before attacks that know one example at a time.

`items`: 128 turned digits at random are candidates, half of which a draw forgets; `band`: every
draw forgets all that are turned by less than 30 degrees, as in chapter 3. A model is known by its
predictions, with their sign. Columns and metrics are those of `audit_digits`, with the mean error
on what is forgotten and the mean distance from the retrained model of the same draw, which the
report would show. `amnesiac long` goes on for six epochs, and `blindspot_model` is the model that
Blindspot copies, by itself.

Split `test` are all unseen digits; `test_forget` and `test_retain` those in the band and outside:
what an attack finds there is what a model knows of the band, or that it was edited.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor

from book.experiments import Run, said
from book.experiments.audit_digits import remembered, strong, trials_folder, weak
from book.experiments.rotated_digits import BAND, CONFIGS, MIDDLE, RECIPE, SIZES, fresh
from minilearn import data
from minilearn.data.examples import Examples
from minilearn.methods import Amnesiac
from minilearn.requests import by_range
from minilearn.sweep import Unit, value
from minilearn.trials import AGAIN, ORIGINAL, RETRAINED, Trials, trials

SEEDS = 1
DRAWS = 64
AT_ONCE = 16
CANDIDATES = 128  # of the items
TASKS = ("items", "band")
METHODS = CONFIGS | {"amnesiac long": Amnesiac(epochs=6)}
METHODS |= {"retrain briefly": CONFIGS["blindspot"].teacher}
NAMES = {AGAIN: "again", "amnesiac long": "amnesiac_long", "retrain briefly": "blindspot_model"}


@dataclass(frozen=True)
class Audited:
    """Trials, and the right answers: those of the candidates, and those of the unseen digits."""

    found: Trials
    targets: Tensor
    unseen: Tensor


def units(run: Run) -> Iterator[Unit]:
    """A unit is a column of the trials of a task, which are made when the first is measured."""
    pixels, copies, network = SIZES[run.size]
    about = f"size={run.size}; {DRAWS} draws, {AT_ONCE} at once; "
    about += f"rotated_digits({pixels}, {copies}); {network} that begins at {MIDDLE}; "
    about += f"original={RECIPE}"
    requests = {"items": f"items: half of {CANDIDATES}", "band": f"band: all of {BAND}"}
    for seed in run.seeds:
        for task in TASKS:
            done = cache(partial(_trials, run, task, seed))
            for column in (ORIGINAL, RETRAINED, AGAIN, *METHODS):
                name = NAMES.get(column, column)
                settings = f"; {name}={said(METHODS[column])}" if column in METHODS else ""
                measure = partial(_rows, done, column)
                request = requests[task]
                yield Unit("rotated_digits", request, name, seed, about + settings, measure)


def pool_of(train: Examples, task: str, seed: int) -> Tensor:
    """The positions of a task's candidates."""
    if task == "band":
        return by_range(train, *BAND).indices
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    return order[:CANDIDATES].sort().values


def _trials(run: Run, task: str, seed: int) -> Audited:
    pixels, copies, _ = SIZES[run.size]
    train, test = (part.to(run.device) for part in data.rotated_digits(pixels, copies))
    pool = pool_of(train, task, seed)
    options = {"draws": DRAWS, "training": RECIPE, "seed": seed, "at_once": AT_ONCE}
    options["whole"] = task == "band"
    with trials_folder(run) as place:
        found = trials(lambda: fresh(run), train, pool, test, METHODS, place, **options)
    return Audited(found, train.targets[pool].double().cpu(), test.targets.double().cpu())


def _rows(done, column: str) -> list[dict]:
    """What the report would say of a column, and what the attacks do."""
    audited: Audited = done()
    found, here = audited.found, audited.found.candidates
    rows = [value("mae", "forget", _mean(here[column] - audited.targets, found), "degrees")]
    rows.append(value("loss_attack_auc", "", _weak(audited, column), "area"))
    if column == RETRAINED:
        return rows
    apart = _mean(here[column] - here[RETRAINED], found)
    rows.append(value("paired_difference", "forget", apart, "degrees"))
    rows += strong(found, column, "forget")
    for split, inside in _parts(audited).items():
        rows += strong(_unseen_part(found, inside), column, split, unseen=True)
    return rows + remembered(found, column)


def _mean(differences: Tensor, found: Trials) -> float:
    """The mean size of differences at what a draw forgets."""
    return differences.abs()[found.forgotten].mean().item()


def _parts(audited: Audited) -> dict[str, Tensor]:
    """Which unseen digits a split has: of a band those in it, and those outside."""
    if not audited.found.forgotten.all():
        return {"test": torch.ones_like(audited.unseen, dtype=torch.bool)}
    low, high = BAND
    inside = (audited.unseen >= low) & (audited.unseen < high)
    return {"test_forget": inside, "test_retain": ~inside}


def _unseen_part(found: Trials, inside: Tensor) -> Trials:
    unseen = {column: answers[:, inside] for column, answers in found.unseen.items()}
    return replace(found, unseen=unseen)


def _weak(audited: Audited, column: str) -> float:
    """`audit_digits.weak` by the absolute errors, against unseen digits of the same kind."""
    found, inside = audited.found, next(iter(_parts(audited).values()))
    known = -(found.candidates[column] - audited.targets).abs()
    unseen = -(found.unseen[column] - audited.unseen).abs()[:, inside]
    return weak(Trials(found.forgotten, {column: known}, {column: unseen}), column)
