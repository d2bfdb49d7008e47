"""Result files: rows of text in long form, those of one unit of work whole or not at all."""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from minilearn.checkpoint import write_whole
from minilearn.metrics.registry import ALL, METRICS

UNIT = ("experiment", "dataset", "request", "method", "seed", "config")
COLUMNS = (
    *("experiment", "dataset", "request", "method", "seed", "split", "metric", "value", "unit"),
    *("device", "torch", "triton", "minilearn", "commit", "utc", "command", "config"),
    *("published", "source"),  # a figure that others give for the row, and who
)
SPLITS = ("", *ALL)
KNOWN = {*METRICS, "seconds", "samples", "peak_bytes", "ratio", "released_seconds"}
KNOWN |= {"steps", "finished", "overflowed", "reached", "agreement"}
KNOWN |= {"bandwidth", "launches", "turns"}  # of `experiments.kernels` and `speed`
KNOWN |= {"asr", "asr_published", "asr_chance"}  # not of `METRICS`: see `metrics.asr`


def unit_of(row: dict[str, str]) -> tuple[str, ...]:
    """Which unit of work a row belongs to: the values of `UNIT`."""
    return tuple(row[name] for name in UNIT)


def read_rows(path: str | os.PathLike) -> list[dict[str, str]]:
    """All rows of a result file; none if there is no file.

    Raises: ValueError with one sentence if it is no whole result file
    """
    path = Path(path)
    if not path.exists():
        return []
    try:
        text = path.read_bytes().decode("utf-8")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        if not lines or tuple(lines[0]) != COLUMNS:
            raise ValueError("its first line does not name the columns of results")
        if not text.endswith("\n"):
            raise ValueError("its last line is cut short")
        return checked_rows([_row(number, line) for number, line in enumerate(lines[1:], 2)])
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, csv.Error) as error:
        raise ValueError(
            f"{path} is no whole result file: {error}; it is left as it is: repair it, or move it "
            "away to begin anew"
        ) from None


def append_unit(path: str | os.PathLike, rows: Sequence[dict[str, str]]) -> bool:
    """Add the rows of one unit to a result file, all of them or none; False if it has the unit.

    The file is written anew beside the old one, which it then replaces, under a lock that ends with
    the process. So it is whole at every moment, and two processes lose nothing.

    Raises: ValueError if the file or a row is damaged, or the rows are of several units; OSError if
        the file cannot be written
    """
    path, rows = Path(path), checked_rows(rows)
    if len({unit_of(row) for row in rows}) != 1:
        raise ValueError("the rows of exactly one unit are written at a time")
    with _locked(path.parent):
        there = read_rows(path)
        if unit_of(rows[0]) in map(unit_of, there):
            return False
        write_whole(path, lambda part: _write(part, [*there, *rows]))
    return True


def checked_rows(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The rows themselves, if every one is a result.

    Raises: ValueError if a row lacks a column, holds something else than one line of text, no
        finite value, an unknown split or metric, or a published figure without its source; or if
        one is there twice
    """
    for row in rows:
        where = f"{row.get('metric')} of {row.get('method')}"
        if tuple(row) != COLUMNS or not all(isinstance(text, str) for text in row.values()):
            raise ValueError(f"the row of {where} has other columns than those of results")
        if any("\n" in text or "\r" in text for text in row.values()):
            raise ValueError(f"the row of {where} holds a line break")
        if not (_finite(row["value"]) and row["seed"].isdecimal()):
            raise ValueError(f"{where} has value {row['value']!r} and seed {row['seed']!r}")
        if row["metric"] not in KNOWN or row["split"] not in SPLITS:
            raise ValueError(f"{where} on {row['split']!r} is not known here")
        if bool(row["published"]) != bool(row["source"]) or not _finite(row["published"] or "0"):
            raise ValueError(f"{where}: a published figure is a number, and has its source")
    seen = Counter((*unit_of(row), row["split"], row["metric"]) for row in rows)
    if seen and max(seen.values()) > 1:
        raise ValueError(f"it has {seen.most_common(1)[0][0][-1]} of one unit and split twice")
    return list(rows)


def _row(number: int, line: list[str]) -> dict[str, str]:
    if len(line) != len(COLUMNS):
        raise ValueError(f"line {number} has {len(line)} of {len(COLUMNS)} fields")
    return dict(zip(COLUMNS, line, strict=True))


def _finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _write(path: Path, rows: list[dict[str, str]]):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; a process that dies takes its lock along, and no file is left."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows has no such lock: one process at a time, please
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
