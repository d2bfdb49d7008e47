"""Blindspot unlearning: copy, on what is to be forgotten, a model that has never seen it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilearn.checks import NOT_NEGATIVE, check_settings, device_of
from minilearn.cost import Cost
from minilearn.data import Examples, first_of, has_numbers
from minilearn.losses import Loss, check_loss, copying_loss, mean_loss
from minilearn.models import activations, chain, check_architecture, check_layers, copy_of
from minilearn.parts import recipes
from minilearn.parts.attention import attention_gap, check_axis, check_maps
from minilearn.parts.teachers import answer_and_maps, blindspot_model, check_names
from minilearn.run import File, Run, Watch
from minilearn.training import Training
from minilearn.unlearn import Unlearned, method


@dataclass(frozen=True)
class Blindspot:
    """How the student copies, and how its teacher, the blindspot model, is trained.

    Args:
        epochs: the student's passes over all data, as in the paper
        batch_size: examples per step; released 256
        lr: learning rate of the student (Adam), as in the paper
        beta: weight of the attention term, as in the paper
        layers: names of the layers whose attention is copied; None: `models.chain`
        axis: that an attention map averages; see `parts.attention.attention_map`
        loss: "auto", the absolute error; "squared"; Quantile, whose levels are copied one by one
        teacher: training of the blindspot model, as in the paper, with the student's loss
    """

    epochs: int = 1
    batch_size: int = 64
    lr: float = 1e-3
    beta: float = 50.0
    layers: tuple[str, ...] | None = None
    axis: int | None = 1
    loss: Loss = "auto"
    teacher: Training = Training(epochs=2, lr=1e-2)

    def __post_init__(self):
        rules = {"layers": check_names, "axis": check_axis, "teacher": Training}
        check_settings(self, beta=NOT_NEGATIVE, **rules)
        check_loss(self.loss)
        check_settings(self.teacher, loss=("auto",))  # it has the loss of the student

    @classmethod
    def paper(cls, dataset: str, source: str = "paper") -> Blindspot:
        """The recipe for a data set of `recipes.BLINDSPOT`; "file": of the authors' notebook."""
        recipe = recipes.published(recipes.BLINDSPOT, dataset, source=source)
        return cls(**recipe | {"teacher": Training(**recipe["teacher"])})


@method
def blindspot(
    model: nn.Module,
    forget: Tensor,
    retain: Examples,
    *,
    fresh: Callable[[], nn.Module],
    teacher: nn.Module | None = None,
    config: Blindspot = Blindspot(),
    seed: int = 0,
    watch: Watch | None = None,
    checkpoint: File | None = None,
) -> Unlearned:
    """Train a blindspot model briefly without the forget set; the student copies it there alone.

        L = mean over the batch of   |f(x) - b(x)| + beta sum_j AT_j(x)   where x is forgotten,
                                     |f(x) - y|                           where x is retained

    b is the blindspot model: freshly initialised, a few epochs on the retained data, then frozen.
    AT_j is `attention_transfer` at layer j, and `attention_gap` their sum. With c the forgotten
    share of the batch this mean is exactly the published c (L_f + L_att) + (1 - c) L_r.

    Args: forget: (N_f, ...) inputs alone. retain: Examples or a dataset with numbers as targets.
        fresh: makes a new network. teacher: used as it is, and its training is not in the cost.
        seed, watch, checkpoint: as in `Run`
    Paper: Tarun et al. 2023, Blindspot unlearning.          Chapter: 3
    Differs: the teacher runs on the forgotten rows only, to the same end; from the authors' code:
        the attention of activations (B, D) is refused or left out, there it is identically 0
        (unlearn.py:48-62); for quantiles the copy is the absolute error level by level; the
        teacher keeps its last weights: for those that validate best give one as `teacher`
    Raises: ValueError if retain has class labels, `fresh` makes another network, a layer is missing
    """
    if not has_numbers(retain):
        raise ValueError("blindspot copies numbers, but these targets are class labels")
    layers = chain(model) if config.layers is None else config.layers
    check_layers(model, layers)
    cost = Cost()
    if config.layers and config.beta:
        check_maps(model, first_of(forget, device_of(model)), layers, config.axis, cost)
    if teacher is None:
        teacher = blindspot_model(model, fresh, retain, config, seed, checkpoint, cost)
    check_architecture(model, teacher)
    student = copy_of(model)

    def loss(x_forget, x_retain, y_retain):
        n = len(x_forget)
        with activations(student, layers) as maps:
            out = student(torch.cat([x_forget, x_retain]))
        if not n:
            return mean_loss(out, y_retain, loss=config.loss)
        answer, maps_teacher = answer_and_maps(teacher, x_forget, layers, out[:n].shape)
        skip = config.layers is None  # of chosen layers none is passed over in silence
        gap = attention_gap(maps, maps_teacher, layers, n, config.axis, skip) if config.beta else 0
        return copying_loss(out, answer, y_retain, config.beta * gap, config.loss)

    about = {"data": (forget, retain), "teacher": teacher}
    with Run(student, config, seed, watch, checkpoint, cost=cost, **about) as run:
        run.adam(config.lr)
        for _ in run.epochs(config.epochs):
            batches = run.mixed(forget, retain, config.batch_size)
            for x_forget, (x_retain, y_retain) in batches:
                run.step(loss, x_forget, x_retain, y_retain)
                run.cost.touch("forget", forward=len(x_forget))  # the teacher's
                run.cost.trained(forget=len(x_forget), retain=len(x_retain))
    return run.unlearned("blindspot")
