"""How the results page shows a sweep: by what was asked, and by what was changed.

A row's config names the change behind its size: "size=toy; eps 0.5; ...", "base" where there is
none. A cell is the mean test accuracy and half of its 95 % interval, in per cent, and behind it the
share of the items that are still recognised.
"""

import re
from math import isnan

import pandas
from pictures import Picture, point
from results import drawn, ruled

SECTION = ["dataset", "device", "size"]
METHODS = {  # in this order, with these heads
    "retrained": "retrained",
    "neggrad": "NegGrad",
    "neggrad_open": "NegGrad, open",
    "l2ul_adv": "ADV",
    "l2ul": "ADV + IMP",
    "oracle": "oracle",
}
SWEPT = {"eps": "radius", "lr": "learning rate"}


def values(rows: pandas.DataFrame, metric: str, split: str = "") -> pandas.Series:
    """The values of one metric, one a seed."""
    return rows["value"][(rows["metric"] == metric) & (rows["split"] == split)]


def cell(rows: pandas.DataFrame) -> str:
    """Test accuracy and share left; how many runs overflowed, of which no accuracy is left."""
    from minilearn.metrics.report import t_half_width

    test, left = values(rows, "accuracy", "test"), values(rows, "accuracy", "forget")
    lost, parts = values(rows, "overflowed").sum(), []
    if len(test):
        half = t_half_width(list(test))
        parts.append(f"{100 * test.mean():.0f}" + (f" ± {100 * half:.0f}" if half == half else ""))
        parts[-1] += f" ({100 * left.mean():.0f})" if len(left) else ""
    if lost:
        parts.append(f"{lost:.0f} overflowed")
    return "<br>".join(part.replace(" ", "\u00a0") for part in parts)


def grouped(rows: pandas.DataFrame, column: str) -> dict[str, pandas.DataFrame]:
    """Rows by a column, in the order in which its texts first come."""
    return dict(list(rows.groupby(column, sort=False)))


def natural(item: tuple) -> list:
    """Words in their order, numbers by their size."""
    words = item[0].replace(",", "").split()
    return [(0, float(w), "") if w[:1].isdigit() else (1, 0.0, w) for w in words]


def kind_first(request: str) -> tuple[str, int]:
    """`16 random items` by its kind, then by its number."""
    count, kind, _ = request.split()
    return kind, int(count)


def table(head: str, groups: dict[str, pandas.DataFrame]) -> str:
    """A line a group, a column a method."""
    every = set().union(*(rows["method"] for rows in groups.values()))
    there = [method for method in METHODS if method in every]
    lines = []
    for name, rows in groups.items():
        seeds = rows[rows["method"].isin(there)].groupby("method")["seed"].nunique()
        text = "-".join(str(n) for n in dict.fromkeys((seeds.min(), seeds.max())))
        words = name.replace(" ", "\u00a0") if head == "items" else name
        lines.append([words, text, *(cell(rows[rows["method"] == m]) for m in there)])
    heads = [head, "seeds", *(METHODS[method] for method in there)]
    return drawn(ruled(heads, lines))


SHOWN = ("neggrad", "neggrad_open", "l2ul_adv", "l2ul")
PANELS = {"test": "test accuracy", "forget": "share of items left"}


def line(ax, rows: dict[float, pandas.DataFrame], method: str, split: str, shift: float) -> str:
    """One method's means with their intervals against a number; what it shows in words."""
    from minilearn import plots

    points = {}
    for x, own in rows.items():
        mean = point(values(own[own["method"] == method], "accuracy", split))
        if mean is not None:
            points[x] = mean
    if not points:
        return ""
    halves = [0 if isnan(own.half) else own.half for own in points.values()]
    look = plots.role(method, SHOWN) | {"label": METHODS[method], "capsize": 2, "markersize": 4}
    look["linestyle"] = "--" if method == "neggrad_open" else "-"
    places = [x * shift for x in points]
    ax.errorbar(places, [own.mean for own in points.values()], yerr=halves, elinewidth=1, **look)
    numbers = ", ".join(f"{own} at {x:g}" for x, own in points.items())
    return f"{METHODS[method]}, {PANELS[split]}: {numbers}"


def lines(columns: list, rows: dict[float, pandas.DataFrame], xlabel: str) -> list[str]:
    """Every method in a panel of test accuracy and one of items left; what they show in words."""
    there = [m for m in SHOWN if any((own["method"] == m).any() for own in rows.values())]
    said = []
    for ax, split in zip(columns, PANELS, strict=True):
        for place, method in enumerate(there):
            said.append(line(ax, rows, method, split, 1 + 0.05 * (place - 1)))
        ax.set(xlabel=xlabel, xscale="log", ylim=(-0.05, 1.05), ylabel=PANELS[split])
        ax.set_xticks([*rows], [f"{x:g}" for x in rows], minor=False)
        ax.minorticks_off()
    return [words for words in said if words]


