"""Every method of chapters 1, 6, 8 and 9 before attacks that know one example at a time.

`items`: 64 digits at random and the 64 least typical of all are candidates, half of which a draw
forgets; `mislabelled`: 60 of the 61 digits that have wrong labels are; `class`: every draw forgets
all of one class, and the other classes' log-probabilities are candidates; `users`: all digits of 8
of the 14 writers are, and a draw forgets 4 of them; every writer gives as many digits as the one
who gave fewest, so that draws are of one size. A method is a column of
`minilearn.trials`, and `again` the null, which is retrained once more. Split `forget` are the
candidates, split `test` the unseen digits, which show what an attack sees besides memory. The weak
attack, `loss_attack_auc`, is the area of one loss threshold a model, its mean over the draws;
`js_right` is what the report's `js` sees of the right label: of its probability and the rest.

The `mlp` has 64 draws, and the methods that run on a stack; the small CNN all, and fewer draws. Of
the small CNN writers take longest, since L2UL attacks 336 digits in every draw: twenty minutes of
two cores beside other work.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from book.experiments import Run, said
from book.experiments.l2ul_digits import BASE
from book.experiments.laf_digits import OTHERS, recipe
from minilearn import data
from minilearn.data.examples import Examples
from minilearn.methods import PGD, BadTeacher
from minilearn.metrics import auc, divergence_of_fits, js, klom, rmia
from minilearn.models import small_cnn
from minilearn.requests import by_class, by_typicality, mislabel
from minilearn.stack import STACKABLE
from minilearn.sweep import Unit, value
from minilearn.training import Training
from minilearn.trials import AGAIN, ORIGINAL, RETRAINED, Trials, trials

SEEDS = 1
NETWORKS = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)),
    "small_cnn": lambda: small_cnn(10, 8),
}
DRAWS = {"toy": 16, "small": 32, "paper": 64}  # of the small CNN
AT_ONCE = {"mlp": 64, "small_cnn": 16}
RECIPE = Training(epochs=20)
HALF = 64  # of the candidates
USERS = 8  # writers in the pool
TASKS = ("items", "mislabelled", "class", "users")
CLASS = 3
# Candidates from which on RMIA, which compares each with all unseen ones, costs too much.
MANY = 200
# As in chapter 9, but that unrolling and SISA have no part in it; L2UL as in chapter 6 with a
# shorter attack.
METHODS = {name: OTHERS[name] for name in ("finetune", "neggrad", "boundary", "scrub")}
METHODS |= {"bad_teacher": OTHERS["bad_teacher"], "bad_teacher long": BadTeacher(10, 32, 1e-3)}
METHODS |= {"laf": recipe("random")}
PUBLISHED = {"mislabelled": "noisy", "class": "class"}  # LAF's recipes of these tasks
METHODS |= {"l2ul": replace(BASE, attack=PGD(2.0, 0.4, 10, repeats=4), epochs=200)}


def units(run: Run) -> Iterator[Unit]:
    """A unit is a column of the trials of a task, which are made when the first is measured."""
    for seed in run.seeds:
        for network in NETWORKS:
            for task in TASKS:
                yield from _units(run, network, task, seed)


def _units(run: Run, network: str, task: str, seed: int) -> Iterator[Unit]:
    draws = 64 if network == "mlp" else DRAWS[run.size]
    about = f"size={run.size}; {draws} draws, {AT_ONCE[network]} at once; digits, 8 pixels; "
    about += f"{network}; original={RECIPE}"
    about += f"; {USERS} writers" * (task == "users")
    whole = "all" if task == "class" else "half"
    methods = methods_of(network, task)
    done = cache(partial(_trials, run, network, task, draws, seed))
    for column in (ORIGINAL, RETRAINED, AGAIN, *methods):
        if (task, column) != ("class", RETRAINED):  # of which the weak attack is all
            name = "again" if column == AGAIN else column.replace(" ", "_")
            settings = about + (f"; {column}={said(methods[column])}" if column in methods else "")
            measure = partial(rows_of, done, column)
            request = f"{task}: {whole} of the pool, {network}"
            yield Unit("digits", request, name, seed, settings, measure)


def methods_of(network: str, task: str) -> dict:
    """Settings by name: of the MLP those of the methods that run on a stack."""
    if network == "mlp":
        return {name: c for name, c in METHODS.items() if name.split(" ")[0] in STACKABLE}
    laf = recipe(PUBLISHED.get(task, "random"))
    if task == "mislabelled":  # a draw forgets 30 digits, less than a batch
        laf = replace(laf, batch_size=30, vae=replace(laf.vae, batch_size=30))
    return METHODS | {"laf": laf}


def pool_of(train: Examples, task: str, seed: int) -> tuple[Examples, Tensor]:
    """The training set of a task, and the positions of its candidates."""
    if task == "class":
        return train, by_class(train, CLASS).indices
    if task == "mislabelled":
        request = mislabel(train, HALF / len(train), seed=seed)
        return request.train, request.indices[: len(request.indices) // 2 * 2]
    order = torch.Generator().manual_seed(seed)
    if task == "users":
        train = _equally(train)
        users = torch.randperm(len(train.groups.unique()), generator=order)[:USERS]
        return train, torch.isin(train.groups.cpu(), users).nonzero().flatten()
    atypical = by_typicality(train, HALF)
    others = (~atypical.mask).nonzero().flatten()
    order = torch.randperm(len(others), generator=order)
    return train, torch.cat([atypical.indices, others[order[:HALF]]])


def _equally(train: Examples) -> Examples:
    """The first digits of every writer, as many as there are of each."""
    groups = train.groups.cpu()
    fewest = int(groups.bincount().min())
    first = [(groups == writer).nonzero().flatten()[:fewest] for writer in groups.unique()]
    return train[torch.cat(first)]


def _trials(run: Run, network: str, task: str, draws: int, seed: int) -> Trials:
    train, test = (part.to(run.device) for part in data.digits())
    train, pool = pool_of(train, task, seed)
    options = {"draws": draws, "training": RECIPE, "seed": seed, "whole": task == "class"}
    options["at_once"] = AT_ONCE[network]
    options["groups"] = train.groups[pool] if task == "users" else None
    with trials_folder(run) as place:
        fresh, methods = NETWORKS[network], methods_of(network, task)
        return trials(fresh, train, pool, test, methods, place, **options)


@contextmanager
def trials_folder(run: Run) -> Iterator[str | Path]:
    """Where the answers of trials are kept: in the cache, else as long as they are needed."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder if run.cache is None else run.cache / "trials"


