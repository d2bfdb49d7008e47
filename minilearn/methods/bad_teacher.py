"""Bad teaching: on what is to be forgotten, copy a network that has learnt nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilearn.checks import FRACTION, check_settings, device_of
from minilearn.data import random_part
from minilearn.evaluation import frozen_logits, logits_of
from minilearn.losses import divergence
from minilearn.models import build, check_architecture, copy_of
from minilearn.run import File, Run, Watch
from minilearn.unlearn import Unlearned, method

BAD_TEACHER = 30_000  # added to the seed, so that the bad teacher has first weights of its own


@dataclass(frozen=True)
class BadTeacher:
    """How the student copies its two teachers; all as in the authors' experiments.

    Args:
        epochs: passes over the forgotten and the chosen retained inputs
        batch_size: inputs per step
        lr: learning rate (Adam)
        fraction: of the retained inputs that are read
    """

    epochs: int = 1
    batch_size: int = 256
    lr: float = 1e-4
    fraction: float = 0.3

    def __post_init__(self):
        check_settings(self, fraction=FRACTION)


@method
def bad_teacher(
    model: nn.Module,
    forget: Tensor,
    retain: Tensor,
    *,
    fresh: Callable[[], nn.Module],
    config: BadTeacher = BadTeacher(),
    seed: int = 0,
    watch: Watch | None = None,
    checkpoint: File | None = None,
) -> Unlearned:
    """Copy an untrained network on forgotten inputs and the original on some of the retained ones.

        L = mean over the batch of KL(t(x) || f(x)),   t untrained where x is forgotten,
                                                       t the original where x is retained

    No label is used. An untrained network's answer to a forgotten input is nearly uniform. A
    retrained model says more: even of a class that is gone it names the classes that look like it.

    Args: forget, retain: (N, ...) inputs alone, or datasets of them. fresh: makes a new network.
        seed, watch, checkpoint: as in `Run`
    Paper: Chundawat et al. 2023, bad teaching (T-S in Shen et al. 2024).          Chapter: 9
    Differs: the divergence is summed over classes; the authors' code divides by their number too,
        which Adam does not notice
    Raises: ValueError if `fresh` makes another architecture, or there is one class; NonFiniteLoss
    """
    bad = build(fresh, seed + BAD_TEACHER).to(device_of(model))
    check_architecture(model, bad)
    good = copy_of(model)
    student = copy_of(model)
    chosen = random_part(retain, config.fraction, seed)

    def loss(x_forget, x_retain):
        pairs = [(bad, x_forget), (good, x_retain)]  # of small batches one may be without rows
        taught = torch.cat([frozen_logits(teacher, x, 2) for teacher, x in pairs if len(x)])
        said = logits_of(student, torch.cat([x_forget, x_retain]))
        return divergence(taught, said).mean()

    data = forget, retain
    with Run(student, config, seed, watch, checkpoint, data=data, teachers=(bad, good)) as run:
        run.adam(config.lr)
        for _ in run.epochs(config.epochs):
            for x_forget, x_retain in run.mixed(forget, chosen, config.batch_size):
                run.step(loss, x_forget, x_retain)
                run.cost.trained(forget=len(x_forget), retain=len(x_retain))
                run.cost.touch("forget", forward=len(x_forget))  # the bad teacher's
                run.cost.touch("retain", forward=len(x_retain))  # the good one's
    return run.unlearned("bad_teacher")
