"""A learning rate that falls when the loss no longer does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from minilearn.checks import check_number, check_settings, whole
from minilearn.unlearned import History


@dataclass(frozen=True)
class Plateau:
    """Multiply the learning rate by `factor` after more than `patience` epochs without a fall.

    A loss has fallen if it is below the lowest so far by one part in ten thousand. The rate is a
    function of the history, so that a run that goes on from a checkpoint has the same rates.

    Args:
        factor: of the learning rate, below 1
        patience: how many epochs in a row without a fall are borne
        follows: which loss: a number that `watch` returns, such as the "validation" of `Best`; or
            "loss", the mean training loss of an epoch
    Paper: Tarun et al. 2023, by 0.1; the patience of 10 epochs is that of the authors' code.
    Differs: none known from torch's ReduceLROnPlateau with its defaults
    Raises: ValueError if a value makes no sense
    Example:
        >>> import torch
        >>> history = History(torch.tensor([3.0, 2.0, 2.0, 2.0]))  # four epochs of one step
        >>> Plateau(0.5, patience=1, follows="loss").rate(0.1, 4, history)
        0.05
    """

    factor: float = 0.1
    patience: int = 10
    follows: str = "validation"

    def __post_init__(self):
        check_number("factor", self.factor, 0, 1)
        check_settings(self, patience=whole(0))
        if not isinstance(self.follows, str) or not self.follows:
            raise ValueError(f"follows is the name of a loss, got {self.follows!r}")

    @staticmethod
    def refuse_stack():
        """Say, by ValueError, that the networks of a stack cannot have rates of their own."""
        raise ValueError(
            "a Plateau follows the loss of one network, and a stack has one rate for all: train "
            'the networks one by one, or take the schedule "cosine" or "constant"'
        )

    def check(self, watch, networks: int):
        """Refuse, by ValueError and before any work, a loss that nobody measures, or of several."""
        if networks > 1:
            self.refuse_stack()
        if watch is None and self.follows != "loss":
            raise ValueError(
                f"the schedule follows {self.follows!r}, which nobody measures: give "
                'watch=Best(validation), or take Plateau(follows="loss")'
            )

    def rate(self, lr: float, epoch: int, history: History) -> float:
        """The learning rate of epoch 0, 1, ..., after what happened in the epochs before it."""
        optimizer = torch.optim.SGD([torch.zeros(())], lr)  # it holds the rate, and takes no step
        schedule = ReduceLROnPlateau(optimizer, factor=self.factor, patience=self.patience)
        for loss in self._losses(epoch, history):
            schedule.step(loss)
        return optimizer.param_groups[0]["lr"]

    def _losses(self, epochs: int, history: History) -> list[float]:
        if not epochs:
            return []
        if self.follows == "loss":
            return history.loss.double().view(epochs, -1).mean(1).tolist()
        try:
            return [float(history.epochs[epoch][self.follows]) for epoch in range(epochs)]
        except (LookupError, TypeError, ValueError, RuntimeError):
            raise ValueError(
                f"the schedule follows {self.follows!r}, which watch does not return as a number"
            ) from None
