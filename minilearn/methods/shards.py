"""What SISA keeps of a training, and how a shard is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.data.checks import check_count
from minilearn.data.examples import Examples
from minilearn.methods.contract import Unlearned, build
from minilearn.training import Training, fit


@dataclass(frozen=True)
class SISA:
    """Into how many parts the training set is cut, and how each part is trained."""

    shards: int = 5  # networks, each of which sees one shard
    slices: int = 2  # of a shard; after each the weights are kept
    training: Training = Training()  # epochs are those of a whole shard, see `epochs`

    def __post_init__(self):
        check_count("shards", self.shards, 1), check_count("slices", self.slices, 1)
        if not isinstance(self.training, Training):
            raise ValueError(f"training must be a Training, got {type(self.training).__name__}")

    @property
    def epochs(self) -> int:
        """Passes over slices 1 to r at each r: 2 E / (R + 1), at least 1, which sum up to E."""
        return max(1, round(2 * self.training.epochs / (self.slices + 1)))


class Ensemble(nn.Module):
    """The logarithm of the mean of several networks' class probabilities: (B, ...) to (B, C)."""

    def __init__(self, members: list[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Log probabilities, which `evaluate` reads as logits."""
        each = torch.stack([member(x).log_softmax(1) for member in self.members])
        return each.logsumexp(0) - torch.tensor(float(len(each)), device=x.device).log()


@dataclass(frozen=True, eq=False)
class Sharded:
    """The records of a training by SISA: who is where, and all weights that were kept.

    Shapes: place (N,) int64, the number of the slice among all; gone (N,) bool, forgotten by now
    """

    result: Unlearned  # the ensemble and what the last training took
    fresh: Callable[[], nn.Module]
    train: Examples
    place: Tensor
    gone: Tensor
    kept: tuple[tuple[dict, ...], ...]  # by shard: the weights after each slice


def grown(records: Sharded, jobs: int) -> Sharded:
    """The same records with every missing slice trained, `jobs` shards at a time."""
    from joblib import Parallel, delayed

    result, cost = records.result, Cost()
    device = records.train.device
    with cost.clock(device):
        threads = torch.get_num_threads()  # sums in another order would be other bits
        work = [delayed(_shard)(records, n, threads) for n in range(result.config.shards)]
        done = Parallel(n_jobs=check_count("jobs", jobs, 1))(work)
    members, kept = [], []
    for states, spent in done:
        kept.append(states)
        cost.forward, cost.backward = cost.forward + spent.forward, cost.backward + spent.backward
        member = build(records.fresh, 0).to(device)
        member.load_state_dict(states[-1])
        members.append(member)
    left = [bool((~records.gone & _inside(records, n)).any()) for n in range(len(members))]
    model = Ensemble([member for member, some in zip(members, left, strict=True) if some])
    result = replace(result, model=model, cost=cost)
    return replace(records, result=result, kept=tuple(kept))


def _inside(records: Sharded, shard: int, last: int | None = None) -> Tensor:
    slices = records.result.config.slices
    inside = records.place // slices == shard
    return inside if last is None else inside & (records.place % slices <= last)


def _shard(records: Sharded, shard: int, threads: int) -> tuple[tuple[dict, ...], Cost]:
    """Train what is missing of one shard; a slice's seed is that of its place alone."""
    torch.set_num_threads(threads)
    config, seed, cost = records.result.config, records.result.seed, Cost()
    states, first = list(records.kept[shard]), 1_000 * (shard + 1) + 1_000_000 * seed
    model = build(records.fresh, first).to(records.train.device)
    if states:
        model.load_state_dict(states[-1])
    recipe = replace(config.training, epochs=config.epochs)
    for number in range(len(states), config.slices):
        chosen = _inside(records, shard, number) & ~records.gone
        if bool(chosen.any()):
            part = records.train[chosen]
            fit(model, part, recipe, seed=first + number, cost=cost, progress=False)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    return tuple(states), cost
