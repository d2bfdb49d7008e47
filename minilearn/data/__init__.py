"""Data as tensors on one device: embedded sets, torchvision's sets, and the papers' own files.

`BANDS` has the targets that Deep Regression Unlearning forgets, as `by_range(train, *BANDS[name])`
wants them: ages up to 30 in AgeDB; in STS-B scores below 2, and, in a second run that a file name
of the authors shows, scores from 4 on.
"""

from __future__ import annotations

import math
from difflib import get_close_matches

from minilearn.data.batches import (
    batches,
    first_of,
    has_numbers,
    items_of,
    mixed,
    pair,
    paired_batches,
)
from minilearn.data.embedded import Split, digits, rotated_digits
from minilearn.data.examples import (
    Examples,
    Unlabelled,
    random_part,
    subset,
    with_targets,
    without_targets,
)
from minilearn.data.faces import AGE_GROUPS, age_groups, agedb, imdb_wiki, utkface
from minilearn.data.folders import imagenet
from minilearn.data.loads import daily_loads, electricity, level
from minilearn.data.places import MissingData
from minilearn.data.reading import targets_of, varies
from minilearn.data.sentences import (
    PAIR_WORDS,
    Corpus,
    pair_vectors,
    sentence_pairs,
    spell,
    stsb,
    stsb_corpus,
    tokens,
    word_vectors,
)
from minilearn.data.table import image_table
from minilearn.data.vision import cifar10, cifar100, fashion_mnist, mnist, svhn

BANDS = {"agedb": (0, 31), "stsb": (0, 2), "stsb_high": (4, math.inf)}  # half-open: [low, high)
EMBEDDED = {f.__name__: f for f in (digits, rotated_digits, sentence_pairs, daily_loads)}
OWN_FILES = {f.__name__: f for f in (agedb, imdb_wiki, utkface, imagenet, stsb, electricity)}
ON_DISK = {f.__name__: f for f in (mnist, fashion_mnist, cifar10, cifar100, svhn)}


def load(name: str, *, root=None, download: bool = False) -> Split:
    """A data set by its name, so that a chapter changes its data in one line.

    Each set has a function of its own name, with its options.

    Args:
        name: of the set, such as "digits"; the error for another name lists all
        root: for the sets that are not embedded, the folder that holds them (else the variable
            MINILEARN_DATA, else ~/.cache/minilearn)
        download: whether to fetch a missing one of torchvision's sets; the others (faces, stsb,
            electricity) you put there yourself, and the error says where
    Raises: ValueError if the name is unknown, or the files are missing or broken
    Example:
        >>> train, test = load("digits")
        >>> len(train)
        1347
    """
    key = str(name)
    if key in EMBEDDED:
        return EMBEDDED[key]()
    if key in ON_DISK:
        return ON_DISK[key](root=root, download=download)
    if key in OWN_FILES:
        return OWN_FILES[key](root=root)
    names = [*EMBEDDED, *OWN_FILES, *ON_DISK]
    close = get_close_matches(key.lower().replace("-", "_"), names, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"there is no data set named {name!r:.80}, only {', '.join(names)}{hint}")
