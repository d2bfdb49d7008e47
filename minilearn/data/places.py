"""Where data sets lie on this machine, and the sentence that says so when one is not there."""

from __future__ import annotations

import os
from pathlib import Path


class MissingData(ValueError):
    """A data set's file is not where it belongs; the message says what to do about it."""


def data_root(root=None) -> Path:
    """The folder of the data sets: `root`, else the variable MINILEARN_DATA, else a cache folder.

    Raises: ValueError if `root` is no path, or is a file, or cannot be looked into
    Example:
        >>> data_root("pictures").name
        'pictures'
    """
    if root is None:
        root = os.environ.get("MINILEARN_DATA") or "~/.cache/minilearn"
    try:
        folder = Path(root).expanduser()
        is_file = folder.exists() and not folder.is_dir()
    except (TypeError, RuntimeError):
        raise ValueError(f"root must be the path of a folder, got {type(root).__name__}") from None
    except OSError as error:
        raise ValueError(f"cannot read the data folder {folder}: {reason(error)}") from None
    if is_file:
        raise ValueError(
            f"the data folder {folder} is a file; root or MINILEARN_DATA names a folder"
        )
    return folder


def own_file(kind: str, file: str, how: str, root=None) -> Path:
    """Where a file of a set that cannot be downloaded is, under the data folder.

    Args:
        kind: the set's name, for the message
        file: the path under the data folder
        how: how to get it, for the message
        root: see `data_root`
    Raises: MissingData, which says where it belongs and how to get it, if it is not there
    """
    folder = data_root(root)
    if not os.path.isfile(folder / file):
        raise missing(kind, f"the file {file} belongs", folder, how)
    return folder / file


def missing(kind: str, what: str, folder: Path, how: str) -> MissingData:
    """The error for a set `kind` of which `what` ("the file ... belongs") in `folder`."""
    absent = "" if folder.exists() else ", which does not exist"
    return MissingData(
        f"{kind} is not there: {what} in the folder {folder}{absent}; {how}, or name the folder "
        "that holds it by root or the variable MINILEARN_DATA"
    )


def reason(error: Exception) -> str:
    """What went wrong, in one line without a full stop."""
    text = (getattr(error, "strerror", None) or str(error)).strip() or type(error).__name__
    return " ".join(text.split())[:300].rstrip(".;: ")
