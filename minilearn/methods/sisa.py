"""SISA: train in shards and slices, so that forgetting means to train a small part again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from minilearn.cost import Cost
from minilearn.data.checks import check_count
from minilearn.data.examples import Examples
from minilearn.methods.contract import Unlearned, checked_config
from minilearn.methods.shards import SISA, Sharded, grown
from minilearn.requests import Request
from minilearn.training import History


def sharded(
    fresh: Callable[[], nn.Module],
    train: Examples,
    *,
    config: SISA = SISA(),
    seed: int = 0,
    jobs: int = 1,
) -> Sharded:
    """Train one network a shard, slice by slice, and keep the weights after each.

    Paper: Bourtoule et al. 2021.          Chapter: 8
    Shapes: train Examples with class labels; `jobs` processes train at the same time
    Differs: answers are averaged probabilities instead of votes; the optimiser begins anew with
        every slice
    Raises: ValueError if the set is no Examples with class labels, or has fewer than two examples a
        slice; whatever `fit` raises
    """
    checked_config(config, SISA)
    if not isinstance(train, Examples) or train.task != "classification":
        raise ValueError("SISA averages class probabilities: give Examples with class labels")
    parts = config.shards * config.slices
    if len(train) < 2 * parts:
        raise ValueError(f"{len(train)} examples are too few for {parts} slices of two or more")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    place, gone = order % parts, torch.zeros(len(train), dtype=torch.bool)
    empty = Unlearned(
        nn.Identity(), "sisa", config, check_count("seed", seed, 0), History(), Cost()
    )
    records = Sharded(empty, fresh, train, place, gone, ((),) * config.shards)
    return grown(records, jobs)


def sisa(records: Sharded, request: Request, *, jobs: int = 1) -> Sharded:
    """Forget exactly: train the shards that held the forgotten, from their first slice with one.

    What comes out is, bit for bit, what training without them in the same places gives. Of S shards
    k random requests touch S (1 - (1 - 1/S)^k) on average, soon all.

    Paper: Bourtoule et al. 2021.          Chapter: 8
    Shapes: request over the same training set; earlier requests stay forgotten
    Differs: as `sharded`
    Raises: ValueError if the request is of another set, or nothing is left
    """
    if not isinstance(records, Sharded):
        raise ValueError(f"records are what sharded(...) returns, got {type(records).__name__}")
    if not isinstance(request, Request) or not _same(request.train, records.train):
        raise ValueError("the request must be a Request over the set that the records are of")
    gone, slices = records.gone | request.mask, records.result.config.slices
    if bool(gone.all()):
        raise ValueError("nothing is retained; the whole training set is forgotten")
    kept = []
    for shard, states in enumerate(records.kept):
        new = gone & ~records.gone & (records.place // slices == shard)
        first = int((records.place[new] % slices).min()) if bool(new.any()) else slices
        kept.append(states[:first])
    return grown(replace(records, gone=gone, kept=tuple(kept)), jobs)


def _same(one: Examples, other: Examples) -> bool:
    pairs = ((one.inputs, other.inputs), (one.targets, other.targets))
    return all(torch.equal(a.to(b.device), b) for a, b in pairs)