def rows_of(done: Callable[[], Trials], column: str) -> list[dict]:
    """What the attacks say of a column; a number that there is not has no row."""
    found = done()
    one_class = bool(found.forgotten.all())
    rows = [] if one_class else [value("loss_attack_auc", "", weak(found, column), "area")]
    if column == RETRAINED:
        return rows
    if not one_class:
        rows.append(value("js_right", "forget", js_of_right(found, column), "nats"))
    if not one_class and found.forgotten.shape[1] < MANY:
        rows.append(value("rmia", "forget", _relative(found, column), "area"))
    rows += strong(found, column, "forget")
    rows += strong(found, column, "test", unseen=True)
    return rows + remembered(found, column)


def weak(found: Trials, column: str) -> float:
    """The area of one loss threshold a model, members being what it forgot: a mean over draws."""
    pairs = zip(found.candidates[column], found.forgotten, found.unseen[column], strict=True)
    each = [auc(mine[forgotten], unseen) for mine, forgotten, unseen in pairs]
    return sum(each) / len(each)


def js_of_right(found: Trials, column: str) -> float:
    """`metrics.js` of (p, 1 - p), p of the right label, to the retrained model of the same draw."""
    phi = (found.candidates[name][found.forgotten] for name in (column, RETRAINED))
    return js(*(logsigmoid(torch.stack([x, -x], 1)) for x in phi)).mean().item()


def strong(found: Trials, column: str, split: str, unseen: bool = False) -> list[dict]:
    """The rows of U-LiRA, named by a split."""
    verdict = found.attack(column, unseen)
    return [
        value("ulira", split, verdict.auc, "area"),
        value("ulira_low", split, verdict.low, "area"),
        value("ulira_high", split, verdict.high, "area"),
        value("ulira_tpr", split, verdict.tpr_at_1fpr, "fraction at 1 %"),
    ]


def remembered(found: Trials, column: str) -> list[dict]:
    """The rows of what is left of the candidates: no quantile of none that the original knew."""
    left = found.memory_left(column)
    left = left[left.isfinite()]
    rows = [value("memory_known", "forget", len(left), "candidates")]
    for name, share in (("memory_left_10", 0.1), ("memory_left", 0.5), ("memory_left_90", 0.9)):
        if len(left):
            rows.append(value(name, "forget", left.quantile(share), "share"))
    here = found.candidates
    sides = here[column], here[RETRAINED], found.forgotten
    rows.append(value("kl_of_fits", "forget", divergence_of_fits(*sides), "nats"))
    histograms = klom(*sides)
    rows.append(value("klom", "forget", histograms.mean(), "nats"))
    return [*rows, value("klom_95", "forget", histograms.quantile(0.95), "nats")]


def _relative(found: Trials, column: str) -> float:
    """`rmia`, which wants log p of the right class: log sigmoid of phi."""
    sides = [
        logsigmoid(answers[name])
        for answers in (found.candidates, found.unseen)
        for name in (column, RETRAINED)
    ]
    return rmia(*sides[:2], found.forgotten, *sides[2:]).auc
