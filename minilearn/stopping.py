"""When a run stops: after the very step that meets a condition, without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from minilearn.checks import device_of
from minilearn.models import mode, tensors_of


class Stop:
    """When a run stops: after the first step for which `until(model)` is true.

    On a GPU the answers are read together, every `EVERY` steps. A step that was taken too many is
    undone on the device itself: the weights and buffers of before it are written back where the
    answer was true by then. On a CPU every answer is read at once. Without `until` nothing happens.
    """

    EVERY = 16

    def __init__(self, model: nn.Module, until: Callable[[nn.Module], Tensor] | None):
        self.model = model
        self.until = until
        self.every = self.EVERY if device_of(model).type == "cuda" else 1
        self.answers: list[Tensor] = []
        self.before: list[Tensor] = []
        self.known = False  # that the condition is met

    def before_epoch(self) -> bool:
        """Whether it is over already; the epoch's answers are collected again from the start."""
        self.answers = []
        self.known = self.until is not None and bool(self._ask())
        return self.known

    def before_step(self):
        """Remember what the step may have to give back; ValueError if the loop should be over."""
        if self.known:
            raise ValueError("the condition of run.epochs is met: leave the loop at run.stopped")
        if self.until is not None and self.every > 1:
            self.before = [tensor.detach().clone() for tensor in tensors_of(self.model)]

    def after_step(self):
        """Ask again; `known` becomes true up to `every - 1` steps late."""
        if self.until is None:
            return
        over = self.answers[-1] if self.answers else None
        if over is not None and self.before:
            with torch.no_grad():
                for tensor, old in zip(tensors_of(self.model), self.before, strict=True):
                    tensor.copy_(torch.where(over, old, tensor))
        now = self._ask()
        self.answers.append(now if over is None else now | over)
        if len(self.answers) % self.every == 0:
            self.known = bool(self.answers[-1])

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
