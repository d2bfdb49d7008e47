"""The book's figures in one style: colour and mark say the role, the title says the finding."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minilearn.checks import as_numbers, check_count, check_kind
from minilearn.metrics import Attack, Report

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


def items(
    images: Tensor,
    captions: Sequence[str],
    title: str,
    *,
    columns: int = 10,
    bold: Sequence[int] = (),
) -> Figure:
    """A grid of images, each under its caption.

    Args: title: the finding. columns: images a row. bold: places of captions that stand out
    Shapes: images (n, 1 or 3, H, W) in [0, 1]
    Raises: ValueError if captions and images differ in number, or there are none
    """
    check_count("columns", columns, 1)
    check_kind("captions", captions, Sequence)
    images = as_numbers("images", images)
    if images.ndim != 4 or len(images) != len(captions) or not len(images):
        raise ValueError(
            "needs one caption an image (n, 1 or 3, H, W), got "
            f"{len(captions)} captions and images of shape {tuple(images.shape)}"
        )
    rows = -(-len(images) // columns)
    figure, axes = canvas(0.4 + (WIDTH / columns + 0.2) * rows, columns, rows)
    for ax in axes.flat:
        ax.axis("off")
    for i, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        ax.imshow(image.permute(1, 2, 0).cpu().squeeze(2).numpy(), cmap="gray_r", vmin=0, vmax=1)
        color, weight = (ROLES["forget"][0], "bold") if i in bold else ("#333333", "normal")
        ax.set_title(captions[i], fontsize=8, color=color, fontweight=weight, pad=2)
    figure.suptitle(_lines(title), fontsize=TITLE)
    return figure


def curves(
    series: Mapping[str, Sequence[float] | Tensor],
    title: str,
    *,
    x: Sequence[float] | None = None,
    xlabel: str,
    ylabel: str,
    band: tuple[float, float] | None = None,
    band_label: str = "retrained (null band)",
) -> Figure:
    """Lines over steps or epochs, named by role or method, with the retrained models' band behind.

    Args:
        series: the values of every line, by role or method
        title: the finding
        x: the places of the values, by default 0, 1, 2, ...
        xlabel, ylabel: of the axes, with their units
        band: the lower and the upper end of a band, by default none
        band_label: what the band is
    Raises: ValueError if a series has another length than `x`
    """
    figure, ((ax,),) = canvas()
    if band is not None:
        ax.axhspan(*_visible(band), color=ROLES["retrained"][0], alpha=0.25, label=band_label)
    for name, values in check_kind("series", series, Mapping).items():
        values = np.asarray(values, dtype=float)
        places = np.arange(len(values)) if x is None else np.asarray(x)
        if len(places) != len(values):
            raise ValueError(
                f"{name} has {len(values)} values for {len(places)} places on the x axis"
            )
        style = role(name, [*series]) | {"markersize": 4, "markevery": max(1, len(values) // 12)}
        ax.plot(places, values, label=name, **style)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    figure.suptitle(_lines(title), fontsize=TITLE)
    ax.legend(fontsize=SIZES["legend.fontsize"], frameon=False)
    return figure


def picture(report: Report, panels: Sequence[tuple[str, str]], title: str) -> Figure:
    """The report as a picture: one panel a (metric, split), on its own scale, null band shaded.

    A method that forgot as retraining does lies in the green band in every panel. The band is for
    the mean of as many models as stand in it.

    Args: panels: metric and split of each. title: the finding
    Raises: ValueError if the report has no such metric on a split
    """
    rows = -(-len(panels) // 2)
    figure, axes = canvas(0.5 + 2.2 * rows, min(2, len(panels)), rows)
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    for ax, (metric, split) in zip(axes.flat, panels, strict=False):
        _panel(ax, report, metric, split)
        ax.set_title(f"{metric} {split}".strip(), fontsize=9)
    figure.suptitle(_lines(title), fontsize=TITLE)
    return figure


def _lines(title: str) -> str:
    """A title broken where it would be wider than the figure."""
    return textwrap.fill(check_kind("title", title, str), 62)


def _panel(ax: Axes, report: Report, metric: str, split: str):
    rows = [row for row in report.rows if (row.metric, row.split) == (metric, split)]
    rows = [row for row in rows if row.method != "untrained"]
    if not rows:
        raise ValueError(f"the report has no {metric} on {split!r}")
    names = [row.method for row in rows]
    for place, row in enumerate(rows):
        error = None if np.isnan(row.half_width) else row.half_width
        color, marker = role(row.method, names).values()
        ax.errorbar(place, row.mean, yerr=error, fmt=marker, color=color, capsize=3, markersize=6)
    ax.autoscale_view()
    ax.autoscale(False)  # a band without an end is drawn to the edge
    for place, row in enumerate(rows):
        if row.band is not None:
            ends = np.clip(_visible(row.band), *ax.get_ylim())
            sides = [place - 0.5, place + 0.5]
            ax.fill_between(sides, *ends, color=ROLES["retrained"][0], alpha=0.25, linewidth=0)
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    ax.set_xlim(-0.6, len(names) - 0.4)
    ax.grid(axis="x", visible=False)


def _visible(band: tuple[float, float]) -> tuple[float, float]:
    """A band of no height still gets a line."""
    low, high = band
    return (low, high) if high - low > 1e-3 else (low - 1e-3, high + 1e-3)


def roc(attacks: Mapping[str, Attack], title: str) -> Figure:
    """ROC curves of an attack on several models: linear on the left, logarithmic on the right.

    The logarithmic panel shows what counts for the single person: how many are found while almost
    nobody is falsely accused.

    Args: attacks: by the name of the attacked model. title: the finding
    """
    from sklearn.metrics import roc_curve

    figure, ((left, right),) = canvas(3.2, 2)
    for name, attack in check_kind("attacks", attacks, Mapping).items():
        check_kind(f"the attack on {name}", attack, Attack)
        labels = np.repeat([1, 0], [len(attack.members), len(attack.nonmembers)])
        scores = torch.cat([attack.members, attack.nonmembers]).cpu().numpy()
        fpr, tpr, _ = roc_curve(labels, scores)
        color = role(name, [*attacks])["color"]
        left.plot(fpr, tpr, color=color, label=f"{name}, auc {attack.auc:.2f}")
        right.plot(fpr, tpr, color=color)
    floor = 1 / max(len(a.nonmembers) for a in attacks.values())
    for ax in (left, right):
        ax.plot([floor, 1], [floor, 1], ":", color="#8a8a8a")
        ax.set_xlabel("unseen falsely accused")
    right.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1.1))
    left.set_ylabel("forgotten examples found")
    left.legend(fontsize=SIZES["legend.fontsize"], frameon=False, loc="lower right")
    figure.suptitle(_lines(title), fontsize=TITLE)
    return figure
