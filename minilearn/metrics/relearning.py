"""How fast a model learns the forgotten again: what comes back too quickly was never gone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, repeat

import numpy as np
import torch
from torch import Tensor, nn

from minilearn.checks import as_numbers, check_count, check_kind, check_number
from minilearn.data.batches import pair
from minilearn.evaluation import evaluate, number_of_classes
from minilearn.losses import mean_loss
from minilearn.metrics.utility import check_evaluations
from minilearn.models import copy_of
from minilearn.run import Run
from minilearn.training import Training

STEPS = (0, 1, 2, 4, 8, 16, 32)
GENTLE, ORDINARY = Training(lr=1e-4), Training()


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
    mixture. Of `config`, the epochs and the schedule are not used; its loss is what is trained and
    measured.

    Args:
        model: the model that is copied
        data, probe: what is relearned from, and what the loss is measured on
        steps: numbers of training steps after which it is measured, ascending
        config: how it relearns, by default gently (a learning rate of 1e-4)
        seed: of the batches
    Paper: Golatkar et al. 2020 (relearn time), Tarun et al. 2023 (anamnesis index).      Chapter: 2
    Shapes: returns (len(steps),) float64, nats or the loss's unit
    Target: the retrained model's curve.
    Cannot see: what this optimiser cannot reach in so many steps. Depends on rate, batch, mixture.
    Differs: from Tarun et al.'s code, which trains the models that it measures (metrics.py:83-142)
    Raises: ValueError if steps do not ascend from 0 or above, a set is empty, or the loss diverges
    """
    if not isinstance(steps, Sequence | Tensor | np.ndarray) or np.ndim(steps) == 0:
        raise ValueError(f"steps must be a list of whole numbers, got {type(steps).__name__}")
    steps = [check_count("a step", step, 0) for step in steps]
    if not steps or steps != sorted(set(steps)):
        raise ValueError(f"steps must be whole numbers that ascend from 0 or above, got {steps}")
    return torch.tensor(_relearn(model, data, probe, steps, config, seed), dtype=torch.float64)


def relearn_time(
    model: nn.Module,
    data,
    probe,
    target: float,
    *,
    cap: int = 1000,
    every: int = 1,
    config: Training = ORDINARY,
    seed: int = 0,
    published: bool = False,
) -> int | None:
    """Steps of training a copy on `data` until its mean loss on `probe` is at most `target`.

    0 if it is so before any step; None if it is not so after `cap` steps: then the time is
    censored, and all that is known is "more than cap". `every=k` looks only every k steps, which
    is faster and rounds up. `published=True` counts as the released code does.

    Args: data: what is relearned from. probe: what the loss is measured on. config: batch size,
        rate, optimiser and loss of the relearning; its epochs and schedule are not used.
        seed: of the order of the batches
    Paper: Golatkar et al. 2020 (relearn time), Tarun et al. 2023 (anamnesis index).      Chapter: 3
    Target: the retrained model's time.
    Cannot see: what this optimiser cannot reach in so many steps. Depends on rate, batch, mixture.
    Differs: from Tarun et al.'s code (metrics.py:83-106), which trains the model itself, steps
        before it looks, so that 1 is its least count, and gives the count at its cap of 10 epochs
        as if the target were met. `published=True` does the same on a copy; give `cap` the steps
        of 10 epochs
    Raises: ValueError if target is no finite number, cap or every is below 1, a set is empty or has
        no targets, or the loss diverges
    """
    if isinstance(target, Tensor) and target.ndim == 0:  # as the mean of an evaluation's losses
        target = target.item()
    target = check_number("target", target)
    cap = check_count("cap", cap, 1)
    every = check_count("every", every, 1)
    stops = [*range(every if published else 0, cap, every), cap]
    losses = _relearn(model, data, probe, stops, config, seed, target)
    reached = losses[-1] <= target or published
    return stops[len(losses) - 1] if reached else None


def _relearn(
    model: nn.Module, data, probe, stops, config: Training, seed: int, target: float = -math.inf
) -> list[float]:
    """The mean loss on `probe` at each stop, up to the first that is at most `target`."""
    check_kind("config", config, Training)
    model = copy_of(model)
    classes = number_of_classes(model, data)
    losses = []

    def loss(x, y):
        return mean_loss(model(x), y, classes, config.loss)

    def over(step: int) -> bool:
        """Measure at a stop; whether it was the last one that is needed."""
        if step not in stops:
            return False
        result = evaluate(model, probe, loss=config.loss)
        if step == 0:  # then no step of ours has broken it
            check_evaluations(result)
        losses.append(result.loss.double().mean().item())
        if not math.isfinite(losses[-1]):
            raise ValueError(
                f"the loss is NaN or infinite after {step} relearning steps; the usual cure is "
                f"a smaller learning rate than {config.lr:g}"
            )
        return losses[-1] <= target or step == stops[-1]

    if over(0):
        return losses
    with Run(model, config, seed=seed, progress=False) as run:
        config.make_optimizer(run)
        for _ in run.epochs(1):  # one without an end: the data are read again and again
            passes = (run.batches(data, config.batch_size) for _ in repeat(None))
            stream = chain.from_iterable(passes)
            for step, batch in enumerate(stream, start=1):
                run.step(loss, *pair(batch))
                if over(step):
                    break
    return losses


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
    curves = [as_numbers("a curve", curve).double() for curve in (unlearned, retrained, original)]
    unlearned, retrained, original = curves
    shapes = [tuple(curve.shape) for curve in curves]
    if len(set(shapes)) > 1 or unlearned.ndim != 1 or not len(unlearned):
        raise ValueError(
            "the three curves must be taken at the same steps, got shapes "
            + ", ".join(map(str, shapes))
        )
    if not torch.stack(curves).isfinite().all():
        raise ValueError("a relearning curve must hold finite losses")
    head_start = (retrained - original).sum().item()
    if head_start <= 0:
        raise ValueError(
            "the original has no head start: it does not relearn faster than the retrained model, "
            "so there is nothing to compare with"
        )
    return (retrained - unlearned).sum().item() / head_start
