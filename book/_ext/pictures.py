"""The pictures of the results page: one of each experiment, drawn from its rows.

A picture is a figure and its alternative text, which is written from the same numbers: what the
picture shows, then the means. Their intervals stand in the table beneath.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isnan

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minilearn import plots
from minilearn.metrics.band import LEVEL, null_band, t_half_width

GREEN = plots.role("retrained")["color"]
GREY = "#8a8a8a"


@dataclass(frozen=True)
class Picture:
    """A figure, what to see in it, and the same in words with its numbers.

    `suffix` tells the file of a second picture of an experiment from that of the first.
    """

    figure: Figure
    caption: str
    alt: str
    suffix: str = ""


@dataclass(frozen=True)
class Point:
    """A mean over seeds and half of its interval, NaN with a single seed."""

    mean: float
    half: float

    def __str__(self) -> str:
        """The mean, as an alternative text says it."""
        return f"{self.mean:.3g}"


def point(values: Iterable[float]) -> Point | None:
    """The mean of some values with its interval; None of nothing."""
    values = [float(value) for value in values]
    if not values:
        return None
    return Point(sum(values) / len(values), t_half_width(values))


def by_setting(rows: pandas.DataFrame) -> pandas.DataFrame:
    """The same rows, where a method with several settings has a name for each: `laf, epochs 1`."""
    from book.experiments import told_apart

    def named(configs: pandas.Series) -> pandas.Series:
        return configs.map(told_apart(configs.unique()))

    where = ["dataset", "request", "device", "size", "method"]
    setting = rows.groupby(where, sort=False)["config"].transform(named).astype(str)
    return rows.assign(method=rows["method"] + (", " + setting).where(setting != "", ""))


def values(rows: pandas.DataFrame, method: str, metric: str, split: str) -> pandas.Series:
    """The values of a method's metric on a split, by seed."""
    chosen = (rows["method"] == method) & (rows["metric"] == metric) & (rows["split"] == split)
    return rows[chosen].set_index("seed")["value"]


def words(name: str) -> str:
    """A method's name as it is spoken."""
    return name.replace("_", " ")


