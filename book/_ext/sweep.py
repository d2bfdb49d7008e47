"""How the results page shows a sweep: by what was asked, and by what was changed.

A row's config names the change behind its size: "size=toy; eps 0.5; ...", "base" where there is
none. A cell is the mean test accuracy and half of its 95 % interval, in per cent, and behind it the
share of the items that are still recognised.
"""

import base64
import io
import re

import pandas

SECTION = ["dataset", "device", "size"]
METHODS = {  # in this order, with these heads
    "retrained": "retrained",
    "neggrad": "NegGrad",
    "neggrad_open": "NegGrad, open",
    "l2ul_adv": "ADV",
    "l2ul": "ADV + IMP",
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
    lines = [[head, "seeds", *(METHODS[method] for method in there)]]
    lines.append(["---"] + ["---:"] * (len(there) + 1))
    for name, rows in groups.items():
        seeds = rows[rows["method"].isin(there)].groupby("method")["seed"].nunique()
        text = "-".join(str(n) for n in dict.fromkeys((seeds.min(), seeds.max())))
        words = name.replace(" ", "\u00a0") if head == "items" else name
        lines.append([words, text, *(cell(rows[rows["method"] == m]) for m in there)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(groups: dict[str, pandas.DataFrame], base: pandas.DataFrame) -> str:
    """Test accuracy and share left against radius and learning rate, as one HTML image."""
    from minilearn import plots

    figure, axes = plots.canvas(4.2, 2, 2, sharey="row", sharex="col")
    for column, field in zip(axes.T, SWEPT, strict=True):
        changed = {n: g for n, g in groups.items() if re.fullmatch(rf"{field} [\d.e-]+", n)}
        points = {float(name.split()[1]): rows for name, rows in changed.items()}
        points[float(re.search(rf"[(,] ?{field}=([\d.e-]+)", base["config"].iloc[-1])[1])] = base
        for method in ("neggrad", "l2ul_adv", "l2ul"):
            for ax, split in zip(column, ("test", "forget"), strict=True):
                line = {}
                for x, rows in sorted(points.items(), key=lambda point: point[0]):
                    numbers = values(rows[rows["method"] == method], "accuracy", split)
                    if len(numbers):
                        line[x] = numbers.mean()
                if len(line) > 1:
                    style = plots.role(method, ["neggrad", "l2ul_adv", "l2ul"])
                    ax.plot([*line], [*line.values()], label=METHODS[method], **style)
        column[1].set(xlabel=SWEPT[field], xscale="log", ylim=(-0.05, 1.05))
        column[1].set_xticks([*sorted(points)], [f"{x:g}" for x in sorted(points)], minor=False)
        column[1].minorticks_off()
        column[0].set(ylim=(0, 1.05))
    axes[0, 0].set_ylabel("test accuracy")
    axes[1, 0].set_ylabel("items left")
    axes[0, 1].legend(fontsize=8, frameon=False, loc="center right")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    data = base64.b64encode(file.getvalue()).decode()
    alt = (
        "Test accuracy above and the share of items left below, against the radius of the attack "
        "and against the learning rate, for NegGrad, ADV and ADV + IMP; the table has the numbers."
    )
    return f'<img src="data:image/png;base64,{data}" alt="{alt}" style="max-width:100%">'


def markdown(rows: pandas.DataFrame, origin) -> list[str]:
    """Parts of the page: Markdown, and HTML where a part begins with <img."""
    parts = []
    rows = rows.assign(label=rows["config"].str.split(";").str[1].str.strip())  # what was changed
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
            request = changed["request"].iloc[0]
            nothing = base[base["request"] == request]
            groups = dict(sorted(grouped(changed, "label").items(), key=natural))
            parts.append(f"One setting after another changed, for {request}:")
            parts.append(table("changed", {"nothing": nothing} | groups))
            if any(name.startswith("lr ") for name in groups):
                parts.append(picture(groups, nothing))
        parts.append(origin(own))
    return parts
