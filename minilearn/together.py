"""The models of several draws: as one network where they can be stacked, else one by one.

All that is random in the models of a draw follows from the trials' seed and the number of the draw,
so that it makes no difference which draws are trained together, but for rounding and dropout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from minilearn.checks import device_of
from minilearn.data.examples import Examples
from minilearn.draws import order_of
from minilearn.methods import METHODS, retrain, unlearn
from minilearn.models import build
from minilearn.requests import Request
from minilearn.schedule import Plateau
from minilearn.stack import STACKABLE, side_by_side, stack, unstack
from minilearn.training import Training
from minilearn.unlearned import NothingToDo

SEEDS = 1_000  # apart: the seeds of one draw from those of the next


@dataclass(frozen=True, eq=False)
class Draw:
    """One draw of what is to be forgotten.

    Args:
        number: of the draw, from 0
        forgotten: positions in the training set
        trials_seed: of all draws
    """

    number: int
    forgotten: Tensor
    trials_seed: int

    @property
    def seed(self) -> int:
        """The draw's own."""
        return SEEDS * (SEEDS * self.trials_seed + self.number)

    def orders(self, count: int) -> tuple[Tensor, Tensor]:
        """Two orders of the training set; in the second what is forgotten comes first."""
        order = order_of(self.seed)
        everything, other = (torch.randperm(count, generator=order) for _ in range(2))
        mask = torch.isin(other, self.forgotten)
        return everything, torch.cat([other[mask], other[~mask]])


class Together:
    """The models of some draws.

    With one seed, all networks of a stack are given the examples at the same positions. Therefore
    every draw has its training set in an order of its own, and what it forgets in front.

    Args: fresh: makes a network. training: of originals and retrained models. draws: of one size
    """

    def __init__(
        self, fresh: Callable[[], nn.Module], train, training: Training, draws: list[Draw]
    ):
        self.fresh = fresh
        self.train = train
        self.training = training
        self.draws = draws
        self.seed = SEEDS * draws[0].trials_seed

    def originals(self) -> list[nn.Module]:
        """One a draw, trained on everything when it is asked for the first time."""
        return unstack(self._original)

    def retrained(self, number: int) -> list[nn.Module]:
        """One a draw, trained without what it forgets. Args: number: 1, 2: others each time"""
        return unstack(self._trained(self._request().retain, number))

    def unlearned(self, name: str, config) -> list[nn.Module]:
        """One a draw, after a method of `METHODS` with these settings, None for its own."""
        if name in STACKABLE:
            return unstack(self._after(self._original, name, config, self.seed))
        return [
            self._alone(draw)._after(model, name, config, draw.seed)
            for draw, model in zip(self.draws, self.originals(), strict=True)
        ]

    @cached_property
    def _original(self) -> nn.Module:
        return self._trained(self._sets(0), 0)

    def _trained(self, data, number: int) -> nn.Module:
        return retrain(self._networks, data, config=self.training, seed=self.seed + number).model

    def _after(self, model: nn.Module, name: str, config, seed: int) -> nn.Module:
        start = build(self._networks, self.seed).to(device_of(model))
        options = {"fresh": self._networks, "start": start, "config": config, "seed": seed}
        try:
            return unlearn(METHODS[name], model, self._request(), **options).model
        except NothingToDo:
            return model

    def _alone(self, draw: Draw) -> Together:
        return Together(self.fresh, self.train, self.training, [draw])

    def _networks(self) -> nn.Module:
        """New networks, each from the seed of its draw and a number that torch draws for all."""
        number = int(torch.randint(2**31, ()))
        networks = [build(self.fresh, number + draw.seed) for draw in self.draws]
        return stack(networks, self.train.inputs[:2]) if len(networks) > 1 else networks[0]

    def _request(self) -> Request:
        sets = self._sets(1)
        mask = torch.arange(len(sets)) < len(self.draws[0].forgotten)
        numbers = ", ".join(str(draw.number) for draw in self.draws)
        return Request(sets, mask, f"draws {numbers}")

    def _sets(self, which: int):
        """The training set in the orders of the draws, see `Draw.orders`."""
        orders = [draw.orders(len(self.train))[which] for draw in self.draws]
        if not isinstance(self.train, Examples):
            return Subset(self.train, orders[0].tolist())
        sets = [self.train[order] for order in orders]
        return side_by_side(sets) if len(sets) > 1 else sets[0]


def check_together(fresh: Callable[[], nn.Module], train, forgotten: Tensor, recipes: list):
    """Refuse, by ValueError, what cannot be trained as one, before anything is.

    Args: recipes: of the trainings, and the methods' settings
    Shapes: forgotten (T, P) bool, which candidates a draw forgets
    """
    for recipe in recipes:
        if isinstance(getattr(recipe, "schedule", None), Plateau):
            Plateau.refuse_stack()
    if not isinstance(train, Examples):
        kind = type(train).__name__
        raise ValueError(f"at_once trains on Examples, got a {kind}: make them, or leave it out")
    sizes = forgotten.sum(1)
    if sizes.min() < sizes.max():
        found = f"{sizes.min()} to {sizes.max()} candidates"
        raise ValueError(
            f"at_once needs draws of one size, got {found}: leave some out, or at_once"
        )
    stack([build(fresh, number) for number in range(2)], train.inputs[:2])
