"""What `make gpu` measures: the rows that want a GPU, in the order of their worth."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from book.experiments import REPOSITORY, Run, kept_units
from minilearn.data.places import data_root, missing
from minilearn.data.vision import _files
from minilearn.sweep import missing as unmeasured

STORED = REPOSITORY / "book" / "results"


@dataclass(frozen=True)
class Job:
    """Units of one experiment.

    Args:
        title: in words
        experiment, seeds, fast: as on the command line of an experiment
        only: a pattern of the units, "dataset: request: method"
        each: seconds that a unit is expected to take
        data: the set of torchvision's that it reads; "": none
    """

    title: str
    experiment: str
    only: str
    each: float
    data: str = ""
    seeds: tuple[int, ...] = (0,)
    fast: bool = False


# The seconds are guesses for an H100, on the safe side; a visit goes on with what it measures.
# (Fashion-MNIST has its five seeds in the book.)
JOBS = (
    Job("L2UL: the ResNet-18", "l2ul_cifar10", "*: nothing: *", 240, "CIFAR10"),
    Job("L2UL, 16 items, seed 0", "l2ul_cifar10", "*: 16 random items: *", 20, "CIFAR10"),
    Job("speed of L2UL", "speed", "uniform images: *", 75),
    Job("speed of Blindspot", "speed", "rotated_digits: targets*", 75),
    Job("kernels", "kernels", "*", 10),
    Job("L2UL, seed 0", "l2ul_cifar10", "*: * random item*", 20, "CIFAR10"),
    Job("speed of LAF's parts", "speed", "mnist: *: laf_[sv]*", 150, "MNIST"),
    Job("speed of LAF", "speed", "mnist: *", 330, "MNIST"),
    Job("L2UL, seeds 1 and 2", "l2ul_cifar10", "*: * random item*", 20, "CIFAR10", (1, 2)),
    Job("LAF on CIFAR-10", "laf_cifar10", "*: class: *", 120, "CIFAR10", (1, 2), fast=True),
    Job("LAF on MNIST", "laf_mnist", "*", 45, "MNIST", tuple(range(5)), fast=True),
    Job("an epoch on made faces", "speed", "made faces: *", 75),
    Job("methods beside bare loops", "speed", "*: overhead: *", 20),
    Job("LAF on CIFAR-10, two more tasks", "laf_cifar10", "*", 180, "CIFAR10", (0, 1, 2), True),
)
PLAIN = ("l2ul_cifar10",)  # right without our kernels and without recorded steps


def waiting(job: Job, run: Run, out: Path) -> list[tuple[int, str]]:
    """The job's units that neither `out` nor the book has: position in `units_of`, and words.

    Raises: MissingData if its set is not there; ValueError if a file of results is damaged
    """
    for file in _files(job.data) if job.data else ():
        if not (data_root() / file).is_file():
            how = "`make gpu-data` packs it where it is"
            raise missing(job.data, f"the file {file} belongs", data_root(), how)
    units = kept_units(job.experiment, run)
    left = units
    for folder in (out, STORED):
        left = unmeasured(job.experiment, left, folder / f"{job.experiment}.csv")
    left = {id(unit) for unit in left}
    return [
        (index, f"{job.experiment}: {unit.request}: {unit.method}, seed {unit.seed}; {unit.config}")
        for index, unit in enumerate(units)
        if id(unit) in left
        and fnmatchcase(f"{unit.dataset}: {unit.request}: {unit.method}", job.only)
    ]
