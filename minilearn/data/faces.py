"""Faces with ages, the data of Deep Regression Unlearning: AgeDB, IMDB-WIKI, UTKFace.

None of them may be passed on or fetched by a program: the error says what belongs where.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import torch

from minilearn.checks import check_choice
from minilearn.data.embedded import Split
from minilearn.data.examples import Examples, kind_of
from minilearn.data.places import data_root, missing, own_file
from minilearn.data.table import gather, read_images, table_rows

PARTS = ("train", "val", "test")
OLDEST = 120
SUFFIXES = (".jpg", ".jpeg", ".png")
# Where the age groups of Cha et al. 2024 begin, and where the last one ends.
AGE_GROUPS = {
    "tnn": (0, 10, 15, 20, 25, 30, 40, 50, 60, 120),
    "mfd": (0, 20, 41, 120),
    "balanced": (0, 20, 30, 45, 120),
    "groups": (0, 4, 13, 20, 31, 46, 61, 120),
    "tens": (0, *range(11, 112, 10), 120),
}


def agedb(*, root=None, size: int = 32, held_out: str = "test", on_bad: str = "refuse") -> Split:
    """AgeDB: portraits of known people from 1 to 101 years old; predict the age.

    Files: AgeDB/agedb.csv, the table with the columns age, path, split of Yang et al. 2021 (their
    imbalanced-regression benchmark, whose validation and test parts are balanced over the ages),
    and the pictures beside it, AgeDB/14_MariaCallas_32_f.jpg. `groups` numbers the people, whose
    names stand in the file names: equal numbers are one person, who may be in both parts.

    Args:
        root: see `data_root`
        size: pixels of a side
        held_out: "val" gives the validation part in place of the test part
        on_bad: what happens to a row without a picture or an age, see `image_table`
    Source: Moschoglou et al., AgeDB, CVPR Workshops 2017, on request from its authors
    Shapes: inputs (N, 3, size, size) float32 in [0, 1]; targets (N,) float32, years; groups (N,)
        int64
    Differs: from the paper's pictures, which are also cropped and flipped at random in training
    Raises: MissingData if the table is not there; ValueError as image_table does, if the column
        split holds anything but train, val and test, or a part is empty
    """
    how = "ask the authors of AgeDB for the pictures and take the table from Yang et al. 2021"
    table = own_file("AgeDB", "AgeDB/agedb.csv", how, root)
    parts = _by_split(table, table.parent.parent, size, held_out, on_bad)
    people = sorted({_person(path) for _, paths in parts for path in paths})
    number = {person: i for i, person in enumerate(people)}
    train, test = (
        replace(faces, groups=torch.tensor([number[_person(path)] for path in paths]))
        for faces, paths in parts
    )
    return Split(train, test)


def imdb_wiki(
    *, root=None, size: int = 32, held_out: str = "test", on_bad: str = "refuse"
) -> Split:
    """IMDB-WIKI: faces of actors and of people in Wikipedia; predict the age, which is rough.

    Files: IMDB-WIKI/imdb_wiki.csv, the table with the columns age, path, split of Yang et al. 2021
    (of half a million pictures it keeps those with one clear face), and the unpacked pictures
    beside it in imdb_crop and wiki_crop. At 32 pixels they take some 2.5 GB of memory.

    Args: as agedb
    Source: Rothe, Timofte and Van Gool, IJCV 2018
    Shapes: inputs (N, 3, size, size) float32 in [0, 1]; targets (N,) float32, years
    Differs: as agedb
    Raises: as agedb
    """
    how = "take the cropped faces from its authors and the table from Yang et al. 2021"
    table = own_file("IMDB-WIKI", "IMDB-WIKI/imdb_wiki.csv", how, root)
    (train, _), (test, _) = _by_split(table, table.parent, size, held_out, on_bad)
    return Split(train, test)


def utkface(*, root=None, size: int = 32, on_bad: str = "refuse") -> Split:
    """UTKFace: faces from 0 to 116 years old; predict the age, the first number of the file name.

    Files: UTKFace/AGE_GENDER_RACE_DATE.jpg or .jpg.chip.jpg, also in folders below; of a name,
    only the age is read. There is no official split. Ours needs no list and stays as it is when
    files come or go: a picture is in the test set if the first byte of the SHA-256 sum of its
    name, up to the first dot, is below 51 (one in five).

    Args: as agedb
    Source: Zhang, Song and Qi, CVPR 2017
    Shapes: as imdb_wiki, in the order of the paths
    Raises: MissingData if there are no pictures; ValueError as image_table does (a name without an
        age up to 120 is bad, too), or if a part is empty
    """
    folder = data_root(root) / "UTKFace"
    pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not pictures:
        what = "its pictures, such as 25_0_2_20170116174525125.jpg.chip.jpg, belong"
        raise missing("UTKFace", what, folder, "take them from its authors")
    rows = [(str(path.relative_to(folder)),) for path in pictures]
    rows = gather(rows, _aged, f"pictures in {folder}", on_bad)
    train, _ = _read_part(folder, [r for r in rows if not _held(r)], "train", folder, size, on_bad)
    test, _ = _read_part(folder, [r for r in rows if _held(r)], "test", folder, size, on_bad)
    return Split(train, test)


def age_groups(faces: Examples, grouping: str = "balanced") -> Examples:
    """The same faces, the age group in place of the age: a classification set.

    A group runs from its first age up to, not including, the next one's; the last one includes 120.

    Args: faces: with ages as targets. grouping: a key of `AGE_GROUPS`
    Paper: Cha et al. 2024 unlearn faces in such groups; see `AGE_GROUPS` for the five groupings.
    Shapes: faces with targets (N,) float32, years; returns targets (N,) int64
    Differs: from the released code (utils.py:36-60) by the age of 120 alone, which has no group
        there
    Raises: ValueError if there is no such grouping, or an age lies outside 0..120
    Example:
        >>> ages = Examples(torch.zeros(4, 2), torch.tensor([0.0, 19.0, 20.0, 120.0]))
        >>> age_groups(ages, "mfd").targets
        tensor([0, 0, 1, 2])
    """
    check_choice("grouping", grouping, AGE_GROUPS)
    if not isinstance(faces, Examples) or faces.task != "regression" or faces.targets.ndim != 1:
        got = kind_of(getattr(faces, "targets", faces))
        raise ValueError(f"age_groups needs Examples with one age each, as a float, got {got}")
    low = float(faces.targets.min())
    high = float(faces.targets.max())
    if low < 0 or high > OLDEST:
        raise ValueError(f"ages lie in 0..{OLDEST}, but these run from {low:g} to {high:g}")
    edges = torch.tensor(AGE_GROUPS[grouping][1:-1], device=faces.device)
    return faces.with_targets(torch.bucketize(faces.targets, edges, right=True))


def _by_split(table: Path, folder: Path, size: int, held_out: str, on_bad: str):
    """(Examples, their paths) of the training and of the held-out part."""
    check_choice("held_out", held_out, PARTS[1:])
    rows = table_rows(table, "path", "age", "split")
    rows = gather(rows, _in_a_part, f"rows of {table}", on_bad)
    return [
        _read_part(folder, [row for row in rows if row[3] == part], part, table, size, on_bad)
        for part in ("train", held_out)
    ]


def _in_a_part(row: tuple) -> tuple:
    if row[3] not in PARTS:
        raise ValueError(f"split is {row[3]!r}, not train, val or test")
    return row


def _read_part(folder: Path, rows: list[tuple], part: str, source: Path, size: int, on_bad: str):
    """(Examples, their paths) of one part of a set, whose rows come from `source`."""
    if not rows:
        raise ValueError(f"there is no picture for the part {part!r} in {source}: it needs one")
    return read_images(folder, rows, f"{part} rows of {source}", size=size, on_bad=on_bad)


def _person(path: str) -> str:
    """The name in NUMBER_NAME_AGE_GENDER.jpg; a file named in another way is a person of its own"""
    fields = Path(path).stem.split("_")
    return fields[1].strip() if len(fields) == 4 else path


def _aged(row: tuple) -> tuple:
    """(place, path, age) of a picture, both its path."""
    (path,) = row
    age = re.match(r"(\d{1,3})_", Path(path).name)
    if not age or int(age[1]) > OLDEST:
        raise ValueError(f"the name does not begin with an age from 0 to {OLDEST} and a _")
    return path, path, age[1]


def _held(row: tuple) -> bool:
    """Whether a picture of UTKFace is in the test set."""
    name = Path(row[1]).name.split(".")[0]
    return hashlib.sha256(name.encode()).digest()[0] < 51
