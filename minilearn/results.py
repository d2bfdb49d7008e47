"""A file of results: a table of text, a row per number (`COLUMNS`), and whole at every moment.

A unit is in it with all its rows or not at all.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

from minilearn.files import locked, write_whole
from minilearn.metrics.metric import ALL

UNIT = ("experiment", "dataset", "request", "method", "seed", "config")
unit_of = itemgetter(*UNIT)  # which unit a row belongs to
COLUMNS = (
    *("experiment", "dataset", "request", "method", "seed", "split", "metric", "value", "unit"),
    *("device", "torch", "triton", "minilearn", "commit", "utc", "command", "config"),
    *("published", "source"),  # a figure that others give for the row, and who
)
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")


def read_rows(path: str | os.PathLike) -> list[dict[str, str]]:
    """All rows of a result file, none if there is no file; ValueError if it is not whole."""
    path = Path(path).expanduser()
    if not path.exists():
        return []
    try:
        return _parsed(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, csv.Error) as error:
        reason = f"{path} is no whole result file: {error}; it is left as it is: repair or move it"
        raise ValueError(reason) from None


def _parsed(text: str) -> list[dict[str, str]]:
    lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    if not lines or tuple(lines[0]) != COLUMNS:
        raise ValueError("its first line does not name the columns of results")
    if not text.endswith("\n"):
        raise ValueError("its last line is cut short")
    for number, line in enumerate(lines, 1):
        if len(line) != len(COLUMNS):
            raise ValueError(f"line {number} has {len(line)} of {len(COLUMNS)} fields")
    return _checked([dict(zip(COLUMNS, line, strict=True)) for line in lines[1:]])


def append_unit(path: str | os.PathLike, rows: Sequence[dict[str, str]]) -> bool:
    """Add the rows of one unit to a result file, all of them or none; False if it has the unit.

    A new file replaces the old one, under a lock that ends with the process.

    Raises: ValueError if the file or a row is damaged or the rows are of several units; OSError if
        the file cannot be written
    """
    path = Path(path).expanduser()
    rows = _checked(rows)
    if len({unit_of(row) for row in rows}) != 1:
        raise ValueError("the rows of exactly one unit are written at a time")
    with locked(path):
        before = read_rows(path)
        if unit_of(rows[0]) in map(unit_of, before):
            return False
        text = io.StringIO(newline="")
        lines = [COLUMNS, *(row.values() for row in [*before, *rows])]
        csv.writer(text, lineterminator="\n").writerows(lines)
        write_whole(path, lambda part: part.write_bytes(text.getvalue().encode("utf-8")))
    return True


def _checked(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    keys = set()
    for row in rows:
        where = f"{row.get('metric')} of {row.get('method')}"
        if tuple(row) != COLUMNS or not all(isinstance(text, str) for text in row.values()):
            raise ValueError(f"the row of {where} has other columns than those of results")
        if re.search(r"[\n\r]", "".join(row.values())):
            raise ValueError(f"the row of {where} holds a line break")
        if not (NUMBER.fullmatch(row["value"]) and row["seed"].isdecimal()):
            raise ValueError(f"{where} has value {row['value']!r} and seed {row['seed']!r}")
        if row["split"] not in ("", *ALL):
            raise ValueError(f"{where} has split {row['split']!r}, which is none of {ALL}")
        published, source = row["published"], row["source"]
        if bool(published) != bool(source) or not NUMBER.fullmatch(published or "0"):
            raise ValueError(f"{where}: a published figure is a number, and has its source")
        key = (*unit_of(row), row["split"], row["metric"])
        if key in keys:
            raise ValueError(f"it has {row['metric']} of one unit and split twice")
        keys.add(key)
    return list(rows)
