"""SISA: train in shards and slices, so that forgetting means to train a small part again."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from minilearn.checkpoint import fill, held_by
from minilearn.checks import check_count, check_kind, check_settings, whole
from minilearn.cost import Cost
from minilearn.data import Examples
from minilearn.draws import order_of
from minilearn.models import build
from minilearn.precision import Process
from minilearn.requests import Request
from minilearn.training import Training, fit
from minilearn.unlearned import History, Unlearned


@dataclass(frozen=True)
class SISA:
    """Into how many parts the training set is cut, and how each part is trained.

    Args:
        shards: networks, each of which sees one shard
        slices: of a shard; after each the weights are kept
        training: of a shard; its epochs are those of a whole shard, see `epochs_a_slice`
    """

    shards: int = 5
    slices: int = 2
    training: Training = Training()

    def __post_init__(self):
        check_settings(self, shards=whole(1), slices=whole(1), training=Training)

    @property
    def epochs_a_slice(self) -> int:
        """Passes over slices 1 to r, at each r: 2 E / (R + 1), rounded, at least 1.

        Over all r these are about E passes over the shard.
        """
        return max(1, round(2 * self.training.epochs / (self.slices + 1)))


class Ensemble(nn.Module):
    """The logarithm of the mean of several networks' class probabilities: (B, ...) to (B, C)."""

    def __init__(self, members: list[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Log probabilities, which `evaluate` reads as logits."""
        each = torch.stack([member(x).log_softmax(1) for member in self.members])
        return each.logsumexp(0) - math.log(len(each))


@dataclass(frozen=True, eq=False)
class Sharded:
    """The records of a training by SISA: who is where, and all weights that were kept.

    Args:
        result: the ensemble, and what the last training took; its history is empty
        fresh: makes a new network
        train: the training set
        place: (N,) int64, the number of an example's slice among all
        forgotten: (N,) bool, which examples are forgotten by now
        weights: by shard, the weights after each slice
    """

    result: Unlearned
    fresh: Callable[[], nn.Module]
    train: Examples
    place: Tensor
    forgotten: Tensor
    weights: tuple[tuple[dict, ...], ...]


def sharded(
    fresh: Callable[[], nn.Module],
    train: Examples,
    *,
    config: SISA = SISA(),
    seed: int = 0,
    jobs: int = 1,
) -> Sharded:
    """Train one network a shard, slice by slice, and keep the weights after each.

    Args: fresh: makes a new network. train: Examples with class labels. seed: draws the parts, and
        of each network its first weights. jobs: processes that train at the same time
    Paper: Bourtoule et al. 2021.          Chapter: 9
    Differs: answers are averaged probabilities instead of votes; the optimiser begins again with
        every slice
    Raises: ValueError if the set is no Examples with class labels, or has fewer than two examples a
        slice; whatever `fit` raises
    """
    check_kind("config", config, SISA)
    seed = check_count("seed", seed, 0)
    if not isinstance(train, Examples) or train.task != "classification":
        raise ValueError("SISA averages class probabilities: give Examples with class labels")
    parts = config.shards * config.slices
    if len(train) < 2 * parts:
        raise ValueError(f"{len(train)} examples are too few for {parts} slices of two or more")
    order = torch.randperm(len(train), generator=order_of(seed))
    untrained = Unlearned(nn.Identity(), "sisa", config, seed, History(), Cost())
    forgotten = torch.zeros(len(train), dtype=torch.bool)
    weights = ((),) * config.shards
    return _trained(Sharded(untrained, fresh, train, order % parts, forgotten, weights), jobs)


def sisa(records: Sharded, request: Request, *, jobs: int = 1) -> Sharded:
    """Forget exactly: train the shards that held the forgotten, from their first slice with one.

    What comes out is, bit for bit, what training without them in the same places gives. Of S shards
    k random requests touch S (1 - (1 - 1/S)^k) on average, soon all.

    Args: records: what `sharded`, or an earlier call, returned: its requests stay forgotten.
        request: over the same training set. jobs: processes that train at the same time
    Paper: Bourtoule et al. 2021.          Chapter: 9
    Differs: as `sharded`
    Raises: ValueError if the request is of another set, or nothing is left
    """
    if not isinstance(records, Sharded):
        raise ValueError(f"records are what sharded(...) returns, got {type(records).__name__}")
    own = isinstance(request, Request) and isinstance(request.train, Examples)
    if not own or not _same(request.train, records.train):
        raise ValueError("the request must be a Request over the set that the records are of")
    forgotten = records.forgotten | request.mask
    if bool(forgotten.all()):
        raise ValueError("nothing is retained; the whole training set is forgotten")
    slices = records.result.config.slices
    weights = []
    for shard, states in enumerate(records.weights):
        new = forgotten & ~records.forgotten & _inside(records, shard)
        first = int((records.place[new] % slices).min()) if bool(new.any()) else slices
        weights.append(states[:first])
    return _trained(replace(records, forgotten=forgotten, weights=tuple(weights)), jobs)


def _trained(records: Sharded, jobs: int) -> Sharded:
    """The same records with every missing slice trained, `jobs` shards at a time."""
    from joblib import Parallel, delayed

    device = records.train.device
    cost = Cost()
    with cost.clock(device):
        process = Process()  # sums in another order would be other bits
        shards = range(records.result.config.shards)
        work = [delayed(_train_shard)(records, shard, process) for shard in shards]
        done = Parallel(n_jobs=check_count("jobs", jobs, 1))(work)
    members = []
    for shard, (states, spent) in enumerate(done):
        cost.include(replace(spent, seconds=0.0))
        member = build(records.fresh, _first_seed(records, shard)).to(device)
        if int((_inside(records, shard) & ~records.forgotten).sum()) >= _fewest(member):
            fill(member, states[-1])
            members.append(member)
    if not members:
        raise ValueError("no shard has two examples left, which batch normalisation needs to train")
    result = replace(records.result, model=Ensemble(members), cost=cost)
    return replace(records, result=result, weights=tuple(states for states, _ in done))


def _train_shard(records: Sharded, shard: int, process: Process) -> tuple[tuple[dict, ...], Cost]:
    """Train what is missing of one shard as this process would.

    A slice's seed is that of its place alone.
    """
    config = records.result.config
    states = list(records.weights[shard])
    cost = Cost()
    first_seed = _first_seed(records, shard)
    recipe = replace(config.training, epochs=config.epochs_a_slice)
    with process.again():
        model = build(records.fresh, first_seed).to(records.train.device)
        if states:
            fill(model, states[-1])
        for number in range(len(states), config.slices):
            up_to_here = _inside(records, shard) & (records.place % config.slices <= number)
            chosen = up_to_here & ~records.forgotten
            if int(chosen.sum()) >= _fewest(model):
                seed = first_seed + number
                fit(model, records.train[chosen], recipe, seed=seed, cost=cost, progress=False)
            states.append(copy.deepcopy(held_by(model)))
    return tuple(states), cost


def _fewest(model: nn.Module) -> int:
    """How many examples a network needs to train: with batch normalisation two."""
    return 2 if any(isinstance(part, _BatchNorm) for part in model.modules()) else 1


def _first_seed(records: Sharded, shard: int) -> int:
    """Of a shard's first weights; what no training changes is drawn by it as well."""
    return 1_000 * (shard + 1) + 1_000_000 * records.result.seed


def _inside(records: Sharded, shard: int) -> Tensor:
    """Which examples are of a shard: (N,) bool."""
    return records.place // records.result.config.slices == shard


def _same(one: Examples, other: Examples) -> bool:
    pairs = ((one.inputs, other.inputs), (one.targets, other.targets))
    return all(torch.equal(a.to(b.device), b) for a, b in pairs)
