"""How fast a model learns the forgotten again: what comes back too quickly was never gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat

import torch
from torch import Tensor, nn

from minilearn.data.examples import batches
from minilearn.evaluation import evaluate, loss_per_example
from minilearn.methods.contract import copy_of
from minilearn.models import device_of
from minilearn.training import Training, seeded

STEPS = (0, 1, 2, 4, 8, 16, 32)
GENTLE = Training(lr=1e-4)


def relearn_curve(
    model: nn.Module,
    data,
    probe,
    *,
    steps: Sequence[int] = STEPS,
    config: Training = GENTLE,
    seed: int = 0,
) -> Tensor:
    """Mean loss on `probe` after 0, 1, 2, 4, ... steps of training a copy on `data`.

    Every model that is given the same seed sees the same batches. Say which data: relearning on
    the forget set alone tests memory, on the retained set alone entanglement, on both the usual
    mixture. Of `config`, the epochs and the schedule are not used.

    Paper: Golatkar et al. 2020 (relearn time), Tarun et al. 2023 (anamnesis index).      Chapter: 2
    Shapes: returns (len(steps),) float64, nats or the targets' unit
    Target: the retrained model's curve.
    Cannot see: what this optimiser cannot reach in so many steps. Depends on rate, batch, mixture.
    Differs: from Tarun et al.'s code, which trains the models that it measures (metrics.py:83-142)
    Raises: ValueError if steps do not ascend from 0 or above, a set is empty, or the loss diverges
    """
    steps = list(steps)
    whole = all(isinstance(s, int) and s >= 0 for s in steps)
    if not steps or not whole or steps != sorted(set(steps)):
        raise ValueError(f"steps must be whole numbers that ascend from 0 or above, got {steps}")
    model, curve = copy_of(model), []
    optimizer, done = config.make_optimizer(model.parameters()), 0
    with seeded(seed):
        model.train()
        stream = _endless(data, config.batch_size, seed, device_of(model))
        for stop in steps:
            for _ in range(stop - done):
                x, y = next(stream)
                optimizer.zero_grad(set_to_none=True)
                loss_per_example(model(x), y).mean().backward()
                optimizer.step()
            done = stop
            curve.append(evaluate(model, probe).loss.double().mean())
    curve = torch.stack(curve).cpu()
    if not bool(curve.isfinite().all()):
        first = steps[int((~curve.isfinite()).nonzero()[0])]
        raise ValueError(
            f"the loss is NaN or infinite after {first} relearning steps; the usual cure is a "
            f"smaller learning rate than {config.lr:g}"
        )
    return curve


def _endless(data, size: int, seed: int, device) -> Iterator:
    order = torch.Generator().manual_seed(seed)
    for _ in repeat(None):
        yield from batches(data, size, order=order, device=device)


def relearn_area(unlearned: Tensor, retrained: Tensor, original: Tensor) -> float:
    """How much of the original's head start is left: 0 as the retrained model, 1 as the original.

        R = sum_t (L_r(t) - L_u(t)) / sum_t (L_r(t) - L_o(t))

    Below 0 the model relearns more slowly than a retrained one: it was damaged, not made to forget.
    Steps that double make it an area over the logarithm of time.

    Chapter: 2
    Shapes: three curves (T,) of `relearn_curve` on the same steps
    Target: 0, within what pairs of retrained models give.
    Cannot see: knowledge that these steps do not bring back.
    Raises: ValueError if the curves differ in length, are not finite, or the original has no head
        start on the retrained model
    Example:
        >>> relearn_area(torch.tensor([1., 1.]), torch.tensor([2., 2.]), torch.tensor([0., 0.]))
        0.5
    """
    curves = [torch.as_tensor(c).double() for c in (unlearned, retrained, original)]
    if len({c.shape for c in curves}) > 1 or curves[0].ndim != 1 or not len(curves[0]):
        raise ValueError(
            "the three curves must be taken at the same steps, got shapes "
            + ", ".join(str(tuple(c.shape)) for c in curves)
        )
    if not all(bool(c.isfinite().all()) for c in curves):
        raise ValueError("a relearning curve must hold finite losses")
    unlearned, retrained, original = curves
    head_start = (retrained - original).sum().item()
    if head_start <= 0:
        raise ValueError(
            "the original has no head start: it does not relearn faster than the retrained model, "
            "so there is nothing to compare with"
        )
    return (retrained - unlearned).sum().item() / head_start
