"""How the results page shows a sweep: by what was asked, and by what was changed.

A row's config names the change behind its size: "size=toy; eps 0.5; ...", "base" where there is
none. A cell is the mean test accuracy and half of its 95 % interval, in per cent, and behind it the
share of the items that are still recognised.
"""

import base64
import io
import re

SECTION = ("dataset", "device")
METHODS = {  # in this order, with these heads
    "retrained": "retrained",
    "neggrad": "NegGrad",
    "neggrad_open": "NegGrad, open",
    "l2ul_adv": "ADV",
    "l2ul": "ADV + IMP",
}
SWEPT = {"eps": "radius", "lr": "learning rate"}


def label(row: dict[str, str]) -> str:
    """What the row changed."""
    return row["config"].split(";")[1].strip()


def values(rows: list[dict[str, str]], metric: str, split: str = "") -> tuple[float, ...]:
    """The values of one metric, one a seed."""
    chosen = [row for row in rows if (row["metric"], row["split"]) == (metric, split)]
    return tuple(float(row["value"]) for row in chosen)


def cell(rows: list[dict[str, str]]) -> str:
    """Test accuracy and share left; how many runs overflowed, of which no accuracy is left."""
    from minilearn.metrics.report import t_half_width

    if not rows:
        return ""
    test, left = values(rows, "accuracy", "test"), values(rows, "accuracy", "forget")
    lost = sum(values(rows, "overflowed"))
    parts = []
    if test:
        mean, half = sum(test) / len(test), t_half_width(test)
        parts.append(f"{100 * mean:.0f}" + (f" ± {100 * half:.0f}" if half == half else ""))
        parts[-1] += f" ({100 * sum(left) / len(left):.0f})" if left else ""
    if lost:
        parts.append(f"{lost:.0f} overflowed")
    return "<br>".join(part.replace(" ", "\u00a0") for part in parts)


def grouped(rows: list[dict[str, str]], key) -> dict[str, list[dict[str, str]]]:
    """Rows by a key, in the order in which the keys first come."""
    found = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def natural(item: tuple) -> list:
    """Words in their order, numbers by their size."""
    words = item[0].replace(",", "").split()
    return [(0, float(w), "") if w[:1].isdigit() else (1, 0.0, w) for w in words]


def kind_first(request: str) -> tuple[str, int]:
    """`16 random items` by its kind, then by its number."""
    count, kind, _ = request.split()
    return kind, int(count)


def table(head: str, groups: dict[str, list[dict[str, str]]]) -> str:
    """A line a group, a column a method."""
    there = [m for m in METHODS if any(r["method"] == m for rows in groups.values() for r in rows)]
    lines = [[head, "seeds", *(METHODS[m] for m in there)]]
    lines.append(["---"] + ["---:"] * (len(there) + 1))
    for name, rows in groups.items():
        by = [[row for row in rows if row["method"] == m] for m in there]
        seeds = {len({row["seed"] for row in one}) for one in by if one}
        text = "-".join(str(n) for n in dict.fromkeys((min(seeds), max(seeds))))
        words = name.replace(" ", "\u00a0") if head == "items" else name
        lines.append([words, text, *map(cell, by)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(groups: dict[str, list[dict[str, str]]], base: list[dict[str, str]]) -> str:
    """Test accuracy and share left against radius and learning rate, as one HTML image."""
    from minilearn import plots

    figure, axes = plots.canvas(4.2, 2, 2, sharey="row", sharex="col")
    for column, field in zip(axes.T, SWEPT, strict=True):
        changed = {n: g for n, g in groups.items() if re.fullmatch(rf"{field} [\d.e-]+", n)}
        points = {float(name.split()[1]): rows for name, rows in changed.items()}
        points[float(re.search(rf"[(,] ?{field}=([\d.e-]+)", base[-1]["config"])[1])] = base
        for method in ("neggrad", "l2ul_adv", "l2ul"):
            found = {
                x: [r for r in rows if r["method"] == method] for x, rows in sorted(points.items())
            }
            for ax, split in zip(column, ("test", "forget"), strict=True):
                line = {x: values(rows, "accuracy", split) for x, rows in found.items()}
                line = {x: sum(v) / len(v) for x, v in line.items() if v}
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


def markdown(rows: list[dict[str, str]], size, origin) -> list[str]:
    """Parts of the page: Markdown, and HTML where a part begins with <img."""
    parts = []
    key = lambda row: (*(row[c] for c in SECTION), size(row))  # noqa: E731
    for (dataset, *_), own in grouped(rows, key).items():
        named = {"original": [], "base": [], "changed": []}
        for row in own:
            kind = "original" if row["method"] == "original" else "changed"
            named["base" if kind == "changed" and label(row) == "base" else kind].append(row)
        of = ", ".join(
            f"{name} {cell(group)}" for name, group in grouped(named["original"], label).items()
        )
        parts.append(f"**{dataset}**, size {size(own[0])}. The original's test accuracy: {of}.")
        asked = grouped(named["base"], lambda row: row["request"])
        asked = dict(sorted(asked.items(), key=lambda item: kind_first(item[0])))
        parts.append(table("items", asked))
        if named["changed"]:
            asked = named["changed"][0]["request"]
            base = [row for row in named["base"] if row["request"] == asked]
            changed = dict(sorted(grouped(named["changed"], label).items(), key=natural))
            parts.append(f"One setting after another changed, for {asked}:")
            parts.append(table("changed", {"nothing": base} | changed))
            if any(name.startswith("lr ") for name in changed):
                parts.append(picture(changed, base))
        parts.append(origin(own))
    return parts