def dots(ax: Axes, points: dict[str, Point], names: list[str], shift: float = 0.0, **style) -> None:
    """A line a name from the top, its point and its interval in the colour of the name."""
    for place, name in enumerate(names):
        if name not in points:
            continue
        own = points[name]
        error = None if isnan(own.half) else own.half
        look = plots.role(name.partition(",")[0], names) | style
        look = look | {"linestyle": "none", "capsize": 2, "markersize": 5, "elinewidth": 1}
        ax.errorbar(own.mean, place + shift, xerr=error, **look)
    ax.set_yticks(range(len(names)), [words(name) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)


def listed(points: dict[str, Point]) -> str:
    """Every name with its number."""
    return "; ".join(f"{words(name)} {own}" for name, own in points.items())


WHERE = {"forget": "the forget set", "test_retain": "test data of the retained kind"}


def errors(rows: pandas.DataFrame, metric: str) -> Picture:
    """The error on what is forgotten and on the rest, beside the band of retrained models."""
    names = list(rows["method"].unique())
    unit = rows.loc[rows["metric"] == metric, "unit"].iloc[0]
    figure, axes = plots.canvas(0.7 + 0.2 * len(names), 2, sharey=True)
    said = []
    for ax, (split, where) in zip(axes.flat, WHERE.items(), strict=True):
        points = {name: point(values(rows, name, metric, split)) for name in names}
        gold = list(values(rows, "retrained", metric, split))
        band = null_band(gold, more=len(gold), least=0)
        if band:
            ax.axvspan(*band, color=GREEN, alpha=0.2, linewidth=0)
        dots(ax, points, names)
        ax.set_xlim(0, 1.06 * ax.get_xlim()[1])
        ax.set_title(where, fontsize=9)
        said.append(f"On {where}: {listed(points)}.")
    figure.supxlabel(f"{words(metric)} ({unit})", fontsize=9)
    caption = (
        f"Bars are {100 * LEVEL:g} % intervals over seeds. A method that errs as retraining does "
        "lies in the green band."
    )
    return Picture(figure, caption, f"Error of every method in {unit}. " + " ".join(said))


TASK = {"class": "a class", "random": "single items", "noisy": "wrong labels"}
PARTS = {
    "class": ("test_forget", "test_retain"),
    "random": ("forget", "test"),
    "noisy": ("forget", "test"),
}


def gaps(rows: pandas.DataFrame, names: list[str]) -> Picture:
    """How far the accuracies are from the retrained model's of the same seed, a panel a request."""
    tasks = [task for task in TASK if rows["request"].str.startswith(task).any()]
    names = [name for name in names if name != "retrained"]
    figure, axes = plots.canvas(1.2 + 0.2 * len(names), len(tasks), sharey=True)
    said = []
    for ax, task in zip(axes.flat, tasks, strict=True):
        own = rows[rows["request"].str.startswith(task)]
        ax.axvline(0, color=GREEN, linewidth=2, zorder=0)
        for split, shift, fill in zip(PARTS[task], (-0.15, 0.15), ("full", "none"), strict=True):
            gold = values(own, "retrained", "accuracy", split)
            points = {}
            for name in names:
                gap = 100 * (values(own, name, "accuracy", split) - gold).dropna()
                if len(gap):
                    points[name] = point(gap)
            dots(ax, points, names, shift, fillstyle=fill)
            said.append(f"{TASK[task]}, {words(split)}: {listed(points)}")
        ax.set_xscale("symlog", linthresh=5)
        ax.set_xlim(-130, 130)
        ax.set_xticks([-50, -5, 0, 5, 50], ["-50", "-5", "0", "5", "50"], minor=False)
        ax.minorticks_off()
        ax.set_title(TASK[task], fontsize=9)
    figure.supxlabel("accuracy minus the retrained model's (points)", fontsize=9)
    caption = (
        "Full marks show data to be forgotten, hollow marks other data. On the green line a method "
        "does as the retrained model does. Beyond five points the axis is logarithmic."
    )
    alt = "Distance from retraining in points of accuracy. " + ". ".join(said) + "."
    return Picture(figure, caption, alt)


def ruler(rows: pandas.DataFrame) -> Picture:
    """The share of exact retrainings inside, against the number of retrained models."""
    import seaborn

    rows = rows[rows["more"] == 1]
    figure, axes = plots.canvas(2.1, 2, sharey=True)
    rulers, said = list(rows["method"].unique()), []
    for ax, (data, own) in zip(axes.flat, rows.groupby("dataset", sort=False), strict=True):
        for name in rulers:
            style = plots.role(name, rulers) | {"markersize": 4, "label": name}
            shown = own[own["method"] == name].assign(percent=lambda r: 100 * r["value"])
            seaborn.lineplot(
                shown, x="k", y="percent", errorbar=("pi", 100), legend=False, ax=ax, **style
            )
            means = shown.groupby("k")["percent"].mean()
            numbers = ", ".join(f"{mean:.0f} % of {k}" for k, mean in means.items())
            said.append(f"{words(data)}, {name}: {numbers}")
        ax.axhline(100 * LEVEL, color=GREY, linestyle=":")
        ax.set(xscale="log", xlabel="retrained models", ylabel="inside (%)", ylim=(0, 102))
        ax.set_xticks(sorted(own["k"].unique()), sorted(own["k"].unique()), minor=False)
        ax.minorticks_off()
        ax.set_title(words(data), fontsize=9)
    axes[0, 0].legend(fontsize=8, frameon=False, loc="lower right")
    caption = (
        "How often one more retrained model lies inside. The shading reaches from the lowest "
        "metric to the highest, and the dotted line is the promised level."
    )
    return Picture(figure, caption, "Share of retrained models inside. " + "; ".join(said) + ".")


def speeds(rows: pandas.DataFrame, ratios: Callable[[pandas.DataFrame], dict]) -> Picture:
    """The released procedure's time over ours, and a method's time over a bare loop's."""
    figure, ((left, right),) = plots.canvas(2.3, 2)
    named, said = ratios(rows), []
    names = list(named)
    for place, name in enumerate(names):
        for way, fill, shift in (("plain", "full", -0.12), ("fast", "none", 0.12)):
            own = point(named[name].get(way, []))
            if own is None:
                continue
            error = None if isnan(own.half) else own.half
            look = {"color": "#0072b2", "marker": "o", "fillstyle": fill, "capsize": 2}
            left.errorbar(own.mean, place + shift, xerr=error, markersize=5, elinewidth=1, **look)
            said.append(f"{name}, {way}: {own}")
    left.set(xscale="log", xlabel="released time / ours")
    left.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"], minor=False)
    left.minorticks_off()
    left.axvline(1, color=GREY)
    left.set_yticks(range(len(names)), names)
    left.set_ylim(len(names) - 0.4, -0.6)
    loops = rows[rows["metric"] == "overhead"]
    points = {name: point(own["value"]) for name, own in loops.groupby("method", sort=False)}
    dots(right, points, list(points))
    right.axvline(1, color=GREY)
    right.axvline(1.1, color=GREY, linestyle=":")
    right.set_xlabel("method / bare loop")
    caption = (
        "Left: how many times longer the released procedure takes. Hollow marks are inside "
        "`precision.fast`. Right: the time of a method over the time of its bare passes. The "
        "dotted line is a tenth on top."
    )
    alt = f"Released time over ours: {'; '.join(said)}. Method over bare loop: {listed(points)}."
    return Picture(figure, caption, alt)


WAYS = {"compiled": "o", "triton": "^", "published": "x", "stored": "+"}


def kernels(rows: pandas.DataFrame, names: list[str]) -> Picture:
    """How many times as fast as plain PyTorch: a line a kernel, a mark a case, a panel a device."""
    rows = rows[(rows["metric"] == "ratio") & rows["dataset"].isin(names)]
    devices = list(rows["device"].value_counts().index[:2])
    figure, axes = plots.canvas(2.3, len(devices), sharey=True)
    ways = [way for way in WAYS if (rows["method"] == way).any()]
    for ax, device in zip(axes.flat, devices, strict=True):
        own = rows[rows["device"] == device]
        ax.axvline(1, color=GREY)
        shapes = own.groupby(["dataset", "request", "method"], sort=False)
        for (kernel, _, way), some in shapes:
            if way not in ways:
                continue
            mean = point(some["value"])
            error = None if isnan(mean.half) else [[min(mean.half, 0.9 * mean.mean)], [mean.half]]
            look = plots.role(way, ways) | {"marker": WAYS[way], "markersize": 4, "capsize": 2}
            ax.errorbar(mean.mean, names.index(kernel), xerr=error, elinewidth=1, **look)
        ax.set(xscale="log", xlabel="times as fast as plain PyTorch")
        low, high = ax.get_xlim()
        ticks = [x for x in (0.1, 0.3, 1, 3, 10, 30, 100) if low <= x <= high]
        ax.set_xticks(ticks, [f"{x:g}" for x in ticks], minor=False)
        ax.minorticks_off()
        ax.set_yticks(range(len(names)), [words(name) for name in names])
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.set_title(device, fontsize=9)
    for way in ways:
        look = plots.role(way, ways) | {"marker": WAYS[way]}
        axes[0, 0].plot([], [], linestyle="none", label=way, **look)
    figure.legend(loc="outside lower center", ncols=len(ways), fontsize=8, frameon=False)
    caption = (
        "A mark for each shape that was timed. Right of the grey line a way is faster than plain "
        "PyTorch. A kernel without a mark has not been timed on that device."
    )
    shown = rows[rows["device"].isin(devices) & rows["method"].isin(ways)]
    said = []
    for (device, way), own in shown.groupby(["device", "method"], sort=False):
        means = own.groupby(["dataset", "request"])["value"].mean()
        ends = f"{means.min():.2g} (smallest) to {means.max():.2g} (largest)"
        said.append(f"{way} on {device}: {len(means)} shapes, {ends}")
    return Picture(figure, caption, "Times as fast as plain PyTorch. " + "; ".join(said) + ".")