def keyed(figure, ax) -> None:
    """One legend for all panels, beneath them."""
    handles, labels = ax.get_legend_handles_labels()
    options = {"ncols": len(labels), "fontsize": 8, "frameon": False}
    figure.legend(handles, labels, loc="outside lower center", **options)


def by_number(rows: pandas.DataFrame) -> Picture:
    """Test accuracy and share left, against the number of random items."""
    from minilearn import plots

    asked = grouped(rows[rows["request"].str.contains(r"\d random")], "request")
    numbers = {float(request.split()[0]): own for request, own in asked.items()}
    figure, axes = plots.canvas(2.3, 2)
    said = lines(list(axes[0]), dict(sorted(numbers.items())), "random items to forget")
    keyed(figure, axes[0, 0])
    caption = (
        "Bars are 95 % intervals over seeds. A run has done its work when no item is left that "
        "the model still recognises."
    )
    return Picture(figure, caption, "Against the number of items. " + "; ".join(said) + ".")


def by_setting(groups: dict[str, pandas.DataFrame], base: pandas.DataFrame) -> Picture:
    """Test accuracy and share left, against radius and learning rate."""
    from minilearn import plots

    figure, axes = plots.canvas(4.0, 2, 2, sharey="row")
    said, base = [], base[base["method"].isin(SHOWN)]
    for column, (field, words) in zip(axes.T, SWEPT.items(), strict=True):
        changed = {n: g for n, g in groups.items() if re.fullmatch(rf"{field} [\d.e-]+", n)}
        points = {float(name.split()[1]): rows for name, rows in changed.items()}
        points[float(re.search(rf"[(,] ?{field}=([\d.e-]+)", base["config"].iloc[-1])[1])] = base
        said += [
            f"{words}: {own}" for own in lines(list(column), dict(sorted(points.items())), words)
        ]
    keyed(figure, axes[0, 0])
    caption = (
        "The same against the radius of the attack (left) and the learning rate (right). "
        "Bars are 95 % intervals over seeds."
    )
    return Picture(figure, caption, "; ".join(said) + ".", "_settings")


def headline(rows: pandas.DataFrame) -> tuple[Picture, str]:
    """The picture, and a line for every number of random items, and for other kinds one."""
    rows = labelled(rows)
    base = rows[(rows["label"] == "base") & (rows["method"] != "original")]
    changed = rows[~rows["label"].isin(["base", *rows["label"][rows["method"] == "original"]])]
    one = changed["request"].mode().iloc[0].split()[0] if len(changed) else ""
    kept = base["request"].str.contains("random") | base["request"].str.startswith(f"{one} ")
    groups = {}
    for size, own in base[kept].groupby("size", sort=False):
        network = rows[(rows["size"] == size) & (rows["method"] == "original")]["label"]
        where = f", {network.iloc[0]}" if base["size"].nunique() > 1 and len(network) else ""
        asked = grouped(own, "request")
        groups |= {f"{name}{where}": asked[name] for name in sorted(asked, key=kind_first)}
    note = "\n\nTest accuracy in per cent, in brackets the share of the items still recognised."
    first = base["size"].value_counts().index[0]
    return by_number(base[base["size"] == first]), table("items", groups) + note


def labelled(rows: pandas.DataFrame) -> pandas.DataFrame:
    """The rows with a column for what was changed."""
    return rows.assign(label=rows["config"].str.split(";").str[1].str.strip())


def markdown(rows: pandas.DataFrame, origin) -> list[str | Picture]:
    """Parts of the page: Markdown, and the picture of a sweep."""
    parts, rows = [], labelled(rows)
    for (dataset, _, size), own in rows.groupby(SECTION, sort=False):
        start = own["method"] == "original"
        of = ", ".join(
            f"{name} {cell(some)}" for name, some in grouped(own[start], "label").items()
        )
        parts.append(f"**{dataset}**, size {size}. The original's test accuracy: {of}.")
        base = own[~start & (own["label"] == "base")]
        asked = grouped(base, "request")
        parts.append(table("items", {name: asked[name] for name in sorted(asked, key=kind_first)}))
        changed = own[~start & (own["label"] != "base")]
        if len(changed):
            request = changed["request"].mode().iloc[0]  # what most settings were changed for
            changed = changed[changed["request"] == request]
            nothing = base[base["request"] == request]
            groups = dict(sorted(grouped(changed, "label").items(), key=natural))
            parts.append(f"One setting after another changed, for {request}:")
            parts.append(table("changed", {"nothing": nothing} | groups))
            swept = any(name.startswith("lr ") for name in groups)
            if swept and nothing["method"].isin(SHOWN).any():
                parts.append(by_setting(groups, nothing))
        parts.append(origin(own))
    return parts
