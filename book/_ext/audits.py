"""What stands first of the audits: the strong attack with its interval, beside its control."""

import math
from dataclasses import dataclass

import pandas
import pictures
from pictures import GREY, Picture, Point
from results import drawn, ruled, text

from minilearn import plots

MOST = 8  # lines
ORIGINAL = "original"
WORKS = ("laf", "l2ul", "amnesiac", "blindspot")
ALT = "How many times as fast one stack of networks is trained as a loop over the same networks. "
TASKS = {
    "items": "single digits",
    "mislabelled": "wrong labels",
    "class": "a class",
    "users": "writers",
}
WHERE = {"forget": "candidates", "test": "unseen digits"}
NULL = "Two rows of vertical intervals around one half, sorted by the area that an audit found. "
AREA = "AUC of U-LiRA"
CAPTION = (
    "The strong attack at the candidates, and at digits that nobody was trained on. At one half it "
    "sees nothing. What it sees on the right is no memory of a digit."
)
OF_BAND = (
    "The strong attack at single turned digits; and what is left of what the original knew of the "
    "band: 1 all of it, 0 as if retrained."
)
STAGES = {
    "draw": ("what is forgotten", plots.role("forget")["color"]),
    "training_seed": ("the original", plots.role("original")["color"]),
    "unlearning_seed": ("the method", plots.role("finetune")["color"]),
}


@dataclass(frozen=True)
class Panel:
    """A point a method, and a dotted line at what a retrained model has."""

    title: str
    quantity: str
    points: dict[str, Point]
    nothing: float = 0.5


def headline(rows: pandas.DataFrame) -> tuple[Picture, str]:
    """Every method by the strong attack, a column a task, for the network with the most methods."""
    draws = rows["config"].str.extract(r"(\d+) draws")[0].astype(int)
    network = rows["request"].str.rpartition(", ")[2]
    most = rows["method"].groupby(network).nunique().idxmax()
    draws = draws[network == most]
    found = _by_task(rows[network == most])
    items = found["items"]
    tasks = [task for task in TASKS if task in found]
    names = _ordered(items)
    known = next((task for task in tasks if _share(found[task][ORIGINAL])), None)
    lines = []
    for name in names:
        cells = [_beside(found[task].get(name), "test") for task in tasks]
        cells += [_share(found[known].get(name, {}))] if known else []
        lines.append([f"`{name}`", *cells, f"{items[name]['loss_attack_auc', '']:.2f}"])
    heads = ["method", *(TASKS[task] for task in tasks)]
    heads += [f"memory left, {TASKS[known]}"] if known else []
    heads.append("`loss_attack_auc`, single digits")
    panels = [
        Panel("candidates", AREA, {name: _point(items[name], "forget") for name in names}),
        Panel("unseen digits", AREA, {name: _point(items[name], "test") for name in names}),
    ]
    picture = _picture(panels, names, CAPTION)
    note = f"\n\n`ulira`, and in brackets at unseen digits; {draws.max()} draws, `{most}`."
    return picture, drawn(ruled(heads, lines)) + note


def rotated_headline(rows: pandas.DataFrame) -> tuple[Picture, str]:
    """Every method for regression: single digits, and the band with what is left of it."""
    found = _by_task(rows)
    items, band = found["items"], found["band"]
    names = _ordered(items)
    lines = []
    for name in names:
        own = band[name]
        cells = [_beside(items[name], "test"), _beside(own, "test_forget")]
        cells += [f"{own['ulira', 'test_retain']:.2f}", _share(own)]
        cells += [f"{own['paired_difference', 'forget']:.1f}"]
        cells += [f"{each[name]['loss_attack_auc', '']:.2f}" for each in (items, band)]
        lines.append([f"`{name}`", *cells])
    heads = ["method", "single digits", "the band", "outside the band", "memory left, band"]
    heads += [
        "paired difference, band (degrees)",
        "`loss_attack_auc`, single digits",
        "`loss_attack_auc`, the band",
    ]
    left = {name: Point(band[name]["memory_left", "forget"], math.nan) for name in names}
    panels = [
        Panel("single digits", AREA, {name: _point(items[name], "forget") for name in names}),
        Panel("the band", "memory left", left, 0.0),
    ]
    draws = rows["config"].str.extract(r"(\d+) draws")[0].iloc[0]
    note = f"\n\n`ulira`, and in brackets at unseen digits of the kind; {draws} draws."
    return _picture(panels, names, OF_BAND), drawn(ruled(heads, lines)) + note


