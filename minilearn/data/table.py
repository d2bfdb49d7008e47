"""A folder of images with a table of targets, the form of AgeDB, IMDB-Wiki and UTKFace."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from minilearn.checks import check_choice, check_count
from minilearn.data.examples import Examples
from minilearn.warn import warn

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
    0 on, if `regression` is false).

    Args:
        folder, table: their paths
        file, target: names of the two columns
        size: pixels of a side
        channels: 1 (grey) or 3 (colour)
        regression: whether targets are numbers, and no classes
        on_bad: "refuse" bad rows, or "skip" them and warn how many and why
    Shapes: inputs (N, channels, size, size) float32 in [0, 1]; targets (N,) float32, or int64 if
        `regression` is false
    Raises: ValueError if the folder, the table or a column is not there, no row is left, or a row
        is bad and on_bad="refuse"
    """
    rows = table_rows(table, file, target)
    how = {"size": size, "channels": channels, "regression": regression, "on_bad": on_bad}
    examples, _ = read_images(folder, rows, f"rows of {table}", target=target, **how)
    return examples


def read_images(
    folder,
    rows: list[tuple],
    what: str,
    *,
    target: str = "age",
    size: int = 32,
    channels: int = 3,
    regression: bool = True,
    on_bad: str = "refuse",
) -> tuple[Examples, list[str]]:
    """What `image_table` does, with rows from anywhere: (place, path, target, ...) as text.

    Args: what: names the rows in sentences. target: names it. The others: as image_table
    Shapes: as image_table; the paths of the rows that were read come second
    Raises: as image_table
    """
    check_count("size", size, 1)
    if channels not in tuple(MODES):
        raise ValueError(f"channels must be 1 (grey) or 3 (colour), got {channels!r:.80}")
    folder = _folder(folder)

    def draw(row: tuple) -> tuple:
        value = _target(row[2], target, regression)
        return _image(folder, row[1], size, MODES[channels]), value, row[1]

    images, targets, paths = zip(*gather(rows, draw, what, on_bad), strict=True)
    dtype = torch.float32 if regression else torch.int64
    inputs = torch.stack(images).float().div_(255)
    return Examples(inputs, torch.tensor(targets, dtype=dtype)), list(paths)


def gather(rows: list[tuple], make: Callable, what: str, on_bad: str) -> list:
    """`make(row)` of every row; a row is bad if that raises a ValueError, which says why.

    A row begins with its place in words, such as "line 5"; `what` names the rows in sentences.

    Raises: ValueError if a row is bad and on_bad="refuse", or no row is left
    Example:
        >>> gather([("line 1", "3"), ("line 2", "4")], lambda row: int(row[1]), "rows", "refuse")
        [3, 4]
    """
    check_on_bad(on_bad)
    good = []
    bad = []
    for row in rows:
        try:
            good.append(make(row))
        except ValueError as problem:
            bad.append(f"{row[0]}: {problem}")
    if bad or not good:
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        shown = "; ".join(bad[:SHOWN]) + more
        leave_out(f"{len(bad)} of {len(rows)} {what} are bad ({shown})", len(good), on_bad)
    return good


def leave_out(bad: str, left: int, on_bad: str):
    """Refuse what is bad, or warn that it is left out, at the caller's line.

    Args: bad: what is bad, in words. left: how many are not
    Raises: ValueError if on_bad="refuse", or nothing is left
    """
    if on_bad == "refuse":
        raise ValueError(f'{bad}; repair them, or leave them out with on_bad="skip"')
    if not left:
        raise ValueError(f"{bad}: none is left")
    warn(f"left out: {bad}")


def check_on_bad(on_bad: str):
    """Refuse, by ValueError, what is neither "refuse" nor "skip"."""
    check_choice("on_bad", on_bad, ("refuse", "skip"))


def _folder(folder) -> Path:
    try:
        folder = Path(folder).expanduser()
    except TypeError:
        raise ValueError(f"folder must be a path, got {type(folder).__name__}") from None
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        raise ValueError(f"the image folder {folder} {state}; name the folder of the images")
    return folder.resolve()


def table_rows(table, *columns: str) -> list[tuple]:
    """Every row of a CSV table as ("line 5", cell, ...), one cell for each of `columns`.

    None stands for a cell that a short row lacks.

    Raises: ValueError if the table cannot be read, has no such column or it twice, has no rows or
        one with more cells than there are columns
    """
    try:
        with Path(table).expanduser().open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            names = reader.fieldnames or []
            absent = [name for name in columns if name not in names]
            if absent:
                raise ValueError(
                    f"the table {table} has no column {absent[0]!r}; its columns are "
                    f"{', '.join(map(repr, names)) or 'none'}"
                )
            twice = [name for name in columns if names.count(name) > 1]
            if twice:
                raise ValueError(f"the table {table} has two columns {twice[0]!r}: rename one")
            rows = []
            for row in reader:
                if None in row:
                    cells = len(names) + len(row[None])
                    raise ValueError(
                        f"line {reader.line_num} of {table} has {cells} cells under {len(names)} "
                        "column names; a comma inside a cell needs quotes"
                    )
                rows.append((f"line {reader.line_num}", *(row[c] for c in columns)))
    except TypeError:
        raise ValueError(f"table must be a path, got {type(table).__name__}") from None
    except OSError as error:
        raise ValueError(f"the table {table} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"the table {table} is no CSV text in UTF-8: {error}") from None
    if not rows:
        raise ValueError(f"the table {table} has no rows")
    return rows


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
    from PIL import Image, ImageOps

    path = (folder / (name or "")).resolve()
    if not name or not path.is_relative_to(folder) or not path.is_file():
        raise ValueError(f"there is no file {name!r} in the image folder")
    try:
        with Image.open(path) as image:
            if image.mode == "F":
                raise ValueError("its grey is floating-point, whose range nobody knows")
            if image.mode.startswith("I"):  # of 16 bits of grey `convert` makes white
                grey = np.asarray(image)
                plain = image.mode == "I" and image.format != "PNG" and grey.max() <= 255
                grey = grey if plain else grey // 257
                image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
            image = ImageOps.exif_transpose(image)  # a phone may have lain on its side
            drawn = image.convert(mode).resize((size, size), Image.Resampling.BILINEAR)
    except Exception as error:  # whatever a decoder stumbles over; the row is counted as bad
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"the image {name!r} is broken ({reason})") from None
    return torch.from_numpy(np.array(drawn)).reshape(size, size, -1).permute(2, 0, 1)
