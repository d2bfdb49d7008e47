"""Unrolling SGD: add back what the forgotten items once took away, to first order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilearn.checks import POSITIVE, all_finite, check_settings, device_of, whole
from minilearn.cost import Cost
from minilearn.data import Examples, batches, pair
from minilearn.evaluation import number_of_classes
from minilearn.losses import Loss, check_loss, loss_per_example
from minilearn.models import check_architecture, clear_errors, copy_of, mode, thaw
from minilearn.unlearn import Unlearned, method
from minilearn.unlearned import History, NonFiniteLoss


@dataclass(frozen=True)
class Unrolling:
    """How the model was trained, by plain SGD: give the values of that very training.

    Args:
        epochs: passes over the training data, E
        batch_size: examples a step, b
        lr: learning rate, eta
        loss: "auto", cross-entropy or the absolute error; or "squared", or Quantile(levels)
    """

    epochs: int = 20
    batch_size: int = 32
    lr: float = 1e-3
    loss: Loss = "auto"

    def __post_init__(self):
        check_settings(self, epochs=whole(1), lr=POSITIVE)
        check_loss(self.loss)


@method
def unrolling(
    model: nn.Module,
    forget: Examples,
    *,
    start: nn.Module,
    config: Unrolling = Unrolling(),
    seed: int = 0,
) -> Unlearned:
    """Add the forgotten items' gradients at the weights that training began from.

        theta' = theta + (eta E / b) sum over forgotten x of grad l(theta_start; x)

    To first order in eta, a run of SGD moves by the sum of all gradients at its start, so that a
    part of them can be taken back afterwards. Training is far beyond first order, which is the
    method's weakness: it is one gradient. It is taken as training took it, in batches of
    `config.batch_size` and in training mode. There is nothing to resume or to watch.

    Args: forget: Examples or a dataset. start: the network with the weights before training.
        seed: of dropout
    Paper: Thudi et al. 2022, unrolling SGD.          Chapter: 9
    Differs: none known in the formula from the authors' code (correlation_verification.py), which
        forgets one whole batch; their training has momentum and weight decay, which the formula
        does not know, and a loss of its own, which makes the method work better
    Raises: ValueError if `start` has another architecture, or the trained weights; NonFiniteLoss if
        a gradient is not finite
    Example:
        >>> net, start = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> data = Examples(torch.randn(8, 2), torch.tensor([0, 1] * 4))
        >>> unrolling(net, data, start=start)
        Unlearned(unrolling, seed 0, 24 sample units)
    """
    check_architecture(model, start)
    trained = dict(model.named_parameters(remove_duplicate=False))
    if all(torch.equal(weight, trained[name]) for name, weight in start.named_parameters()):
        raise ValueError(
            "start has the model's own weights, but must be the network before training, which "
            "fit changes in place: take start=copy.deepcopy(model) before it"
        )
    student, cost = copy_of(model), Cost()
    scale = config.lr * config.epochs / config.batch_size
    with cost.clock(device_of(model)):
        loss, gradients = _summed_gradients(copy_of(start), forget, config, cost)
        if not all_finite(gradients.values()):
            raise NonFiniteLoss("a gradient at the start is not finite")
        with torch.no_grad():
            for name, parameter in student.named_parameters():
                if parameter.requires_grad:
                    parameter.add_(gradients[name], alpha=scale)
    history = History(loss=loss.detach().cpu().float()[None])
    return Unlearned(student, "unrolling", config, seed, history, cost)


def _summed_gradients(
    start: nn.Module, data, config: Unrolling, cost: Cost
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean loss at the start, and the sum of all gradients there, by the parameter's name."""
    total = 0.0
    classes = number_of_classes(start, data)
    with mode(start, train=True):
        thaw(start)  # the student's frozen weights, and not the start's, are left out
        for x, y in map(pair, batches(data, config.batch_size, device=device_of(start))):
            cost.trained(forget=len(x))
            with clear_errors(x, y):
                loss = loss_per_example(start(x), y, classes, config.loss).sum()
            loss.backward()
            total = total + loss.detach()
    gradients = {}
    for name, parameter in start.named_parameters(remove_duplicate=False):
        if parameter.requires_grad:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients[name] = gradient.to_dense()  # an embedding's may be sparse
    return total / len(data), gradients
