"""Figures of images, of curves and of reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from minilearn.checks import as_numbers, check_count, check_kind
from minilearn.metrics import Report
from minilearn.plots.style import ROLES, SIZES, TITLE, WIDTH, canvas, lines, role


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
            "needs one caption per image (n, 1 or 3, H, W), got "
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
    figure.suptitle(lines(title), fontsize=TITLE)
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
        ax.axhspan(*band, color=ROLES["retrained"][0], alpha=0.25, label=band_label)
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
    figure.suptitle(lines(title), fontsize=TITLE)
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
    figure.suptitle(lines(title), fontsize=TITLE)
    return figure


def _panel(ax: Axes, report: Report, metric: str, split: str):
    every = [row for row in report.rows if row.method != "untrained"]
    rows = [row for row in every if (row.metric, row.split) == (metric, split)]
    if not rows:
        there = dict.fromkeys((row.metric, row.split) for row in every)
        raise ValueError(f"the report has no {metric} on {split!r}, but {[*there]}")
    names = [row.method for row in rows]
    for place, row in enumerate(rows):
        error = None if np.isnan(row.half_width) else row.half_width
        color, marker = role(row.method, names).values()
        ax.errorbar(place, row.mean, yerr=error, fmt=marker, color=color, capsize=3, markersize=6)
    ax.autoscale_view()
    ax.autoscale(False)  # a band without an end is drawn to the edge
    for place, row in enumerate(rows):
        if row.band is not None:
            ends = np.clip(row.band, *ax.get_ylim())
            sides = [place - 0.5, place + 0.5]  # the edge is what shows of a band without height
            ax.fill_between(sides, *ends, color=ROLES["retrained"][0], alpha=0.25, linewidth=1)
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    ax.set_xlim(-0.6, len(names) - 0.4)
    ax.grid(axis="x", visible=False)
