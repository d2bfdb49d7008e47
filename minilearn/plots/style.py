"""The book's style: colour and mark say the role, one width, and titles that say the finding."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from minilearn.checks import check_kind

# Okabe and Ito's colours, which the colour-blind can tell apart; each role has its own mark too.
ROLES = {
    "original": ("#000000", "s"),
    "retrained": ("#009e73", "D"),
    "untrained": ("#8a8a8a", "X"),
    "forget": ("#d55e00", "v"),
    "retain": ("#56b4e9", "o"),
    "test": ("#cc79a7", "^"),
}
METHODS = {
    "finetune": ("#0072b2", "o"),
    "neggrad": ("#e69f00", "P"),
    "amnesiac": ("#7b3294", "p"),
    "blindspot": ("#a6611a", "h"),
    "blindspot model": ("#c9a66b", "<"),
    "l2ul": ("#882255", "8"),
    "l2ul adv": ("#cc6677", "<"),
    "laf": ("#332288", "*"),
    "repair": ("#6699cc", "H"),
    "bad teacher": ("#aa4499", ">"),
    "boundary": ("#999933", "d"),
    "scrub": ("#661100", "p"),
    "unrolling": ("#4d4d4d", "*"),
    "sisa": ("#2a6f77", "h"),
}
# For names that are no method's, by their place.
OTHERS = [("#17becf", "o"), ("#bcbd22", "P"), ("#e377c2", "p"), ("#8c564b", "h"), ("#7f7f7f", "*")]
WIDTH = 5.4  # inches; every figure is this wide, so that its text can be read on a phone
SIZES = {"axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8}
TITLE = 10  # points


def role(name: str, names: Sequence[str] = ()) -> dict[str, str]:
    """Colour and marker of a role or a method: the same in the whole book.

    A word of it decides where the whole name is not known, so that "laf slow" looks like "laf".

    Args: name: of the role or method. names: all of a figure; another name's place in it decides
    Example:
        >>> role("retrained")
        {'color': '#009e73', 'marker': 'D'}
    """
    style = _style(check_kind("name", name, str))
    if style is None:
        others = [other for other in names if _style(other) is None]
        place = others.index(name) if name in others else 0
        style = OTHERS[place % len(OTHERS)]
    color, marker = style
    return {"color": color, "marker": marker}


def _style(name: str) -> tuple[str, str] | None:
    """Of a role or a method: by its whole name, its last or its first word; else None."""
    known = ROLES | METHODS
    words = name.lower().replace("_", " ").replace("+", " ").split()
    for part in (words, words[-1:], words[:1]):
        if " ".join(part) in known:
            return known[" ".join(part)]
    return None


def canvas(
    height: float = 3.0, columns: int = 1, rows: int = 1, **options
) -> tuple[Figure, np.ndarray]:
    """An empty figure in the book's style and its axes (rows, columns); name it last to show it.

    Args: height: in inches. columns, rows: of axes. options: more for `figure.subplots`
    """
    looks = sns.axes_style("whitegrid", {"grid.color": "#e6e6e6", "axes.edgecolor": "#8a8a8a"})
    with plt.rc_context({**looks, **SIZES}):
        figure = plt.figure(figsize=(WIDTH, height), layout="constrained", dpi=160)
        plt.close(figure)  # otherwise the notebook would show it twice
        axes = figure.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        sns.despine(ax=ax)
    return figure, axes


def lines(title: str) -> str:
    """A title broken where it would be wider than the figure."""
    return textwrap.fill(check_kind("title", title, str), 62)
