"""The verdict that the measured rows give on a claim of `book/claims.py`.

Of several devices and sizes the one with the most runs is judged. Of several settings of a method
each is judged, and named by what tells it from the others: which of them stands first in the file
decides nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from math import nan

import pandas

from book.claims import CLAIMS, Claim
from book.experiments import told_apart
from minilearn.metrics.report import t_half_width

Parts = dict[str, pandas.DataFrame]  # by method: its rows of one setting


@dataclass(frozen=True)
class Verdict:
    """What the rows say: a word, the mean, half of its interval, seeds, and where it was measured.

    `setting` tells it from the verdicts on other settings, "" where there are none. `overflowed`
    counts the runs of the methods that left no model and so no number.
    """

    word: str
    mean: float = nan
    half: float = nan
    seeds: int = 0
    device: str = ""
    size: str = ""
    setting: str = ""
    overflowed: int = 0

    @property
    def runs(self) -> int:
        """How many runs it stands on, with a number or without."""
        return self.seeds + self.overflowed


NOT_MEASURED = Verdict("not measured")


def judged(
    read: Callable[[str], pandas.DataFrame], claims: tuple[Claim, ...] = CLAIMS
) -> list[tuple[Claim, Verdict]]:
    """Every claim with each of its verdicts; `read(experiment)` gives the rows.

    Raises: ValueError as `verdicts`
    """
    files = {name: read(name) for name in {claim.experiment for claim in claims} if name}
    found = []
    for claim in claims:
        own = verdicts(claim, files[claim.experiment]) if claim.experiment else [NOT_MEASURED]
        found += [(claim, verdict) for verdict in own]
    return found


def verdicts(claim: Claim, rows: pandas.DataFrame) -> list[Verdict]:
    """A verdict for every setting, of the device and size with the most runs.

    Raises: ValueError if a seed of one setting has two numbers
    """
    best = [NOT_MEASURED]
    for (device, size), own in rows.groupby(["device", "size"], sort=False):
        if claim.size and size.split(",")[0] != claim.size:
            continue
        found = []
        for setting, parts in settings(claim, own):
            verdict = judge(claim, parts, device, size, setting)
            if verdict.runs:
                found.append(verdict)
        best = max(best, found, key=lambda some: max((one.runs for one in some), default=0))
    return best


def settings(claim: Claim, rows: pandas.DataFrame) -> Iterator[tuple[str, Parts]]:
    """Every combination of the settings of a claim's methods: its name, and the methods' rows."""
    methods = [claim.method, claim.other, "retrained" if claim.how == "nearer" else ""]
    choices = []
    for method in filter(None, methods):
        chosen = _chosen(claim, rows, method)
        by_config = dict(list(chosen.groupby("config", sort=False))) or {"": chosen}
        names = told_apart(by_config)
        choices.append([(method, names[config], own) for config, own in by_config.items()])
    for combination in product(*choices):
        name = ", ".join(words for _, words, _ in combination if words)
        yield name, {method: own for method, _, own in combination}


def judge(claim: Claim, parts: Parts, device: str, size: str, setting: str) -> Verdict:
    """Held, or not held, if the 95 % interval over seeds lies within the bounds, or outside."""
    values = list(quantity(claim, parts))
    mean, half = (sum(values) / len(values), t_half_width(values)) if values else (nan, nan)
    word = "cannot be told"  # so it stays with one seed, or if every run overflowed: half is NaN
    if claim.low <= mean - half and mean + half <= claim.high:
        word = "held"
    if mean + half < claim.low or claim.high < mean - half:
        word = "not held"
    overflowed = set()
    for own in parts.values():
        overflowed |= set(own.loc[own["metric"] == "overflowed", "seed"])
    return Verdict(word, mean, half, len(values), device, size, setting, len(overflowed))


def quantity(claim: Claim, parts: Parts) -> Iterator[float]:
    """The claim's quantity for every seed that has all of its numbers."""
    own, other, gold = (
        by_seed(claim, parts[method]) if method in parts else {}
        for method in (claim.method, claim.other, "retrained")
    )
    if claim.base and len(other) == 1:  # one original stands for all
        other = dict.fromkeys(own, *other.values())
    for seed, number in own.items():
        if claim.how == "value":
            yield number
            continue
        if seed not in other or (claim.how == "nearer" and seed not in gold):
            continue
        if claim.how == "difference":
            yield number - other[seed]
        elif claim.how == "ratio":
            yield number / other[seed]
        else:
            yield abs(number - gold[seed]) - abs(other[seed] - gold[seed])


def by_seed(claim: Claim, rows: pandas.DataFrame) -> dict[str, float]:
    """The numbers of a method with one setting.

    Raises: ValueError if a seed has two
    """
    rows = rows[(rows["metric"] == claim.metric) & (rows["split"] == claim.split)]
    twice = rows[rows["seed"].duplicated(keep=False)]
    if len(twice):
        first = twice.iloc[0]
        raise ValueError(
            f"{claim.experiment}: {first['method']} has {claim.metric} twice for seed "
            f"{first['seed']}, of {' and of '.join(twice['request'].unique())}"
        )
    return dict(zip(rows["seed"], rows["value"].astype(float), strict=True))


def _chosen(claim: Claim, rows: pandas.DataFrame, method: str) -> pandas.DataFrame:
    """A method's rows on the claim's request, or on that of `base`."""
    request, label = claim.request, claim.label
    if claim.base and method == claim.other:
        request, label = claim.base, claim.network
    chosen = rows[(rows["method"] == method) & rows["request"].str.startswith(request)]
    if label:
        chosen = chosen[chosen["config"].str.split(";").str[1].str.strip() == label]
    return chosen
