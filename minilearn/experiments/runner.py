"""Run the units of an experiment that a result file does not have yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from minilearn.experiments.provenance import now
from minilearn.experiments.results import COLUMNS, append_unit, read_rows, unit_of


@dataclass(frozen=True)
class Run:
    """What the command line asks of an experiment.

    `cache` is a folder for trained models, so that an interrupted run need not train them again;
    `fast` says that they are trained inside `precision.fast`, which makes others of them.
    """

    seeds: Sequence[int] = range(5)
    device: torch.device = torch.device("cpu")
    size: str = "toy"
    cache: Path | None = None
    fast: bool = False

    def file(self, *names) -> Path | None:
        """A checkpoint in the cache, None without a cache."""
        names += self.size, self.device.type, *["fast"] * self.fast
        return self.cache and self.cache / "-".join(map(str, names))


@dataclass(frozen=True)
class Unit:
    """What is measured and written together: one method with one seed.

    `measure()` returns what `value` makes; it is called only if the file does not have the unit.
    `config` holds every setting: another config is another unit.
    """

    dataset: str
    request: str
    method: str
    seed: int
    config: str
    measure: Callable[[], list[dict]]


def value(metric: str, split: str, number, unit: str, published="", source: str = "") -> dict:
    """One measured number, and what others publish for it."""
    number = number if isinstance(number, int) else float(number)
    published = str(published) if published != "" else ""
    texts = (metric, split, repr(number), unit, published, source if published else "")
    return dict(
        zip(("metric", "split", "value", "unit", "published", "source"), texts, strict=True)
    )


def run_units(experiment: str, units: Iterable[Unit], path: Path, origin: dict[str, str]) -> int:
    """Measure every unit that the file does not have, and write each as it is done.

    Returns how many were written.

    Raises: ValueError if the file is damaged; whatever a unit raises
    """
    there, written, units = set(map(unit_of, read_rows(path))), 0, list(units)
    for unit in tqdm(units, desc=experiment, unit="unit"):
        texts = {name: str(getattr(unit, name)) for name in ("dataset", "request", "method")}
        texts |= {"experiment": experiment, "seed": str(unit.seed), "config": unit.config}
        if unit_of(texts) not in there:
            found = unit.measure()
            rows = [origin | texts | row | {"utc": now()} for row in found]
            written += append_unit(path, [{name: row[name] for name in COLUMNS} for row in rows])
    return written
