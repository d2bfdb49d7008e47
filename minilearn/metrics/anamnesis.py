"""The anamnesis index: how long a model relearns, in units of the retrained model's time."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from torch import nn

from minilearn.checks import check_count, check_dataset, check_kind, check_number
from minilearn.evaluation import evaluate
from minilearn.metrics.relearning import ORDINARY, relearn_time
from minilearn.metrics.utility import mean_loss
from minilearn.training import Training

Ratio = tuple[float, float] | None  # at least, at most


@dataclass(frozen=True)
class Anamnesis:
    """The relearn times of two models, a seed each, and their ratio: about 1 is good.

    A time of None is censored: the model was still above the target after `cap` steps. A ratio is a
    pair (at least, at most): twice the same number, unless one of its two times is censored. It is
    None, undefined, if both are, or if the retrained model is at the target before any step.
    """

    unlearned: tuple[int | None, ...]
    retrained: tuple[int | None, ...]
    target: float
    cap: int

    @property
    def ratios(self) -> tuple[Ratio, ...]:
        """Unlearned over retrained time, seed by seed."""
        pairs = zip(self.unlearned, self.retrained, strict=True)
        return tuple(_ratio(u, r, self.cap) for u, r in pairs)

    @property
    def median(self) -> Ratio:
        """Over the seeds where the ratio is defined; None if there is none."""
        return self._over_seeds(statistics.median, statistics.median)

    @property
    def range(self) -> Ratio:
        """The smallest and the largest that a seed's ratio may be; None if none is defined."""
        return self._over_seeds(min, max)

    def _over_seeds(self, low, high) -> Ratio:
        defined = [ratio for ratio in self.ratios if ratio is not None]
        if not defined:
            return None
        lows, highs = zip(*defined, strict=True)
        return low(lows), high(highs)

    def __repr__(self) -> str:
        def shown(times: tuple[int | None, ...]) -> str:
            return " ".join(f"> {self.cap}" if time is None else str(time) for time in times)

        return (
            f"Anamnesis({self._verdict()}; steps to a loss of {self.target:.4g}: "
            f"unlearned {shown(self.unlearned)}, retrained {shown(self.retrained)})"
        )

    def _verdict(self) -> str:
        undefined = self.ratios.count(None)
        if undefined == len(self.ratios):
            early = "the retrained model is at the target before any step"
            late = f"neither model reaches the target within {self.cap} steps"
            return f"AIN undefined: {early if 0 in self.retrained else late}"
        over = f" over {len(self.ratios) - undefined} of {len(self.ratios)} seeds"
        low, high = self.range
        return f"AIN {_words(self.median)}, range {low:.3g} to {high:.3g}{over}"


def _ratio(unlearned: int | None, retrained: int | None, cap: int) -> Ratio:
    if retrained == 0 or (unlearned is None and retrained is None):
        return None
    at_least = (cap if unlearned is None else unlearned) / (retrained or math.inf)
    at_most = (math.inf if unlearned is None else unlearned) / (retrained or cap)
    return at_least, at_most


def _words(ratio: tuple[float, float]) -> str:
    low, high = ratio
    if low == high:
        return f"{low:.3g}"
    if low and high < math.inf:
        return f"{low:.3g} to {high:.3g}"
    return f"< {high:.3g}" if high < math.inf else f"> {low:.3g}"


def anamnesis_index(
    unlearned: nn.Module,
    retrained: nn.Module,
    original: nn.Module,
    data,
    probe,
    *,
    alpha: float = 0.05,
    cap: int | None = None,
    every: int = 1,
    config: Training = ORDINARY,
    seeds: int = 5,
    published: bool = False,
) -> Anamnesis:
    """How long the unlearned model takes to relearn, in units of the retrained model's time.

        AIN = r(theta_u) / r(theta_r),    r: steps until L(probe) <= (1 + alpha) L_o(probe)

    `data` is what is relearned from, in the paper the whole training set; `probe` what it is
    measured on, held-out examples of the forgotten kind; L_o the original's loss there. Both models
    see the same batches, a stream per seed; give `config` the original's recipe, whose epochs and
    schedule are not used. Near 0, something is left; far above 1, more was destroyed than
    forgotten. `cap` is by default 1,000 steps, and with `published=True` those of their 10 epochs.

    Paper: Tarun et al. 2023, the anamnesis index, alpha = 5 %.          Chapter: 3
    Target: 1, within what pairs of retrained models give, which is wide.
    Cannot see: over-forgetting, where the target takes the retrained model so long that an
        untrained one gets there as soon: then a larger alpha tells more. What these steps miss.
    Differs: from Tarun et al.'s code (metrics.py:83-142), which trains the models in place, the
        retrained one first: every call finds it closer to the target, so that a method called later
        has a smaller denominator and looks better, and whatever is measured afterwards is measured
        on relearned models. It counts 1 where no step was needed, takes a missed target for met,
        gives each model a shuffle of its own, and averages batch means. `published=True` does the
        three in the middle, on copies, with their cap
    Raises: ValueError if alpha is negative or no number, seeds, cap or every is below 1, a set is
        empty or has no targets, or a loss diverges
    """
    alpha = check_number("alpha", alpha, 0, ends="[)")
    seeds = check_count("seeds", seeds, 1)
    check_kind("config", config, Training)
    check_dataset(data)
    if cap is None:
        cap = 10 * math.ceil(len(data) / config.batch_size) if published else 1000
    models = {"original": original, "unlearned": unlearned, "retrained": retrained}
    known = {name: _known(name, model, probe, config) for name, model in models.items()}
    target = (1 + alpha) * known["original"]
    settings = {"cap": cap, "every": every, "config": config, "published": published}

    def times(model: nn.Module, first: int) -> tuple[int | None, ...]:
        return tuple(
            relearn_time(model, data, probe, target, seed=first + seed, **settings)
            for seed in range(seeds)
        )

    return Anamnesis(times(unlearned, 0), times(retrained, seeds if published else 0), target, cap)


def _known(name: str, model: nn.Module, probe, config: Training) -> float:
    """A model's mean loss on the probe, before any of the three is relearned."""
    try:
        return mean_loss(evaluate(model, probe, loss=config.loss))
    except ValueError as error:
        raise ValueError(f"the {name} model: {error}") from None
