"""SCRUB: move away from the original on what is to be forgotten, stay near it on the rest."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from minilearn.checks import NOT_NEGATIVE, POSITIVE, check_settings, whole
from minilearn.data import Examples, has_numbers, pair
from minilearn.evaluation import frozen_logits, logits_of, number_of_classes
from minilearn.losses import divergence, mean_loss
from minilearn.models import copy_of
from minilearn.run import File, Run, Watch
from minilearn.unlearn import Unlearned, method


@dataclass(frozen=True)
class SCRUB:
    """How long to move away, and how the retained losses are weighed.

    Args:
        epochs: passes over the retained data
        ascents: m; each of the first m epochs begins with a pass over the forget set
        batch_size: of the retained data
        forget_batch: of the forget set
        lr: learning rate (Adam), as in the authors' experiments
        gamma: weight of the retained cross-entropy, as there
        alpha: weight of the retained divergence, as there
        temperature: of both divergences, as there
    """

    epochs: int = 10
    ascents: int = 3
    batch_size: int = 64
    forget_batch: int = 64
    lr: float = 5e-4
    gamma: float = 1.0
    alpha: float = 0.5
    temperature: float = 2.0

    def __post_init__(self):
        counts = {"ascents": whole(0), "forget_batch": whole(1)}
        check_settings(self, **counts, gamma=NOT_NEGATIVE, alpha=NOT_NEGATIVE, temperature=POSITIVE)


@method
def scrub(
    model: nn.Module,
    forget: Tensor,
    retain: Examples,
    *,
    config: SCRUB = SCRUB(),
    seed: int = 0,
    watch: Watch | None = None,
    checkpoint: File | None = None,
) -> Unlearned:
    """Pass over the forget set and away from the original, over the retained set and towards it.

        epochs 1 to m, first:   maximise  KL_T(f_o(x) || f(x))                   over the forget set
        every epoch, then:      minimise  gamma CE + alpha KL_T(f_o(x) || f(x))  over the retained

    KL_T is the divergence at temperature T, times T^2. Labels of the forget set are not used.
    Without dropout and batch normalisation the first divergence is zero and its gradient is
    rounding, which Adam follows all the same: in which direction the model goes away is chance.

    Args: forget: (N_f, ...) inputs alone. retain: Examples or a dataset with class labels.
        seed, watch, checkpoint: as in `Run`
    Paper: Kurmanji et al. 2023, SCRUB.          Chapter: 9
    Differs: without the rewinding variant, which keeps the epoch whose error on the forget set is
        nearest to that on unseen examples of its kind. With these settings the authors' notebook
        (small_scale_unlearning.ipynb) also has a weight decay of 0.1, a rate that falls to a tenth
        after epochs 5, 8 and 9, and batches of 32 retained examples
    Raises: ValueError if retain has no class labels; NonFiniteLoss
    """
    if has_numbers(retain):
        raise ValueError("scrub compares class probabilities, but these targets are numbers")
    classes = number_of_classes(model, retain)
    original = copy_of(model)
    student = copy_of(model)

    def logits_and_divergence(x):
        original_logits = frozen_logits(original, x)
        logits = logits_of(student, x)
        return logits, divergence(original_logits, logits, config.temperature).mean()

    def away(x):
        _, kl = logits_and_divergence(x)
        return -kl

    def near(x, y):
        logits, kl = logits_and_divergence(x)
        cross_entropy = mean_loss(logits, y, classes)
        return config.gamma * cross_entropy + config.alpha * kl

    data = forget, retain
    with Run(student, config, seed, watch, checkpoint, data=data, original=original) as run:
        run.adam(config.lr)
        for epoch in run.epochs(config.epochs):
            if epoch < config.ascents:
                for x in run.batches(forget, config.forget_batch):
                    run.step(away, x)
                    run.cost.trained(forget=len(x))
                    run.cost.touch("forget", forward=len(x))  # the original's
            for x, y in map(pair, run.batches(retain, config.batch_size)):
                run.step(near, x, y)
                run.cost.trained(retain=len(x))
                run.cost.touch("retain", forward=len(x))  # the original's
    return run.unlearned("scrub")