def ranks(rows: pandas.DataFrame) -> str:
    """Whether what a report shows ranks the methods as the strong attack does, request by request.

    Spearman's correlation over the models that are no retrained ones, with the interval of Bonett
    and Wright 2000.
    """
    lines = []
    for request, own in rows.groupby("request", sort=False):
        numbers = own.pivot_table(index="method", columns=["metric", "split"], values="value")
        if ("loss_attack_auc", "") not in numbers or "retrained" not in numbers.index:
            continue
        weak = numbers["loss_attack_auc", ""]
        judged = {"`loss_attack_auc`": (weak - weak["retrained"]).abs()}
        for name in ("js_right", "paired_difference"):
            if (name, "forget") in numbers:
                judged[f"`{name}`"] = numbers[name, "forget"]
        strong = numbers["ulira", "forget"].drop(["retrained", "again"])
        for name, values in judged.items():
            rho = values[strong.index].corr(strong, method="spearman")
            lines.append([text(request), name, f"{len(strong)}", _correlation(rho, len(strong))])
    heads = ["request", "distance from the retrained model by", "models", "correlation of ranks"]
    title = (
        "**Do they rank the methods as `ulira` does?** 1 is the same order, -1 the opposite one."
    )
    return "\n\n".join([title, drawn(ruled(heads, lines, 2))])


def _correlation(rho: float, count: int) -> str:
    if count < 4 or abs(rho) > 1 - 1e-9:
        return f"{rho:.2f}"
    half = 1.96 * math.sqrt((1 + rho**2 / 2) / (count - 3))
    low, high = (math.tanh(math.atanh(rho) + side) for side in (-half, half))
    return f"{rho:.2f} ({low:.2f} to {high:.2f})"


def null_headline(rows: pandas.DataFrame) -> tuple[Picture, str]:
    """Audits of retrained models: their areas, and how many intervals hold one half."""
    figure, axes = plots.canvas(2.2, 2, sharey=True, sharex=True)
    lines, said, held_all = [], [], True
    for ax, (split, where) in zip(axes.flat, WHERE.items(), strict=True):
        own = rows[rows["split"] == split].pivot(index="seed", columns="metric", values="value")
        own = own.sort_values("ulira", ignore_index=True)
        held = (own["ulira_low"] <= 0.5) & (own["ulira_high"] >= 0.5)
        held_all &= held.all()
        for kind, colour in ((held, GREY), (~held, plots.role("forget")["color"])):
            ends = own["ulira_low"][kind], own["ulira_high"][kind]
            ax.vlines(own.index[kind], *ends, color=colour, linewidth=1)
            ax.plot(own.index[kind], own["ulira"][kind], ".", color=colour, markersize=4)
        ax.axhline(0.5, color=GREY, linestyle=":")
        ax.set_title(where, fontsize=9)
        ax.set_xlabel("audits, sorted")
        middle, spread = own["ulira"].mean(), own["ulira"].std()
        ends = f"{own['ulira'].min():.2f} to {own['ulira'].max():.2f}"
        lines.append([where, f"{len(own)}", f"{middle:.3f}", f"{spread:.3f}", ends])
        lines[-1].append(f"{held.sum()} of {len(own)}")
        said.append(f"At {where} {held.sum()} of {len(own)} intervals hold one half, {ends}.")
    axes.flat[0].set_ylabel(AREA)
    heads = ["at", "audits", "mean `ulira`", "standard deviation", "from, to", "intervals hold 0.5"]
    caption = "Audits of models that were retrained, each with its interval. " + (
        "Every interval holds one half." if held_all else "An orange one misses one half."
    )
    return Picture(figure, caption, NULL + " ".join(said)), drawn(ruled(heads, lines))


def _by_task(rows: pandas.DataFrame) -> dict[str, dict]:
    """The numbers of every task and method that the strong attack was asked about."""
    found = {}
    task = rows["request"].str.partition(":")[0]
    for (name, method), own in rows.groupby([task, "method"], sort=False):
        numbers = own.set_index(["metric", "split"])["value"].to_dict()
        if ("ulira", "forget") in numbers:
            found.setdefault(name, {})[method] = numbers
    return found


def _ordered(found: dict[str, dict]) -> list[str]:
    """The null, doing nothing, and the methods, which the attack finds most easily first.

    Where they are too many, those of the three works stay.
    """
    order = sorted(found, key=lambda name: found[name]["ulira", "forget"], reverse=True)
    others = [name for name in order if name not in ("again", ORIGINAL)]
    first = sorted(others, key=lambda name: name not in WORKS)[: MOST - 2]
    return ["again", ORIGINAL, *(name for name in others if name in first)]


def _beside(own: dict | None, control: str) -> str:
    """The attack at the candidates, and in brackets at unseen digits; nothing if it was not run."""
    if own is None:
        return ""
    return f"{own['ulira', 'forget']:.2f} ({own['ulira', control]:.2f})"


def _share(own: dict) -> str:
    if ("memory_left", "forget") not in own:
        return ""
    return f"{round(own['memory_left', 'forget'], 2) + 0.0:.2f}"  # 0.00 has no sign


def _point(own: dict, split: str) -> Point:
    return Point(own["ulira", split], (own["ulira_high", split] - own["ulira_low", split]) / 2)


