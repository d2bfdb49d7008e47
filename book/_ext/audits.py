"""What stands first of the audits: the strong attack with its interval, beside its control."""

import pandas
import pictures
from pictures import GREY, Picture, Point
from results import drawn, ruled, text

from minilearn import plots

MOST = 8  # lines
ALT = "How many times as fast one stack of networks is trained as a loop over the same networks. "
KINDS = {"forget": "candidates", "test": "digits that nobody was trained on"}


def headline(rows: pandas.DataFrame) -> tuple[Picture, str]:
    """Every method by the strong attack, for single items and the most draws."""
    rows = rows[rows["request"].str.startswith("items")]
    draws = rows["config"].str.extract(r"(\d+) draws")[0].astype(int)
    rows = rows[(draws == draws.max()) & (rows["request"] == rows["request"][draws.idxmax()])]
    found = {name: _of(own) for name, own in rows.groupby("method", sort=False)}
    found = {name: own for name, own in found.items() if ("ulira", "forget") in own}
    order = sorted(found, key=lambda name: found[name]["ulira", "forget"], reverse=True)
    kept = [name for name in order if name not in ("again", "original")]
    shown = ["again", "original", *kept][:MOST]
    lines = []
    for name in shown:
        own = found[name]
        ends = f"{own['ulira_low', 'forget']:.2f} to {own['ulira_high', 'forget']:.2f}"
        cells = [f"{own['ulira', 'forget']:.2f} ({ends})", f"{own['ulira', 'test']:.2f}"]
        cells += [f"{own['memory_left', 'forget']:.2f}", f"{own['loss_attack_auc', '']:.2f}"]
        lines.append([f"`{name}`", *cells])
    heads = ["method", "`ulira`", "at unseen digits", "memory left", "`loss_attack_auc`"]
    of = text(f"{draws.max()} draws, {rows['request'].iloc[0]}")
    note = f"\n\n{of}. Intervals are over pairs of draws."
    return _picture(found, shown), drawn(ruled(heads, lines)) + note


def _of(own: pandas.DataFrame) -> dict[tuple[str, str], float]:
    return own.set_index(["metric", "split"])["value"].to_dict()


def _picture(found: dict, names: list[str]) -> Picture:
    figure, axes = plots.canvas(0.8 + 0.22 * len(names), 2, sharey=True, sharex=True)
    said = []
    for ax, (split, where) in zip(axes.flat, KINDS.items(), strict=True):
        points = {}
        for name in names:
            own = found[name]
            half = (own["ulira_high", split] - own["ulira_low", split]) / 2
            points[name] = Point(own["ulira", split], half)
        pictures.dots(ax, points, names)
        ax.axvline(0.5, color=GREY, linestyle=":")
        ax.set_title(where, fontsize=9)
        ax.set_xlabel("AUC of U-LiRA")
        said.append(f"At {where}: {pictures.listed(points)}.")
    caption = (
        "The strong attack at the candidates, and at digits that nobody was trained on. At one "
        "half it sees nothing. What it sees on the right is that a model was edited."
    )
    return Picture(figure, caption, "AUC of U-LiRA for every method. " + " ".join(said))


def speed_headline(rows: pandas.DataFrame) -> tuple[Picture, str]:
    """How many times as fast a stack is as a loop: a line a method, a column a network."""
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
    return picture, drawn(ruled(heads, list(lines.values())))
