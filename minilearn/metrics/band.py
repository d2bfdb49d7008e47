"""The null band: where more retrained models would lie, judging by those that there are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minilearn.checks import check_choice, check_count, check_kind, check_number
from minilearn.metrics._words import number, pair

RETRAINED, BAND = "retrained", "null band"
LEVEL = 0.95  # of every interval in a report
FEWEST = 3  # retrained models, with which a report judges
SIDES = {  # where a value that cannot be told from retraining lies
    "two-sided": "inside the null band",
    "low": "no higher than the null band",
    "high": "no lower than the null band",
}


@dataclass(frozen=True)
class Row:
    """One number of the report: `values` has one entry per seed; the interval is Student's at 95 %.

    `band` is where the mean of as many retrained models would lie, see `null_band`; None if there
    are too few to tell, or it would be the whole scale. `examples` is the size of the split, 0
    where there is none. `half` is half of an interval, None where it is the values' own.
    """

    metric: str
    split: str
    method: str
    values: tuple[float, ...]
    band: tuple[float, float] | None
    examples: int = 0
    half: float | None = None

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return sum(self.values) / len(self.values)

    @property
    def half_width(self) -> float:
        """Half the 95 % interval of the mean; NaN with a single seed."""
        return t_half_width(self.values) if self.half is None else self.half

    @property
    def inside(self) -> bool:
        """Whether the mean lies in the null band: this metric cannot tell it from retraining."""
        return self.band is not None and self.band[0] <= self.mean <= self.band[1]

    def __str__(self) -> str:
        """`0.912 ± 0.013 *`: the mean, half of the interval, and whether it lies in the band."""
        if self.metric == "samples":
            return f"{self.mean:,.0f}"
        spread = self.half_width
        text = number(self.mean) if math.isnan(spread) else pair(self.mean, spread, " ± ")
        return text + (" *" if self.inside and self.method != RETRAINED else "")


def t_half_width(
    values: Sequence[float], *, pairwise: bool = False, less: Sequence[float] | None = None
) -> float:
    """Half the width of Student's 95 % interval for the mean of `values`; NaN with fewer than two.

    Pairwise values, each a model's mean over the k - 1 others, lie nearer together than independent
    ones by (k-2) / (k-1), and every model is in all of them, so that their mean varies twice as
    much: see `null_band`. With fewer than three it is NaN. If the mean of `less` is taken off, its
    spread counts too, and the interval is Welch's; NaN if `less` has fewer than two.

    Args: values: independent numbers, a seed each. pairwise: whether they are means over the
        others. less: other independent numbers, as those of the retrained models under a gap
    Example:
        >>> round(t_half_width([1.0, 2.0, 3.0]), 3)
        2.484
    """
    from scipy.stats import sem, t

    k = len(values)
    if k < 2 + pairwise:
        return math.nan
    if less is not None:
        return _welch(values, less)
    wider = 2 * (k - 1) / (k - 2) if pairwise else 1
    return float(t.ppf((1 + LEVEL) / 2, k - 1) * sem(values)) * wider


def _welch(values: Sequence[float], less: Sequence[float]) -> float:
    """Half of Welch's interval for a difference of two means."""
    from scipy.stats import sem, t

    if len(less) < 2:
        return math.nan
    own, other = sem(values) ** 2, sem(less) ** 2
    if own + other == 0:
        return 0.0
    freedom = (own + other) ** 2 / (own**2 / (len(values) - 1) + other**2 / (len(less) - 1))
    return float(t.ppf((1 + LEVEL) / 2, freedom) * (own + other) ** 0.5)


def null_band(
    values: Sequence[float],
    *,
    more: int = 1,
    level: float = LEVEL,
    side: str = "two-sided",
    pairwise: bool = False,
    least: float = -math.inf,
    most: float = math.inf,
    grain: float = 0.0,
    fewest: int = FEWEST,
) -> tuple[float, float] | None:
    """Student's prediction interval for the mean of `more` further retrained models.

        m ± t_{k-1} s sqrt(1/n + 1/k)

    m and s are mean and standard deviation of the k values, n is `more`. If a method is as good as
    retraining, the mean of its n models lies inside as often as `level` says, were the values
    normal; the page of results shows how often it does. With fewer than three values the answer is
    None. The interval of two holds its level, but reaches eleven times their difference to either
    side, which judges nothing; and two models have one distance between them, which has no spread.

    Of a distance only the upper end counts, and the interval reaches down to `least`. Distances are
    skewed to the right, so that the share below that end is nearer to `level` than to the 97.5 %
    of a normal distribution. Of a likeness it is the other way round.

    A pairwise value is a model's mean over the k - 1 others, and so the others' values hold a part
    of it: they lie nearer together by the factor (k-2) / (k-1) than those of further models, which
    s is divided by (the jackknife of a mean over pairs).

    Args:
        values: of the k retrained models, one each
        more: how many models the mean is over that the band is for
        level: the share of such means that lie inside, in (0, 1)
        side: "two-sided", "low" for a distance or "high" for a likeness
        pairwise: whether a value is a mean over the other retrained models
        least, most: the smallest and the largest value that there can be
        grain: what one example is worth, a share's 1 / N: the band reaches at least so far, even
            where all retrained models agree
        fewest: with fewer values there is no band; pairwise values are never fewer than three
    Paper: Arvesen 1969, for the factor of pairwise values.          Chapter: 1, 2
    Raises: ValueError if an argument makes no sense
    Example:
        >>> [round(end, 2) for end in null_band([0.90, 0.92, 0.94, 0.91, 0.93])]
        [0.87, 0.97]
        >>> null_band([0.90, 0.92])
    """
    from scipy.stats import t

    check_choice("side", side, SIDES)
    check_count("more", more, 1)
    check_number("level", level, 0, 1)
    check_kind("values", values, Sequence | np.ndarray)
    values = [check_number("a value", value) for value in values]
    k = len(values)
    if k < max(check_count("fewest", fewest, 2), 2 + pairwise):
        return None
    middle, spread = sum(values) / k, statistics.stdev(values)
    if pairwise:
        spread *= (k - 1) / (k - 2)
    rounding = 1e-9 * max(map(abs, values))  # of adding up in another order
    half = float(t.ppf((1 + level) / 2, k - 1)) * spread * math.sqrt(1 / more + 1 / k)
    half = max(half, grain) + rounding
    low = least if side == "low" else max(middle - half, least - rounding)
    high = most if side == "high" else min(middle + half, most + rounding)
    return low, high
