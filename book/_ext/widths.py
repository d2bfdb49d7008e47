"""How the results page shows L2UL on networks of several widths."""

import pandas
import sweep
from pictures import Picture, point
from results import drawn, ruled

from minilearn import plots

ASKED = "16 random items"
LABELS = {"base": "our settings", "as released": "as released", "advised": "advised"}
TABLED = ("base", "as released")  # the picture and the whole table have the third, too
ALT = "Test accuracy and items left of networks of several widths. "


def widths_of(rows: pandas.DataFrame) -> pandas.DataFrame:
    """The rows with columns for the width and for what the settings are called."""
    width = rows["config"].str.extract(r"width ([\d.]+)")[0].astype(float)
    return sweep.labelled(rows.assign(width=width))


def headline(rows: pandas.DataFrame) -> tuple[Picture, str]:
    """Every width by every setting: a column a method, and the original's accuracy beside them."""
    rows = widths_of(rows)
    asked = rows[rows["request"] == ASKED]
    methods = [m for m in sweep.METHODS if (asked["method"] == m).any()]
    lines = []
    for width, own in rows.groupby("width"):
        start = sweep.cell(own[own["method"] == "original"])
        for label in TABLED:
            words = LABELS[label]
            here = own[(own["label"] == label) & (own["request"] == ASKED)]
            if len(here):
                cells = [sweep.cell(here[here["method"] == m]) for m in methods]
                lines.append([f"{width:g}", start, words, *cells])
    heads = ["width", "original", "settings", *(sweep.METHODS[m] for m in methods)]
    note = f"\n\n{ASKED}. Test accuracy in per cent, in brackets the share of the items still "
    return _picture(asked), drawn(ruled(heads, lines, 3)) + note + "recognised."


def _picture(rows: pandas.DataFrame) -> Picture:
    """Against the width, a line a setting of the whole method: accuracy, and items left."""
    rows = rows[rows["method"] == "l2ul"]
    figure, axes = plots.canvas(2.4, 2)
    said, gaps = [], {}
    ticks = sorted(rows["width"].unique())
    for ax, (split, words) in zip(axes.flat, sweep.PANELS.items(), strict=True):
        for label, name in LABELS.items():
            own = rows[rows["label"] == label]
            values = {
                width: sweep.values(here, "accuracy", split) for width, here in own.groupby("width")
            }
            points = {width: point(each) for width, each in values.items() if point(each)}
            if not points:
                continue
            # an interval over two seeds is wider than the picture
            halves = [p.half if len(values[width]) > 2 else 0 for width, p in points.items()]
            look = plots.role(name, list(LABELS.values())) | {"label": name, "capsize": 2}
            ax.errorbar(list(points), [p.mean for p in points.values()], yerr=halves, **look)
            numbers = ", ".join(f"{p} at {width:g}" for width, p in points.items())
            said.append(f"{name}, {words}: {numbers}.")
            if missing := [f"{width:g}" for width in ticks if width not in points]:
                gaps[name] = f" Nothing was measured for `{name}` at {', '.join(missing)}."
        ax.set(xlabel="width", ylabel=words, xscale="log", ylim=(-0.05, 1.05))
        ax.set_xticks(ticks, [f"{x:g}" for x in ticks], minor=False)
        ax.minorticks_off()
    sweep.keyed(figure, axes[0, 0])
    caption = (
        f"The whole method, ADV + IMP, on {ASKED} of CIFAR-10. Bars are 95 % intervals over three "
        "seeds; a point without a bar has fewer." + "".join(gaps.values())
    )
    return Picture(figure, caption, ALT + " ".join(said))
