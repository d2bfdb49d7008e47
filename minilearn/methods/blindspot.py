"""Blindspot unlearning: copy, on what is to be forgotten, a model that has never seen it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.data.checks import check_count, check_number
from minilearn.data.examples import Examples, batches, mixed
from minilearn.evaluation import pair
from minilearn.losses import Loss, attention_gap, loss_per_example
from minilearn.methods.contract import (
    Unlearned,
    build,
    checked,
    checked_config,
    checked_inputs,
    copy_of,
    published,
    same_architecture,
)
from minilearn.models import activations, chain, device_of, mode
from minilearn.training import Training, fit

TEACHERS = 10_000  # is added to its seed: a retrained model, the yardstick, must begin otherwise


@dataclass(frozen=True)
class Blindspot:
    """How the student copies, and how its teacher, the blindspot model, is trained."""

    epochs: int = 1  # passes of the student over all data; the paper's 1 (ages), 5 (sentences)
    batch_size: int = 64  # the paper's 256
    lr: float = 1e-3  # of the student (Adam), as in the paper
    beta: float = 50.0  # weight of the attention term, as in the paper
    layers: tuple[str, ...] | None = None  # whose attention is copied; None: `models.chain`
    axis: int | None = 1  # that an attention map averages; see `losses.attention_map`
    loss: Loss = "auto"  # absolute error; "squared"; Quantile, whose levels are copied one by one
    teacher: Training = Training(epochs=2, lr=1e-2)  # of the blindspot model, as in the paper

    def __post_init__(self):
        check_number("beta", self.beta, 0, ends="[)")
        if not isinstance(self.layers, tuple | list | None):
            raise ValueError(f"layers must be a tuple of names or None, got {self.layers!r}")
        if self.axis is not None and (not isinstance(self.axis, int) or self.axis == 0):
            raise ValueError(f"axis must be a whole number but 0, or None, got {self.axis!r}")
        checked_config(self.teacher, Training)
        self.training()

    def training(self) -> Training:
        """The part of it that `fit` needs."""
        return Training(self.epochs, self.batch_size, self.lr, loss=self.loss)

    @classmethod
    def paper(cls, dataset: str) -> Blindspot:
        """The published recipe for "agedb" or "stsb"; ValueError for a data set without one."""
        epochs, teachers, loss = published(dataset)
        return cls(epochs, 256, loss=loss, teacher=Training(teachers, 256, 1e-2))


def blindspot(
    model: nn.Module,
    forget: Tensor,
    retain: Examples,
    *,
    fresh: Callable[[], nn.Module],
    teacher: nn.Module | None = None,
    config: Blindspot = Blindspot(),
    seed: int = 0,
    watch=None,
    checkpoint=None,
) -> Unlearned:
    """Train a blindspot model briefly without the forget set; the student copies it there alone.

        L = mean over the batch of   |f(x) - b(x)| + beta sum_j AT_j(x)   where x is forgotten,
                                     |f(x) - y|                           where x is retained

    b is the blindspot model: freshly initialised, a few epochs on the retained data, then frozen.
    AT_j is `losses.attention_transfer` at layer j. With c the forgotten share of the batch this
    mean is exactly the published mixture c (L_f + L_att) + (1 - c) L_r, without a mask. A `teacher`
    that is given is used as it is, and its training does not count in the cost.

    Paper: Tarun et al. 2023, Blindspot unlearning.          Chapter: 3
    Shapes: forget (N_f, ...) inputs alone; retain Examples or a dataset with floating-point targets
    Differs: the teacher runs on the forgotten rows only, which is the same; from the authors' code:
        the attention of activations (B, D) is refused or left out, there it is identically 0
        (unlearn.py:48-62); for quantiles the copy is the absolute error level by level; the
        teacher's loss is `config.loss`, its weights the last: for the best give `teacher`
    Raises: ValueError if a set is empty, forget comes with labels, retain has class labels,
        `fresh` makes another architecture, a layer does not exist or has nothing to compare;
        whatever `fit` raises
    """
    checked_config(config, Blindspot)
    checked_inputs("forget", forget, model), checked("retain", retain, model)
    if not pair(next(batches(retain, 1)))[1].is_floating_point():
        raise ValueError("blindspot copies numbers, but these targets are class labels")
    student, cost, layers = copy_of(model), Cost(), _layers(model, config)
    teacher, spent = _taught(teacher, model, fresh, retain, config, seed, checkpoint)

    def stream(order: torch.Generator) -> Iterator:
        read = mixed(forget, retain, config.batch_size, order=order, device=device_of(model))
        return ((x_f, *pair(kept)) for x_f, kept in read)

    def objective(student, x_f, x_r, y) -> Tensor:
        n = len(x_f)  # known without asking the device
        cost.touch("forget", forward=2 * n, backward=n)
        cost.touch("retain", forward=len(x_r), backward=len(x_r))
        with activations(student, layers) as taps:
            out = student(torch.cat([x_f, x_r]))
        rows = [loss_per_example(out[n:], y, loss=config.loss)] if len(x_r) else []
        rows += [_copying(config, out[:n], taps, teacher, x_f, layers)] if n else []
        return torch.cat(rows).mean()

    about = {"settings": config, "data": (forget, retain), "teacher": teacher}
    options = {"seed": seed, "watch": watch, "checkpoint": checkpoint, "identity": about}
    history = fit(student, stream, config.training(), objective=objective, cost=cost, **options)
    return Unlearned(student, "blindspot", config, seed, history, spent + cost)


def _layers(model: nn.Module, config: Blindspot):
    layers = chain(model) if config.layers is None else config.layers
    with activations(model, layers):  # a layer that is not there is found before any work
        return layers


def _taught(given, model, fresh, retain, config: Blindspot, seed, checkpoint):
    """The blindspot model, trained now unless it was given, and what its training took."""
    recipe, cost = replace(config.teacher, loss=config.loss), Cost()
    seed, path = check_count("seed", seed, 0) + TEACHERS, checkpoint and f"{checkpoint}.teacher"
    teacher = build(fresh, seed).to(device_of(model)) if given is None else given
    same_architecture(model, teacher)
    if given is None:
        fit(teacher, retain, recipe, seed=seed, checkpoint=path, cost=cost)
    return teacher, cost


def _copying(config: Blindspot, out: Tensor, mine: dict, teacher, x: Tensor, layers) -> Tensor:
    """How far the student is from the teacher on n forgotten inputs, answer and attention: (n,)."""
    with mode(teacher, train=False), torch.no_grad(), activations(teacher, layers) as theirs:
        answer = teacher(x)
    if answer.shape != out.shape:
        shapes = f"{tuple(answer.shape)} where the model gives {tuple(out.shape)}"
        raise ValueError(f"the blindspot model gives {shapes}: both must be the same network")
    loss = loss_per_example(out, answer, loss="squared" if config.loss == "squared" else "auto")
    skip = config.layers is None  # of chosen layers none is passed over in silence
    return loss + config.beta * attention_gap(mine, theirs, layers, len(x), config.axis, skip)