def _picture(panels: list[Panel], names: list[str], caption: str) -> Picture:
    alike = len({panel.quantity for panel in panels}) == 1
    height = 0.8 + 0.22 * len(names)
    figure, axes = plots.canvas(height, len(panels), sharey=True, sharex=alike)
    said = []
    for ax, panel in zip(axes.flat, panels, strict=True):
        pictures.dots(ax, panel.points, names)
        ax.axvline(panel.nothing, color=GREY, linestyle=":")
        ax.set_title(panel.title, fontsize=9)
        ax.set_xlabel(panel.quantity)
        said.append(f"{panel.quantity}, {panel.title}: {pictures.listed(panel.points)}.")
    return Picture(figure, caption, "Every method before the strong attack. " + " ".join(said))


def speed_headline(rows: pandas.DataFrame) -> tuple[Picture, str]:
    """How many times as fast a stack is as a loop: a line a method, a column per network."""
    rows = rows[rows["metric"] == "ratio"]
    networks = rows["config"].str.extract(r"\d+ networks; (\w+);")[0]
    rows = rows.assign(request=rows["request"] + ", " + networks)
    kinds = list(rows["request"].unique())
    names = list(rows["method"].unique())[:MOST]
    figure, axes = plots.canvas(0.8 + 0.22 * len(names), min(2, len(kinds)), sharey=True)
    lines = {name: [f"`{name}`"] for name in names}
    said = []
    for place, kind in enumerate(kinds):
        own = rows[rows["request"] == kind]
        each = own.groupby("method", sort=False)["value"]
        points = {name: pictures.point(values) for name, values in each}
        for name in names:
            lines[name].append(f"{points[name].mean:.2f}" if name in points else "")
        said.append(f"{kind}: {pictures.listed(points)}.")
        if place < axes.size:
            ax = axes.flat[place]
            pictures.dots(ax, points, names)
            ax.axvline(1, color=GREY, linestyle=":")
            ax.set_title(kind, fontsize=9)
            ax.set_xlabel("times as fast as a loop")
    caption = "Many networks trained as one, in pairs with a loop over them in the same run."
    picture = Picture(figure, caption, ALT + " ".join(said))
    heads = ["method", *(text(kind) for kind in kinds)]
    return picture, drawn(ruled(heads, list(lines.values()))) + "\n\n" + counted(64)


def counted(draws: int) -> str:
    """What an audit would take of a GPU, counted."""
    from book.experiments import operations

    work, steps = operations.audit(draws)
    seconds = work / (operations.PEAK["H100"] * operations.SHARE)
    return (
        f"Counted and not measured: the {3 * draws} trainings of an audit of the small CNN with "
        f"{draws} draws are {work / 1e12:.1f} TFLOP, which an H100 computes in {seconds:.1f} s at "
        f"a third of its peak. They are {steps:,} steps of many networks, so a GPU waits for their "
        "launches, unless it replays them."
    )


def sources_headline(rows: pandas.DataFrame) -> tuple[Picture, str]:
    """How much of a number's spread arises at each stage, and how many of each to run."""
    names = list(rows["method"].unique())[:MOST]
    wanted = ("accuracy on forget", "loss_attack_auc")
    figure, axes = plots.canvas(0.9 + 0.25 * len(names), len(wanted), sharey=True, sharex=True)
    lines = {name: [f"`{name}`"] for name in names}
    said = []
    for ax, number in zip(axes.flat, wanted, strict=True):
        own = rows[(rows["request"] == number) & rows["method"].isin(names)]
        own = own.pivot(index="method", columns="metric", values="value").loc[names]
        left = 0.0
        for stage, (words, colour) in STAGES.items():
            shares = own[f"share_{stage}"]
            ax.barh(names, shares, left=left, color=colour, label=words)
            left = left + shares
        ax.set_title(number, fontsize=9)
        ax.set_xlabel("share of the variance")
        said.append(f"{number}, the share of the draw: {_listed(own['share_draw'])}.")
        for name, line in own.iterrows():
            parts = " / ".join(f"{line[f'share_{stage}']:.0%}" for stage in STAGES)
            runs = " x ".join(f"{line[f'runs_{stage}']:.0f}" for stage in STAGES)
            lines[name] += [f"{line['spread']:.3f}", parts, runs]
    axes.flat[0].invert_yaxis()
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    caption = (
        "Where the spread of two numbers of a report comes from: which digits are forgotten, the "
        "seed of the original, or the seed of the method."
    )
    heads = ["method"]
    for number in wanted:
        heads += [f"{number}: spread", "draw / original / method", "best runs"]
    note = "\n\nBest runs: draws x originals of each x unlearned models of each, for the price of "
    note += f"{rows.loc[rows['metric'] == 'runs_draw', 'unit'].iloc[0].removeprefix('for ')}."
    picture = Picture(figure, caption, "Stacked bars, a method each. " + " ".join(said))
    return picture, drawn(ruled(heads, list(lines.values()))) + note


def _listed(shares: pandas.Series) -> str:
    return ", ".join(f"{pictures.words(name)} {share:.0%}" for name, share in shares.items())
