"""When to stop: at the very step, without waiting for the device; or at the best epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from minilearn.data.checks import check_dataset
from minilearn.evaluation import evaluate
from minilearn.losses import Loss, check_loss
from minilearn.models import device_of, mode


class Stop:
    """When `fit` stops: after the first step for which `until(model)` is true.

    On a GPU the answers are read together, every `EVERY` steps. A step that was taken too many is
    undone on the device itself: the weights and buffers of before it are written back where the
    answer was true by then. On a CPU every answer is read at once. Without `until` nothing happens.
    """

    EVERY = 16

    def __init__(self, model: nn.Module, until: Callable[[nn.Module], Tensor] | None):
        self.model, self.until = model, until
        self.every = self.EVERY if device_of(model).type == "cuda" else 1
        self.answers, self.before = [], []

    def before_epoch(self) -> bool:
        """Whether it is over already; the epoch's answers are collected anew."""
        self.answers = []
        return self.until is not None and bool(self._ask())

    def keep(self):
        """Before a step: remember what it may have to give back."""
        if self.until is not None and self.every > 1:
            self.before = [tensor.detach().clone() for tensor in tensors_of(self.model)]

    def after_step(self) -> bool:
        """Whether it is known to be over, up to `every - 1` steps late."""
        if self.until is None:
            return False
        over = self.answers[-1] if self.answers else None
        if over is not None and self.before:
            with torch.no_grad():
                for tensor, old in zip(tensors_of(self.model), self.before, strict=True):
                    tensor.copy_(torch.where(over, old, tensor))
        now = self._ask()
        self.answers.append(now if over is None else now | over)
        return len(self.answers) % self.every == 0 and bool(self.answers[-1])

    def taken(self) -> int | None:
        """How many steps of the epoch count; None if all do."""
        if not self.answers or not bool(self.answers[-1]):
            return None
        return int(torch.stack(self.answers).int().argmax()) + 1

    def _ask(self) -> Tensor:
        with mode(self.model, train=False), torch.no_grad():
            over = self.until(self.model)
        if not isinstance(over, Tensor) or over.dtype != torch.bool or over.ndim:
            raise ValueError("until must return one boolean, as a tensor on the model's device")
        return over


class Best:
    """A `watch` that keeps the weights of the epoch with the lowest mean loss on `validation`.

    It sees the epochs of this call only: not for a run that resumes from a checkpoint.

    Paper: Tarun et al. 2023; the authors' code averages batch means (utils.py:49-52).
    Raises: ValueError if the validation set is empty; `restore` if no epoch was seen
    Example: best = Best(validation); fit(model, train, watch=best); best.restore(model)
    """

    def __init__(self, validation, loss: Loss = "auto"):
        check_dataset(validation)
        self.validation, self.loss = validation, check_loss(loss)
        self.epoch, self.lowest, self.weights = 0, math.inf, {}

    def __call__(self, epoch: int, model: nn.Module) -> dict:
        """The validation loss; its weights are kept if it is the lowest so far."""
        loss = evaluate(model, self.validation, loss=self.loss).loss.double().mean().item()
        if loss < self.lowest:
            self.epoch, self.lowest = epoch, loss
            self.weights = {name: v.clone() for name, v in model.state_dict().items()}
        return {"validation": loss}

    def restore(self, model: nn.Module):
        """Give `model` the kept weights."""
        if not self.weights:
            raise ValueError("no epoch has been seen: give this as watch= to fit or to a method")
        model.load_state_dict(self.weights)


def tensors_of(model: nn.Module) -> Iterator[Tensor]:
    """All that training changes: parameters and buffers."""
    yield from model.parameters()
    yield from model.buffers()
