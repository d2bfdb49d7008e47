"""Data as tensors on one device: embedded sets, torchvision's sets, image folders with a table."""

from __future__ import annotations

from difflib import get_close_matches

from minilearn.data import vision
from minilearn.data.embedded import Split, digits, rotated_digits
from minilearn.data.examples import (
    Examples,
    Unlabelled,
    batches,
    subset,
    targets_of,
    without_targets,
)
from minilearn.data.table import image_table
from minilearn.data.vision import MissingData

__all__ = [
    "Examples",
    "MissingData",
    "Split",
    "Unlabelled",
    "batches",
    "digits",
    "image_table",
    "load",
    "rotated_digits",
    "subset",
    "targets_of",
    "without_targets",
]

EMBEDDED = {"digits": digits, "rotated_digits": rotated_digits}
ON_DISK = {
    f.__name__: f
    for f in (vision.mnist, vision.fashion_mnist, vision.cifar10, vision.cifar100, vision.svhn)
}


def load(name: str, *, root=None, download: bool = False) -> Split:
    """A data set by its name, so that a chapter changes its data in one line.

    `root` and `download` are for the sets that are not embedded: the folder that holds them (else
    the variable MINILEARN_DATA, else ~/.cache/minilearn), and whether to fetch a missing one.

    Raises: ValueError if the name is unknown, or the files are missing or broken
    Example:
        >>> train, test = load("digits")
        >>> len(train)
        1347
    """
    if isinstance(name, str) and name in EMBEDDED:
        return EMBEDDED[name]()
    if isinstance(name, str) and name in ON_DISK:
        return ON_DISK[name](root=root, download=download)
    names = [*EMBEDDED, *ON_DISK]
    close = get_close_matches(str(name).lower().replace("-", "_"), names, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"there is no data set named {name!r}, only {', '.join(names)}{hint}")
