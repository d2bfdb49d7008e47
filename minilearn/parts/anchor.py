"""Hold weights near where they were, the more firmly the less they matter for some items."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from minilearn.checks import device_of
from minilearn.cost import Cost
from minilearn.data.examples import Examples
from minilearn.parts.importance import importance


def firmness(importances: dict[str, Tensor]) -> dict[str, Tensor]:
    """How firmly to hold each weight: 1 for the least important of its tensor, 0 for the most.

        W = 1 - (Omega - min) / (max - min),   within each tensor;   1 where all are alike

    What matters most for the forgotten items is free to move. In a tensor whose weights all matter
    alike, as a single bias, none is preferred, and all are held.

    Paper: Cha et al. 2024.          Chapter: 6
    Differs: from the released code (main_unlearn_cifar10...:312), where such a tensor gives 0 / 0
    """

    def one(omega: Tensor) -> Tensor:
        low, high = omega.aminmax()
        return torch.where(high > low, 1 - (omega - low) / (high - low), torch.ones_like(omega))

    return {name: one(omega) for name, omega in importances.items()}


class Anchor:
    """1/2 sum_i W_i (theta_i - theta_o,i)^2 over a model's trainable weights, theta_o as they are.

    Its gradient W (theta - theta_o) is written down, so that a step takes a handful of calls
    however many tensors there are.

    Paper: Cha et al. 2024.          Chapter: 6
    Example:
        >>> net = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.zeros_(net.weight)
        >>> anchor = Anchor(net, {"weight": torch.tensor([[0.0, 3.0]])})
        >>> _ = net.weight.data.add_(2.0)
        >>> anchor.penalty().item(), torch.autograd.grad(anchor.penalty(), net.weight)[0]
        (2.0, tensor([[2., 0.]]))
    """

    def __init__(self, model: nn.Module, importances: dict[str, Tensor]):
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        firm = firmness(importances)
        self.parameters = [p for _, p in named]
        self.start = [p.detach().clone() for p in self.parameters]
        self.root = [firm[name].sqrt() for name, _ in named]

    def penalty(self) -> Tensor:
        """The penalty at the weights as they are now: a scalar."""
        return _Penalty.apply(self.start, self.root, *self.parameters)


def anchor_of(student: nn.Module, items: Examples, config, seed: int, cost: Cost) -> Anchor | None:
    """The anchor of `L2UL` at the student's weights as they are; None where lambda is 0."""
    if not config.anchor:
        return None
    train = config.batch_norm != "frozen" and config.importance == "batch-mean"
    options = {"train": train, "batch_size": config.batch_size, "seed": seed, "cost": cost}
    with cost.clock(device_of(student)):
        omega = importance(student, items, config.importance, **options)
    return Anchor(student, omega)


class _Penalty(torch.autograd.Function):
    @staticmethod
    def forward(ctx, start: list[Tensor], root: list[Tensor], *parameters: Tensor):
        moved = torch._foreach_mul(torch._foreach_sub(parameters, start), root)
        ctx.save_for_backward(*torch._foreach_mul(moved, root))
        return torch.stack(torch._foreach_norm(moved)).square().sum() / 2

    @staticmethod
    def backward(ctx, slope: Tensor):
        return None, None, *torch._foreach_mul(ctx.saved_tensors, slope)
