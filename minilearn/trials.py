"""Many draws of what is to be forgotten, with all the models that strong attacks ask for."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from minilearn import precision
from minilearn.checks import (
    check_choice,
    check_count,
    check_dataset,
    check_flag,
    check_integers,
    check_kind,
)
from minilearn.data.examples import Examples, subset
from minilearn.data.reading import targets_of, unique_rows
from minilearn.draws import order_of
from minilearn.evaluation import evaluate
from minilearn.files import check_place, read_state, write_state
from minilearn.fingerprints import fingerprint
from minilearn.identity import code_of_own
from minilearn.methods import METHODS
from minilearn.methods.retrain import RECIPE
from minilearn.metrics import Verdict, memory_left, signal, ulira
from minilearn.metrics.columns import refuse_seen
from minilearn.models import build
from minilearn.requests import Request, by_index
from minilearn.sweep import check_methods, method_of
from minilearn.together import Draw, Together, check_together
from minilearn.training import Training

ORIGINAL, RETRAINED, AGAIN = "original", "retrained", "retrained again"


@dataclass(frozen=True, eq=False)
class Trials:
    """What the models of many draws say of candidates, and of examples that nobody trained on.

    Columns are "original", which did nothing; "retrained"; "retrained again", the null; and the
    methods. Draws 2j and 2j + 1 forget each other's complement. Candidates are in the order of
    their positions in the training set.

    Args:
        forgotten: (T, P) bool, which candidates a draw forgets
        candidates: by column (T, P) float64, see `metrics.signal`
        unseen: by column (T, U) float64, the same of unseen examples
        positions: (P,) int64, of the candidates in the training set
    """

    forgotten: Tensor
    candidates: dict[str, Tensor]
    unseen: dict[str, Tensor]
    positions: Tensor | None = None

    def attack(self, column: str, unseen: bool = False) -> Verdict:
        """How well `metrics.ulira` tells a column from retrained models.

        With `unseen` by the examples that nobody trained on: an attack also sees that a model was
        changed at all. What it finds there is not memory.

        Raises: ValueError if there is no such column
        """
        check_choice("column", column, self.candidates)
        if not unseen:
            return ulira(self.candidates[column], self.candidates[RETRAINED], self.forgotten)
        mine, theirs = self.unseen[column], self.unseen[RETRAINED]
        generator = order_of(0)
        half = torch.rand(len(mine) // 2, mine.shape[1], generator=generator) < 0.5
        return ulira(mine, theirs, torch.stack([half, ~half], 1).flatten(0, 1))

    def memory_left(self, column: str) -> Tensor:
        """`metrics.memory_left` of every candidate: (P,); NaN where the original hardly knew it.

        Raises: ValueError if there is no such column
        """
        check_choice("column", column, self.candidates)
        known = self.candidates
        return memory_left(known[column], known[RETRAINED], known[ORIGINAL], self.forgotten)

    def frame(self):
        """A pandas DataFrame, a row a column: attack, control, memory of the `known`."""
        import pandas

        rows = {}
        for column in self.candidates:
            if column != RETRAINED:
                verdict, control = self.attack(column), self.attack(column, unseen=True)
                left = self.memory_left(column)
                left = left[left.isfinite()]
                q = left.new_tensor([0.1, 0.5, 0.9])
                low, median, high = left.quantile(q).tolist() if len(left) else [math.nan] * 3
                rows[column] = {
                    "auc": verdict.auc,
                    "low": verdict.low,
                    "high": verdict.high,
                    "tpr at 1 %": verdict.tpr_at_1fpr,
                    "auc on unseen": control.auc,
                    "known": len(left),
                    "memory left": median,
                    "10 %": low,
                    "90 %": high,
                }
        return pandas.DataFrame.from_dict(rows, orient="index")


def pairs_of_draws(draws: int, candidates: int, seed: int = 0) -> Tensor:
    """Which candidates each draw forgets: (draws, candidates) bool, in complementary halves.

    Raises: ValueError if `draws` is odd or below 2, or there are fewer than two candidates
    Example:
        >>> pairs_of_draws(2, 4).sum(1).tolist()
        [2, 2]
    """
    candidates = check_count("candidates", candidates, 2)
    if check_count("draws", draws, 2) % 2:
        raise ValueError(f"draws come in pairs: take an even number, got {draws}")
    order = order_of(seed)
    forgotten = torch.zeros(draws, candidates, dtype=torch.bool)
    for pair in range(0, draws, 2):
        forgotten[pair, torch.randperm(candidates, generator=order)[: candidates // 2]] = True
        forgotten[pair + 1] = ~forgotten[pair]
    return forgotten


def trials(
    fresh: Callable[[], nn.Module],
    train,
    pool: Sequence[int] | Tensor,
    unseen,
    methods: Mapping[str, object],
    folder: str | os.PathLike,
    *,
    draws: int = 16,
    training: Training = RECIPE,
    seed: int = 0,
    jobs: int = 1,
    at_once: int = 1,
    groups: Sequence[int] | Tensor | None = None,
    whole: bool = False,
) -> Trials:
    """Train, unlearn and retrain for many draws from a pool of candidates.

    In every draw another half of the pool is forgotten, and there is an original, a model retrained
    without that half, a second one of another seed, and one model of every method. A draw has first
    weights and an order of the training set of its own.

    People ask to be forgotten with all that they gave. With `groups` a draw forgets half of the
    groups, each of them whole.

    Args:
        fresh: makes a new network
        train: the training set, Examples or a dataset
        pool: positions of the candidates in it
        unseen: examples of the same kind that are in no training set
        methods: settings by name, as in `minilearn.sweep.sweep`: {"scrub": None, "scrub long": ...}
        folder: where the answers of each draw and column are kept; the same call goes on there, and
            another method is added without a new draw. What the same is says `fingerprint`
        draws: an even number; from 12 on there is a verdict (with `whole` from 6 on, but of unseen
            examples from 12 on), 16 show a method that does nothing
        training: the recipe of all originals and retrained models
        seed: of the draws and of all models
        jobs: processes that work at once
        at_once: draws whose models are one `minilearn.stack`, where the method can be stacked;
            the answers are the same but for rounding, see `minilearn.stack`, and for what dropout
            draws. 16 or 32 pay on small networks
        groups: whose each candidate is, a whole number for every position of `pool`
        whole: every draw forgets the whole pool, such as a class. Where a class is gone, candidates
            are an example's log-probabilities of the classes that are left, see `metrics.signal`
    Raises: ValueError if an argument is wrong, among the unseen Examples is a candidate or they
        are training examples only, networks cannot be stacked, or a file of the folder is damaged;
        OSError if nothing can be written there; whatever a method raises
    """
    check_methods(methods)
    check_kind("training", training, Training)
    check_kind("folder", folder, str | os.PathLike)
    seed = check_count("seed", seed, 0)
    jobs = check_count("jobs", jobs, 1)
    check_dataset(unseen)
    request = by_index(train, check_integers("pool", pool))
    check_flag("whole", whole)
    of_group = torch.arange(len(request.indices))  # of its own each
    kind = " whole" * whole
    if groups is not None:
        of_group = _groups(groups, pool, whole)
        kind = f" {fingerprint(of_group)}"
    forgotten = pairs_of_draws(draws, len(of_group.unique()), seed)[:, of_group] | whole
    if check_count("at_once", at_once, 1) > 1:
        check_together(fresh, train, forgotten, [training, *methods.values()])
    start = build(fresh, 0).to(train.device if isinstance(train, Examples) else None)
    network, process = fingerprint(start), precision.Process()
    about = train, request.indices, unseen, training, seed, (network, process.identity())
    place = Path(folder).expanduser() / (fingerprint(about) + kind)
    check_place("folder", place / "a draw")
    _refuse_overlap(request, unseen)
    kinds = {"candidates": subset(train, request.mask), "unseen": unseen}
    kept = _kept_classes(request) if whole else None
    for examples in kinds.values():  # whatever cannot be read is said before the first training
        signal(evaluate(start, examples), kept)
    every = [Draw(i, request.indices[row], seed) for i, row in enumerate(forgotten)]
    parts = [every[i : i + at_once] for i in range(0, draws, at_once)]
    together = [Together(fresh, train, training, part) for part in parts]
    columns = dict.fromkeys((ORIGINAL, RETRAINED, AGAIN)) | dict(methods)
    found = _in_parallel(together, jobs, columns, kinds, kept, place, process)

    def joined(part: str) -> dict[str, Tensor]:
        return {name: torch.cat([group[name][part] for group in found]) for name in columns}

    numbers = len(kept) if kept else 1  # of a candidate
    forgotten = forgotten.repeat_interleave(numbers, 1)
    positions = request.indices.repeat_interleave(numbers)
    return Trials(forgotten, joined("candidates"), joined("unseen"), positions)


def _in_parallel(together: list[Together], jobs: int, *options) -> list[dict]:
    """What `_answered` gives of every group of draws."""
    from joblib import Parallel, delayed

    work = [delayed(_answered)(group, *options) for group in together]
    done = Parallel(jobs, batch_size=1, return_as="generator")(work)
    return list(tqdm(done, "draws", len(together), unit="group", delay=1, leave=False))


def _groups(groups, pool, whole: bool) -> Tensor:
    """The groups of the candidates, numbered from 0, in the order of positions: (P,) int64."""
    groups, pool = check_integers("groups", groups), check_integers("pool", pool)
    if whole:
        raise ValueError("whole forgets all groups in every draw: give groups or whole, not both")
    if len(groups) != len(pool):
        wanted = f"one number for each of the {len(pool)} candidates"
        raise ValueError(f"groups must have {wanted}, got {len(groups)}")
    names, of_group = groups[pool.argsort()].unique(return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"a draw forgets half of the groups, but there is only {names.item()}")
    return of_group


def _refuse_overlap(request: Request, unseen):
    """Refuse, by ValueError, candidates among the unseen examples, or training examples alone."""
    candidates = request.forget
    if isinstance(candidates, Examples) and isinstance(unseen, Examples):
        common = len(unique_rows(candidates.inputs) & unique_rows(unseen.inputs))
        if common:
            raise ValueError(f"{common} of the unseen examples are candidates: give others")
    refuse_seen(request.train, {"unseen": unseen})


def _kept_classes(pool: Request) -> list[int] | None:
    """The classes that are left, None where none is gone or there are no classes."""
    targets = targets_of(pool.train).cpu()
    if targets.is_floating_point():
        return None
    left = targets[~pool.mask].unique().tolist()
    if len(left) < 2:
        raise ValueError(
            "whole needs two classes that are left, whose probabilities can be compared, and "
            f"without the pool there is {len(left)}: leave whole out, and draws forget halves"
        )
    return left if len(left) < len(targets.unique()) else None


def _answered(group, columns: Mapping[str, object], kinds, kept, place: Path, process) -> dict:
    """The answers of some draws by column; what is in the folder already is read."""

    def answers(column: str, config) -> dict[str, Tensor]:
        code = code_of_own(METHODS.get(method_of(column)))
        about = fingerprint((column, config, code) if code else (column, config))
        files = [place / f"{draw.number:03d} {about}.pt" for draw in group.draws]
        if not all(file.exists() for file in files):
            for file, network in zip(files, _models(group, column, config), strict=True):
                found = {kind: signal(evaluate(network, kinds[kind]), kept).cpu() for kind in kinds}
                if not file.exists():
                    write_state(file, found)
        states = [read_state(file, set(kinds)) for file in files]
        return {kind: torch.stack([state[kind] for state in states]) for kind in kinds}

    with process.again():
        return {column: answers(column, config) for column, config in columns.items()}


def _models(group: Together, column: str, config) -> list[nn.Module]:
    if column == ORIGINAL:
        return group.originals()
    if column in (RETRAINED, AGAIN):
        return group.retrained(1 if column == RETRAINED else 2)
    return group.unlearned(method_of(column), config)
