"""What every method returns: a new model, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from minilearn.checks import all_finite
from minilearn.cost import Cost


class NothingToDo(ValueError):
    """The model meets the request already; it is left as it is."""


class NonFiniteLoss(ValueError):
    """Training met a NaN or infinite loss; the weights are those of the last finished epoch."""


def weights_of(model: nn.Module) -> list[nn.Parameter]:
    """What is trained of a model, and of a frozen one all: a frozen mask may hold -inf."""
    parameters = [*model.parameters()]
    return [p for p in parameters if p.requires_grad] or parameters


def refuse_overflow(losses: Tensor, model: nn.Module, epoch: int, lr: float):
    """Refuse, by NonFiniteLoss, an epoch with a loss, or after it a weight, that is not finite."""
    bad = (~losses.isfinite()).nonzero().flatten()
    if len(bad):
        what = f"the loss became {losses[bad[0]]:g} at step {bad[0] + 1} of epoch {epoch}"
    elif not all_finite(weights_of(model)):
        what = f"a weight became NaN or infinite in the last step of epoch {epoch}"
    else:
        return
    raise NonFiniteLoss(f"{what}; the usual cure is a smaller learning rate than {lr:g}")


@dataclass
class History:
    """What happened: the loss of every step, and what `watch` saw after every epoch.

    Shapes: loss (steps,) float32 on the CPU, nats for classes, the targets' unit for regression
    """

    loss: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float32))
    epochs: list[dict] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Unlearned:
    """A new model and how it came about.

    The given model is never changed: `model` is a network of its own. `history.loss` has the loss
    of every step; `cost` counts seconds, memory and samples by source. `finished` is false if a
    method that stops by a rule of its own was stopped by its cap before.
    """

    model: nn.Module
    method: str
    config: Any
    seed: int
    history: History
    cost: Cost
    finished: bool = True

    def __repr__(self) -> str:
        end = "" if self.finished else ", stopped by its cap"
        return (
            f"Unlearned({self.method}, seed {self.seed}, {self.cost.samples:,} sample units{end})"
        )
