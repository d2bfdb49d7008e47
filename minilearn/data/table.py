"""A folder of images with a table of targets, the form of AgeDB, IMDB-Wiki and UTKFace."""

from __future__ import annotations

import csv
import math
import warnings
from pathlib import Path

import torch
from torch import Tensor

from minilearn.data.checks import check_count
from minilearn.data.examples import Examples

MODES = {1: "L", 3: "RGB"}
SHOWN = 3


def image_table(
    folder,
    table,
    *,
    file: str = "file",
    target: str = "age",
    size: int = 32,
    channels: int = 3,
    regression: bool = True,
    on_bad: str = "refuse",
) -> Examples:
    """Images in a folder with their targets in a CSV table, drawn at size x size pixels.

    The table's first line names its columns; column `file` holds paths relative to the folder. A
    row is bad if its image is missing or broken, or its target is no finite number (no class from
    0 on, if `regression` is false). on_bad="skip" leaves bad rows out and warns how many and why.

    Shapes: inputs (N, channels, size, size) float32 in [0, 1]; targets (N,) float32, or int64 if
        `regression` is false
    Raises: ValueError if the folder, the table or a column is not there, no row is left, or a row
        is bad and on_bad="refuse"
    """
    check_count("size", size, 1)
    if channels not in tuple(MODES):
        raise ValueError(f"channels must be 1 (grey) or 3 (colour), got {channels!r}")
    if on_bad not in ("refuse", "skip"):
        raise ValueError(f'on_bad must be "refuse" or "skip", got {on_bad!r}')
    folder = _folder(folder)
    good, bad = [], []
    for line, name, text in _rows(table, file, target):
        try:
            value = _target(text, target, regression)
            good.append((_image(folder, name, size, MODES[channels]), value))
        except ValueError as problem:
            bad.append(f"line {line}: {problem}")
    _report(bad, len(good), table, on_bad)
    images, targets = zip(*good, strict=True)
    inputs = torch.stack(images).float().div_(255)
    return Examples(
        inputs, torch.tensor(targets, dtype=torch.float32 if regression else torch.int64)
    )


def _folder(folder) -> Path:
    try:
        folder = Path(folder).expanduser()
    except TypeError:
        raise ValueError(f"folder must be a path, got {type(folder).__name__}") from None
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        raise ValueError(f"the image folder {folder} {state}; name the folder of the images")
    return folder.resolve()


def _rows(table, file: str, target: str) -> list[tuple[int, str | None, str | None]]:
    """(line, path, target) of every row; None stands for a cell that a short row lacks."""
    try:
        with Path(table).expanduser().open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            names = reader.fieldnames or []
            absent = [name for name in (file, target) if name not in names]
            if absent:
                raise ValueError(
                    f"the table {table} has no column {absent[0]!r}; its columns are "
                    f"{', '.join(map(repr, names)) or 'none'}"
                )
            return [(reader.line_num, row[file], row[target]) for row in reader]
    except TypeError:
        raise ValueError(f"table must be a path, got {type(table).__name__}") from None
    except OSError as error:
        raise ValueError(f"the table {table} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"the table {table} is no CSV text in UTF-8: {error}") from None


def _target(text: str | None, column: str, regression: bool) -> float | int:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not regression and not (value.is_integer() and 0 <= value < 2**31):
        raise ValueError(f"{column} is {text!r}, not a class number from 0 on")
    if not abs(value) < 3e38:  # so that it is finite as a float32, too
        raise ValueError(f"{column} is {text!r}, not a finite number")
    return value if regression else int(value)


def _image(folder: Path, name: str | None, size: int, mode: str) -> Tensor:
    """Pixels (C, size, size) uint8."""
    import numpy as np
    from PIL import Image

    path = (folder / (name or "")).resolve()
    if not name or not path.is_relative_to(folder) or not path.is_file():
        raise ValueError(f"there is no file {name!r} in the image folder")
    try:
        with Image.open(path) as image:
            drawn = image.convert(mode).resize((size, size), Image.Resampling.BILINEAR)
    except Exception as error:  # whatever a decoder stumbles over; the row is counted as bad
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"the image {name!r} is broken ({reason})") from None
    return torch.from_numpy(np.array(drawn)).reshape(size, size, -1).permute(2, 0, 1)


def _report(bad: list[str], good: int, table, on_bad: str):
    if not bad and not good:
        raise ValueError(f"the table {table} has no rows")
    if not bad:
        return
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    found = (
        f"{len(bad)} of {len(bad) + good} rows of {table} are bad ({'; '.join(bad[:SHOWN])}{more})"
    )
    if on_bad == "refuse":
        raise ValueError(f'{found}; repair them, or leave them out with on_bad="skip"')
    if not good:
        raise ValueError(f"{found}: no row is left")
    warnings.warn(f"left out: {found}", stacklevel=3)
