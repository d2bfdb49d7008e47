"""What is to be forgotten: a mask over one training set, which also knows what is retained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

from minilearn.checks import (
    check_count,
    check_dataset,
    check_flag,
    check_integers,
    check_kind,
    check_number,
)
from minilearn.data.examples import Examples, check_mask, subset
from minilearn.data.reading import labels_of, targets_of, warn_of_twins
from minilearn.draws import order_of


@dataclass(frozen=True, eq=False)
class Request:
    """Which examples of `train` are to be forgotten; the rest is retained.

    Args:
        train: `Examples` or any map-style dataset of (input, target)
        mask: which of them are to be forgotten; None: all; what is retained is not at hand
        name: says in words what is forgotten, and stands in reports
    Shapes: mask (N,) bool, true = forget
    Raises: ValueError if the mask is not boolean, has another length than `train`, forgets nothing
        or retains nothing
    Example:
        >>> train = Examples(torch.zeros(4, 2), torch.tensor([0, 1, 1, 0]))
        >>> request = by_class(train, 1)
        >>> request
        Request(class 1: forget 2 of 4)
        >>> len(request.forget), len(request.retain)
        (2, 2)
    """

    train: Examples | Dataset
    mask: Tensor | None
    name: str = "request"

    def __post_init__(self):
        check_dataset(self.train)
        alone = self.mask is None
        mask = torch.ones(len(self.train), dtype=torch.bool) if alone else self.mask
        check_mask(mask, len(self.train))
        object.__setattr__(self, "mask", mask.cpu().clone())  # the caller may change theirs
        if not self.mask.any():
            raise ValueError(f"{self.name}: nothing is to be forgotten; the forget set is empty")
        if self.mask.all() and not alone:
            raise ValueError(f"{self.name}: nothing is retained; the whole set is forgotten")
        warn_of_twins(self.name, self.train, self.mask)

    def __repr__(self) -> str:
        return f"Request({self.name}: forget {int(self.mask.sum())} of {len(self.mask)})"

    @property
    def forget(self) -> Examples | Dataset:
        """The examples to be forgotten, of the same kind as `train`."""
        return subset(self.train, self.mask)

    @property
    def retain(self) -> Examples | Dataset:
        """Everything else; ValueError if it is not at hand."""
        if self.mask.all():
            words = f"{self.name}: the retained data, needed here, are not at hand"
            raise ValueError(f"{words} (some methods take retain=None)")
        return subset(self.train, ~self.mask)

    @property
    def indices(self) -> Tensor:
        """Positions in `train` of the examples to be forgotten: (n_f,) int64, ascending."""
        return self.mask.nonzero().flatten()


def by_class(train, classes: int | Sequence[int]) -> Request:
    """Forget every example of one class, or of several.

    Args: train: as in `Request`, with class labels. classes: one number or several
    Raises: ValueError if a class does not occur in `train`, or the targets are not class labels
    """
    targets = labels_of(train)
    chosen = _occurring("class", classes, targets)
    name = f"class {chosen[0]}" if len(chosen) == 1 else f"classes {chosen}"
    return Request(train, torch.isin(targets, torch.tensor(chosen, dtype=torch.long)), name)


def by_group(train: Examples, group: int) -> Request:
    """Forget everything of one group: all digits of one writer, all portraits of one person.

    Raises: ValueError if `train` has no groups or the group does not occur
    """
    check_dataset(train)
    groups = getattr(train, "groups", None)
    if groups is None:
        raise ValueError("this training set does not say whose its examples are: it has no groups")
    group, groups = check_count("group", group, 0), check_integers("groups", groups)
    _occurring("group", group, groups)
    return Request(train, groups == group, f"group {group}")


def by_fraction(
    train, fraction: float, classes: int | Sequence[int] | None = None, seed: int = 0
) -> Request:
    """Forget a random fraction of every class, rounded per class.

    Args: fraction: of a class, in (0, 1]. classes: by default all. seed: of the draw
    Paper: Shen et al. 2024, data removal: 40 % of each of classes 5 to 9.
    Differs: from the authors' code, which rounds down (Data.py:254): of MNIST it takes 11,760
        images, and one more is taken here
    Raises: ValueError if fraction is outside (0, 1], a class does not occur, or the targets are no
        class labels
    """
    return Request(train, *_fraction(labels_of(train), fraction, classes, seed))


def by_range(train, low: float, high: float) -> Request:
    """Forget the examples whose regression target lies in the half-open band [low, high).

    Paper: Tarun et al. 2023: a band of ages or of scores.
    Raises: ValueError if the targets are class labels, or low >= high
    """
    targets = targets_of(train).cpu()
    if not targets.is_floating_point() or targets.ndim != 1:
        got = f"got {targets.dtype} of shape {tuple(targets.shape)}"
        raise ValueError(
            f"a range needs one floating-point target per example, {got}: make targets (N, 1) "
            "flat by squeeze(1), and for class labels use by_class"
        )
    low, high = _end_of_range("low", low), _end_of_range("high", high)
    if not low < high:
        raise ValueError(f"the band [{low:g}, {high:g}) is empty: low must be below high")
    return Request(train, (targets >= low) & (targets < high), f"targets in [{low:g}, {high:g})")


def _end_of_range(name: str, value) -> float:
    """An end may be infinite, or a tensor: the smallest of some targets."""
    if isinstance(value, Tensor) and value.ndim == 0:
        value = value.item()
    return check_number(name, value, ends="[]")


def by_index(train, indices: Sequence[int] | Tensor) -> Request:
    """Forget chosen examples, by their positions in the training set, in whose order they come.

    Raises: ValueError if a position is out of range or named twice
    """
    check_dataset(train)
    indices = check_integers("indices", indices)
    outside = indices[(indices < 0) | (indices >= len(train))]
    if len(outside):
        raise ValueError(f"index {int(outside[0])} lies outside 0..{len(train) - 1}")
    if len(indices.unique()) != len(indices):
        raise ValueError(f"index {int(indices.bincount().argmax())} is named twice: name it once")
    mask = torch.zeros(len(train), dtype=torch.bool)
    mask[indices] = True
    return Request(train, mask, f"{len(indices)} chosen examples")


def by_typicality(train: Examples, count: int, typical: bool = False) -> Request:
    """Forget the least typical examples, by Euclidean distance from the mean input of their class.

    Args: count: how many examples. typical: forget the most typical ones instead
    Raises: ValueError if `train` is not `Examples` with class labels, or count is out of range
    """
    _require_examples("typicality compares inputs", train)
    classes, targets = labels_of(train).to(train.device).unique(return_inverse=True)
    check_flag("typical", typical)
    if check_count("count", count, 1) >= len(train):
        raise ValueError(f"count must lie in 1..{len(train) - 1}, got {count}")
    flat = train.inputs.reshape(len(train), -1).double()
    means = torch.zeros(len(classes), flat.shape[1], dtype=flat.dtype, device=flat.device)
    means.index_add_(0, targets, flat)
    means /= targets.bincount()[:, None]
    distance = (flat - means[targets]).norm(dim=1)
    chosen = distance.argsort(descending=not typical, stable=True)[:count]
    name = f"the {count} {'most' if typical else 'least'} typical examples"
    return replace(by_index(train, chosen), name=name)


def mislabel(
    train: Examples,
    fraction: float,
    classes: int | Sequence[int] | None = None,
    seed: int = 0,
    *,
    reach: int | None = None,
) -> Request:
    """Give a random fraction of each class a wrong label; the request is to forget those.

    The request's training set carries the wrong labels: train the original model on it. A wrong
    label is uniform over the other classes.

    Args:
        fraction: of a class, in (0, 1]
        classes: whose examples get wrong labels, by default all
        seed: of the draws
        reach: the wrong labels are among so many first classes, by default all
    Paper: Shen et al. 2024, noisy-label removal: 60 % of each of classes 0 to 4.
    Differs: from the authors' code, whose wrong labels never reach the last class (Data.py:226):
        that is reach=9 for ten classes; it rounds down, for MNIST to 18,355 images, here 18,358
    Raises: ValueError if `train` is not Examples, fraction is outside (0, 1], a class does not
        occur or lies outside `reach`, or there is one class only
    """
    _require_examples("mislabel writes labels", train)
    targets = labels_of(train)
    occurring, number = targets.unique(return_inverse=True)
    if len(occurring) < 2:
        raise ValueError("a wrong label needs at least two classes")
    reach = len(occurring) if reach is None else check_count("reach", reach, 2)
    mask, name = _fraction(targets, fraction, classes, seed)
    if reach > len(occurring) or bool((number[mask] >= reach).any()):
        raise ValueError(f"reach must hold the chosen classes and no more than all, got {reach}")
    generator = order_of(check_count("seed", seed, 0) + 1)
    shift = torch.randint(1, reach, (len(targets),), generator=generator)
    wrong = torch.where(mask, occurring[(number + shift) % reach], targets)
    return Request(train.with_targets(wrong.to(train.device)), mask, f"{name} mislabelled")


def near_duplicates(
    request: Request, tolerance: float = 0.02, chunk: int = 256
) -> tuple[Tensor, Tensor]:
    """Pairs of a forgotten and a retained example whose inputs are almost the same.

    A model keeps what it learnt from the twin that stays, and so does one retrained without the
    other: look before blaming a method. Two inputs are near-duplicates if their root-mean-square
    difference is at most `tolerance` times the standard deviation of all inputs.

    Args: chunk: forgotten examples that are compared at once
    Shapes: returns pairs (K, 2) int64, positions in the training set as (forgotten, retained); and
        distances (K,) float64, in the same unit as `tolerance`, ascending
    Raises: ValueError if `train` is no `Examples`, nothing is retained, or tolerance is negative
    Example:
        >>> train = Examples(torch.tensor([[0.0], [1.0], [0.0]]), torch.zeros(3))
        >>> near_duplicates(by_index(train, [0]))[0]
        tensor([[0, 2]])
    """
    check_kind("request", request, Request)
    _require_examples("near_duplicates compares inputs", request.train)
    if request.mask.all():
        raise ValueError(f"{request.name}: twins are looked for among retained data; here are none")
    tolerance = check_number("tolerance", tolerance, 0, ends="[)")
    flat = request.train.inputs.reshape(len(request.mask), -1).double()
    flat = flat - flat.mean()  # smaller numbers, smaller rounding in the products below
    scale = float(flat.std()) * max(flat.shape[1], 1) ** 0.5 or 1.0  # all alike: all distances 0
    retain = (~request.mask).nonzero().flatten()
    near = []
    for part in request.indices.split(check_count("chunk", chunk, 1)):
        # By products, which is fast and a little inexact: it proposes pairs, with some to spare.
        far = torch.cdist(flat[part], flat[retain], compute_mode="use_mm_for_euclid_dist")
        row, column = (far <= (tolerance + 1e-6) * scale).nonzero().T.cpu()
        near.append(torch.stack([part[row], retain[column]], 1))
    pairs = torch.cat(near)
    gaps = [(flat[part[:, 0]] - flat[part[:, 1]]).norm(dim=1) for part in pairs.split(4096)]
    distances = torch.cat(gaps).cpu() / scale
    order = distances.argsort(stable=True)[: int((distances <= tolerance).sum())]
    return pairs[order], distances[order]


def _require_examples(why: str, train):
    if not isinstance(train, Examples):
        raise ValueError(f"{why} as tensors: make Examples first, got {type(train).__name__}")


def _occurring(kind: str, chosen, values: Tensor) -> list[int]:
    """The chosen classes or groups, each once and ascending; all of them must occur in `values`."""
    if not hasattr(chosen, "__len__") or getattr(chosen, "ndim", 1) == 0:
        chosen = [chosen]
    chosen = check_integers(f"{kind} numbers", chosen).unique().tolist()
    occurring = values.unique().tolist()
    for number in chosen:
        if number not in occurring:
            first = ", ".join(map(str, occurring[:12])) + ", ..." * (len(occurring) > 12)
            raise ValueError(f"{kind} {number} does not occur in the training set: it has {first}")
    return chosen


def _fraction(targets: Tensor, fraction: float, classes, seed: int) -> tuple[Tensor, str]:
    fraction = check_number("fraction", fraction, 0, 1, ends="(]")
    chosen = _occurring("class", targets.unique() if classes is None else classes, targets)
    generator = order_of(seed)
    mask = torch.zeros(len(targets), dtype=torch.bool)
    for label in chosen:
        members = (targets == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        mask[members[: round(fraction * len(members))]] = True
    whose = "each class" if classes is None else f"classes {chosen}"
    return mask, f"{100 * fraction:g} % of {whose}"
